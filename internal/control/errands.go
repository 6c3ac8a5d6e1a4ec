package control

import (
	"context"
	"slices"

	"github.com/cpucloud/cpucloud/internal/archive"
	"github.com/cpucloud/cpucloud/internal/archive/s3"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// mostTries is how often an agent may store each object of an export, on average: more is
// no bad line, but who fills the store.
const mostTries = 16

// RunErrand gives the agent of a server what it needs to store or fetch one object of
// an export. It stores only what it is asked to, and fetches only what a VM of its
// own is being made of: that VM's account is the export's. Returns a NotFound
// fault for everything else, and an Invalid one for an object that can't be of the
// export.
func (s *Service) RunErrand(ctx context.Context, serverID string, a vm.Errand) (vm.Pass, error) {
	if s.Archive == nil {
		return vm.Pass{}, errNoArchive
	}
	if !archive.ValidName(a.Name) {
		return vm.Pass{}, fault.New(fault.Invalid, "an export has no object of this name")
	}
	if a.Stores() {
		return s.storeErrand(ctx, serverID, a)
	}
	return s.fetchErrand(ctx, serverID, a)
}

var errNoErrand = fault.New(fault.NotFound, "no VM of this server is to be exported as this, or made of it")

// errandFor returns what an errand is about, or a NotFound fault.
func errandFor(ctx context.Context, tx *store.Tx, serverID string, a vm.Errand) (v vm.VM, e vm.Export, err error) {
	vms, err := tx.ServerVMs(ctx, serverID)
	if err != nil {
		return v, e, err
	}
	i := slices.IndexFunc(vms, func(v vm.VM) bool { return v.OnServer() == a.VM })
	if i < 0 {
		return v, e, errNoErrand
	}
	e, err = tx.Export(ctx, a.Export)
	if fault.Is(err, fault.NotFound) || err == nil && e.AccountID != vms[i].AccountID {
		return v, e, errNoErrand
	}
	return vms[i], e, err
}

// storeErrand answers one that is to store an object. Until when it may do so is
// written down first: nothing of an export is taken as removed before.
func (s *Service) storeErrand(ctx context.Context, serverID string, a vm.Errand) (vm.Pass, error) {
	err := s.Store.Write(ctx, func(tx *store.Tx) error {
		v, e, err := errandFor(ctx, tx, serverID, a)
		if err != nil {
			return err
		}
		wished := slices.ContainsFunc(v.Exports, func(w vm.ExportWish) bool { return w.ID == e.ID })
		if !wished || e.State != vm.Uploading || v.Goal == vm.Remove {
			return errNoErrand
		}
		most := archive.MostObject(archive.ChunkBytes(e.Bytes))
		if a.Name == archive.ManifestName {
			most = archive.MaxManifest
		}
		if a.Bytes > most {
			return fault.Newf(fault.Invalid, "an object of this export has at most %d bytes, not %d", most, a.Bytes)
		}
		links, err := tx.CountExportLink(ctx, e.ID, s.Now().Add(s3.LinkTime))
		if err == nil && links > mostTries*archive.Objects(e.Bytes)+mostTries {
			return fault.New(fault.Invalid, "its server has stored the objects of this export too often; export the snapshot again")
		}
		return err
	})
	if err != nil {
		return vm.Pass{}, err
	}
	link, err := s.Archive.PutLink(ctx, exportFolder(a.Export), archive.Object{Name: a.Name, Bytes: a.Bytes, MD5: a.MD5})
	return vm.Pass{Link: string(link)}, err
}

// fetchErrand answers one that is to fetch an object.
func (s *Service) fetchErrand(ctx context.Context, serverID string, a vm.Errand) (p vm.Pass, err error) {
	err = s.Store.Read(ctx, func(tx *store.Tx) error {
		v, e, err := errandFor(ctx, tx, serverID, a)
		if err != nil {
			return err
		}
		made := v.Reached >= v.Generation && (!v.State.Starting() || !v.ActivatedAt.IsZero()) // the disk is there
		if v.From != e.ID || v.Goal == vm.Remove || v.KnownAs != "" || made {
			return errNoErrand
		}
		if e.State != vm.Exported {
			return fault.New(fault.Invalid, "the export was deleted: no VM can be made of it any more")
		}
		p = vm.Pass{Manifest: e.Manifest, Bytes: e.Bytes, SHA256: e.SHA256}
		p.Identity, err = s.identity(ctx, tx, e)
		return err
	})
	if err != nil {
		return vm.Pass{}, err
	}
	link, err := s.Archive.GetLink(ctx, exportFolder(a.Export), a.Name)
	p.Link = string(link)
	return p, err
}

// exportFolder is what the names of all objects of an export begin with.
func exportFolder(exportID string) string { return exportID + "/" }
