package control

import (
	"context"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// checkSource returns an Invalid fault unless a deployment says of what disks are made.
func (d Deployment) checkSource() error {
	switch {
	case d.Snapshot == "" && d.Export == "":
		return vm.CheckImage(d.Image)
	case d.Image != "" || d.ImageChecksum != "" || d.Snapshot != "" && d.Export != "":
		return fault.New(fault.Invalid, "a VM is made of an image, of a snapshot or of an export; leave the others out")
	case d.Snapshot != "" && d.QuoteID != "":
		return fault.New(fault.Invalid, "a VM of a snapshot has its place beside that; leave the quote out")
	}
	return nil
}

// source is what VMs are made of, if it isn't an image.
type source struct {
	id     string  // of a snapshot or an export
	name   string  // as its customer knows it
	image  string  // that the VM was made of whose it is
	gib    int64   // of its disk
	server *uint32 // where it is; nil for everywhere
}

// source finds what an order's VMs are made of, if that is a snapshot or an export.
// Returns NotFound for an unknown or foreign one, Conflict for one that nothing can be
// made of.
func (s *Service) source(ctx context.Context, o *order) error {
	if o.wish.Snapshot == "" && o.wish.Export == "" {
		return nil
	}
	return s.Store.Read(ctx, func(tx *store.Tx) (err error) {
		if o.wish.Export != "" {
			o.source, err = s.sourceExport(ctx, tx, o)
			return err
		}
		one, err := s.ownedSnapshot(ctx, tx, o.who, o.wish.Snapshot)
		if err != nil {
			return err
		}
		if one.State != vm.Available {
			return fault.Newf(fault.Conflict, "the snapshot is %s; a VM can be made of one that is available", one.State)
		}
		server, err := tx.Server(ctx, one.ServerID)
		if err != nil {
			return err
		}
		number := uint32(server.Number) //nolint:gosec // numbers of servers are 32 bits
		o.source = &source{id: one.ID, name: one.Name, image: one.Image, gib: gibOf(one.VirtualBytes), server: &number}
		return nil
	})
}

// sourceExport finds the export that an order's VMs are made of.
func (s *Service) sourceExport(ctx context.Context, tx *store.Tx, o *order) (*source, error) {
	e, err := s.wholeExport(ctx, tx, o.who.AccountID, o.wish.Export)
	return &source{id: e.ID, name: e.ID, image: e.Image, gib: e.StorageGiB}, err
}

// wholeExport returns an export of an account that disks can be made of. Returns NotFound
// for an unknown or foreign one, Conflict for one that is not done.
func (s *Service) wholeExport(ctx context.Context, tx *store.Tx, accountID, exportID string) (vm.Export, error) {
	if s.Archive == nil {
		return vm.Export{}, errNoArchive
	}
	e, err := ownExport(ctx, tx, accountID, exportID)
	if err == nil && e.State != vm.Exported {
		err = fault.Newf(fault.Conflict, "the export is %s; a VM can be made of one that is %s", e.State, vm.Exported)
	}
	return e, err
}

// restoreExport gives a VM a disk as in an export of its account.
func (s *Service) restoreExport(exportID string) Amendment {
	return func(ctx context.Context, tx *store.Tx, v *vm.VM) error {
		e, err := s.wholeExport(ctx, tx, v.AccountID, exportID)
		if err != nil {
			return err
		}
		if e.StorageGiB > v.Spec.StorageGiB {
			return fault.Newf(fault.Conflict, "the disk in the export has %d GiB, that of VM %s has %d; resize it first", e.StorageGiB, v.Name, v.Spec.StorageGiB)
		}
		old, err := s.keepDisk(ctx, tx, v)
		if err != nil {
			return err
		}
		v.Disk, v.Turned, v.HostKeys, v.From = v.Generation, v.Generation, nil, e.ID
		v.UserData, v.Heir = "", &old.Number
		if v.Spec.Image != e.Image {
			v.Spec.Image, v.Spec.ImageChecksum, v.Spec.ImagePin = e.Image, "", ""
		}
		return nil
	}
}

// gibOf returns in how many GiB so many bytes fit.
func gibOf(bytes int64) int64 { return (bytes + 1<<30 - 1) >> 30 }

// only keeps VMs to the server where what they are made of is.
func (o *order) only(r market.Request) market.Request {
	if o.source != nil {
		r.Only = o.source.server
	}
	return r
}

// fits returns why VMs that are made of o's source can't be in these places, and says of
// no place that it is for want of room beside a snapshot.
func (o *order) fits(placed []market.Placement, err error) ([]market.Placement, error) {
	if o.source == nil {
		return placed, err
	}
	if o.source.server != nil && fault.Is(err, fault.Unsatisfiable) {
		return nil, fault.Newf(fault.Unsatisfiable, "the server where the snapshot %s is has no room for what is asked for, or is not as asked for; "+
			"ask for less, or export the snapshot and make the VM of that", o.source.name)
	}
	for _, p := range placed {
		if p.StorageGiB < o.source.gib {
			return nil, fault.Newf(fault.Invalid, "the disk that the VM is made of has %d GiB, and its own would have %d; ask for additional storage of %d GiB",
				o.source.gib, p.StorageGiB, o.source.gib-p.Configuration.StorageGiB)
		}
	}
	return placed, err
}
