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
	case d.Snapshot == "":
		return vm.CheckImage(d.Image)
	case d.Image != "" || d.ImageChecksum != "":
		return fault.New(fault.Invalid, "a VM is made of an image or of a snapshot; leave one of them out")
	case d.QuoteID != "":
		return fault.New(fault.Invalid, "a VM of a snapshot has its place beside that; leave the quote out")
	}
	return nil
}

// source finds what an order's VMs are made of, if that is a snapshot. Returns NotFound
// for an unknown or foreign one, Conflict for one that isn't available.
func (s *Service) source(ctx context.Context, o *order) error {
	if o.wish.Snapshot == "" {
		return nil
	}
	return s.Store.Read(ctx, func(tx *store.Tx) error {
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
		o.source, o.server = &one, uint32(server.Number) //nolint:gosec // numbers of servers are 32 bits
		return nil
	})
}

// beside chooses places for VMs of a snapshot, on the server where that is.
func (b *batch) beside(ctx context.Context, o *order) ([]market.Placement, error) {
	r := o.wish.request()
	r.Only = &o.server
	placed, err := b.choose(ctx, o.who.AccountID, o.wish.AffinityGroup, r)
	if fault.Is(err, fault.Unsatisfiable) {
		return nil, fault.Newf(fault.Unsatisfiable, "the server where the snapshot %s is has no room for what is asked for, or is not as asked for; "+
			"ask for less, or deploy on another server without the snapshot", o.source.Name)
	}
	for _, p := range placed {
		if need := (o.source.VirtualBytes + 1<<30 - 1) >> 30; p.StorageGiB < need {
			return nil, fault.Newf(fault.Invalid, "the disk in the snapshot has %d GiB, and that of the VM would have %d; ask for additional storage of %d GiB",
				need, p.StorageGiB, need-p.Configuration.StorageGiB)
		}
	}
	return placed, err
}
