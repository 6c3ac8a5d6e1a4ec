package control

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/archive"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

const (
	// exportTime is how long an export may not get on before it is given up.
	exportTime = time.Hour
	// MaxExports is how many exports of an account are told, the newest.
	MaxExports = 1000
)

// ExportLimits bound what the exports of one account take in the operator's store.
type ExportLimits struct {
	Count int64 // exports
	Bytes int64 // in the store; of an export that is on its way, those of its snapshot
}

// errNoArchive refuses exports where there is no store.
var errNoArchive = fault.New(fault.Unavailable, "this cloud keeps no exports: its operator has given it no store, see `cpucloud server --archive`")

// Export has a snapshot of the actor stored outside of its server. A request with an id
// may be sent again: it is answered with what it began. Returns NotFound for an
// unknown or foreign snapshot; Conflict for one that is not there yet or is exported
// just now, and when the request's id was used for another one; Exhausted when the
// account's exports would take too much; Unavailable where there is no store.
func (s *Service) Export(ctx context.Context, who account.Actor, snapshotID, requestID string) (vm.Export, error) {
	if s.Archive == nil {
		return vm.Export{}, errNoArchive
	}
	if err := checkRequestID(requestID); err != nil {
		return vm.Export{}, err
	}
	var e vm.Export
	var rung []string
	err := s.Store.Write(ctx, func(tx *store.Tx) error {
		rung = nil
		shot, err := s.ownedSnapshot(ctx, tx, who, snapshotID)
		if err != nil {
			return err
		}
		e, err = tx.ExportOf(ctx, who.AccountID, requestID)
		switch {
		case err == nil && e.SnapshotID != shot.ID:
			return fault.Newf(fault.Conflict, "the request %q was used to export snapshot %s; give this one another id", requestID, e.SnapshotID)
		case err == nil || !fault.Is(err, fault.NotFound):
			return err
		}
		v, err := tx.VM(ctx, shot.VMID)
		if err != nil {
			return err
		}
		if err := s.mayExport(ctx, tx, v, shot); err != nil {
			return err
		}
		e, err = s.beginExport(ctx, tx, v, shot, requestID)
		rung = []string{"vm:" + v.ID, "server:" + v.ServerID}
		return err
	})
	if err != nil {
		return vm.Export{}, err
	}
	s.ring(ctx, rung...)
	e.ID = lasting(ctx, e.ID)
	return e, nil
}

// mayExport returns why a snapshot of v can't be exported now.
func (s *Service) mayExport(ctx context.Context, tx *store.Tx, v vm.VM, shot vm.Snapshot) error {
	switch {
	case v.Goal == vm.Remove || v.Gone:
		return fault.New(fault.Conflict, "the snapshot's VM was deleted, and the snapshot with it")
	case shot.State != vm.Available:
		return fault.Newf(fault.Conflict, "the snapshot is %s; only one that is %s can be exported", shot.State, vm.Available)
	case shot.Bytes <= 0 || shot.Bytes > archive.MaxBytes:
		return fault.Newf(fault.Conflict, "the snapshot has %d bytes, more than an export can have", shot.Bytes)
	case len(v.Exports) > 0:
		return fault.Newf(fault.Conflict, "export %s of this VM goes on; wait until it is over", v.Exports[0].ID)
	}
	use, err := tx.ExportUse(ctx, v.AccountID)
	if err != nil {
		return err
	}
	if use.Count >= s.ExportLimits.Count {
		return fault.Newf(fault.Exhausted, "an account has at most %d exports; delete one that is of no use any more", s.ExportLimits.Count)
	}
	if use.Bytes+shot.Bytes > s.ExportLimits.Bytes {
		return fault.Newf(fault.Exhausted, "the exports of an account take at most %s, and %s are taken: this snapshot has up to %s; delete an export that is of no use any more",
			gibibytes(s.ExportLimits.Bytes), gibibytes(use.Bytes), gibibytes(shot.Bytes))
	}
	return nil
}

// gibibytes says how many bytes there are.
func gibibytes(n int64) string { return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30)) }

// beginExport stores what is wanted.
func (s *Service) beginExport(ctx context.Context, tx *store.Tx, v vm.VM, shot vm.Snapshot, requestID string) (vm.Export, error) {
	now := s.Now().UTC()
	exportID, err := s.newID("exp")
	if err != nil {
		return vm.Export{}, err
	}
	own, err := s.newAccountKey(ctx, tx, v.AccountID)
	if err != nil {
		return vm.Export{}, err
	}
	keys, err := archive.NewKeys()
	if err != nil {
		return vm.Export{}, err
	}
	sealed, err := own.seal(s.Rand, []byte(keys.Identity), exportPurpose(exportID))
	if err != nil {
		return vm.Export{}, err
	}
	sum := strings.TrimPrefix(shot.Checksum, "sha256:")
	e := vm.Export{
		ID: exportID, AccountID: v.AccountID, VMID: v.ID, VMName: v.Name, SnapshotID: shot.ID, RequestID: requestID, State: vm.Uploading,
		Image: shot.Image, StorageGiB: (shot.VirtualBytes + 1<<30 - 1) >> 30, Bytes: shot.Bytes, SHA256: sum, Recipient: keys.Recipient, Identity: sealed,
		Begun: now, Deadline: now.Add(exportTime),
	}
	v.Exports = append(slices.Clone(v.Exports), vm.ExportWish{ID: e.ID, Snapshot: shot.ID, Recipient: e.Recipient, Bytes: e.Bytes, SHA256: e.SHA256})
	return e, firstErrorOf(
		func() error { return tx.InsertExport(ctx, e) },
		func() error { return tx.UpdateVM(ctx, v) },
		func() error { return tx.Revise(ctx, v.ServerID) },
		func() error {
			return tx.PutEvent(ctx, v.ID, s.happened("export", now, fmt.Sprintf("export %s of snapshot %s asked for", e.ID, shot.ID)))
		},
	)
}

// unwish takes an export that has ended out of what its VM's agent is asked for.
func (s *Service) unwish(ctx context.Context, tx *store.Tx, e vm.Export) error {
	v, err := tx.VM(ctx, e.VMID)
	if fault.Is(err, fault.NotFound) || err == nil && v.Gone {
		return nil
	}
	return firstErrorOf(
		func() error { return err },
		func() error { return s.dropWish(ctx, tx, &v, e) },
		func() error { return tx.UpdateVM(ctx, v) },
	)
}

// dropWish takes an export that has ended out of what v's agent is asked for, and tells
// v's customer. The caller stores v.
func (s *Service) dropWish(ctx context.Context, tx *store.Tx, v *vm.VM, e vm.Export) error {
	v.Exports = slices.DeleteFunc(slices.Clone(v.Exports), func(w vm.ExportWish) bool { return w.ID == e.ID })
	return firstErrorOf(
		func() error { return tx.Revise(ctx, v.ServerID) },
		func() error { return tx.PutEvent(ctx, v.ID, s.happened("export-ended", s.Now().UTC(), exportEnd(e))) },
	)
}

// exportEnd says what has come of an export.
func exportEnd(e vm.Export) string {
	switch e.State {
	case vm.Exported:
		return fmt.Sprintf("export %s done after %s: %s in the store", e.ID, e.Ended.Sub(e.Begun).Round(100*time.Millisecond), gibibytes(e.Sealed))
	case vm.Unusable:
		return fmt.Sprintf("export %s failed: %s", e.ID, e.Reason)
	case vm.Uploading, vm.Deleting:
	}
	return fmt.Sprintf("export %s is deleted before it was done", e.ID)
}

// ExportList is the exports of an account, and what they may take.
type ExportList struct {
	Exports []vm.Export // newest first
	Used    ExportLimits
	Most    ExportLimits
}

// Exports returns the actor's exports.
func (s *Service) Exports(ctx context.Context, who account.Actor) (out ExportList, err error) {
	out.Most = s.ExportLimits
	err = s.Store.Read(ctx, func(tx *store.Tx) (err error) {
		if out.Exports, err = tx.Exports(ctx, who.AccountID, MaxExports); err != nil {
			return err
		}
		use, err := tx.ExportUse(ctx, who.AccountID)
		out.Used = ExportLimits(use)
		return err
	})
	return out, err
}

// ExportByID returns one of the actor's exports, or a NotFound fault.
func (s *Service) ExportByID(ctx context.Context, who account.Actor, exportID string) (e vm.Export, err error) {
	err = s.Store.Read(ctx, func(tx *store.Tx) (err error) {
		e, err = ownExport(ctx, tx, who.AccountID, exportID)
		return err
	})
	return e, err
}

func ownExport(ctx context.Context, tx *store.Tx, accountID, exportID string) (vm.Export, error) {
	e, err := tx.Export(ctx, exportID)
	if fault.Is(err, fault.NotFound) || err == nil && e.AccountID != accountID {
		return vm.Export{}, fault.Newf(fault.NotFound, "no export with id %.40q", exportID)
	}
	return e, err
}

// WaitExport returns one of the actor's exports as soon as it is not on its way any
// more, timeout receives or ctx is done, whichever is first.
func (s *Service) WaitExport(ctx context.Context, who account.Actor, exportID string, timeout <-chan time.Time) (vm.Export, error) {
	e, err := s.ExportByID(ctx, who, exportID)
	if err != nil {
		return e, err
	}
	changed, cancel := s.bells.listen("vm:" + e.VMID)
	defer cancel()
	for {
		e, err := s.ExportByID(ctx, who, exportID)
		if err != nil || e.State != vm.Uploading {
			return e, err
		}
		select {
		case <-changed:
		case <-timeout:
			return e, nil
		case <-ctx.Done():
			return e, nil
		}
	}
}

// DeleteExport has what is in the store of an export of the actor removed, and the
// export forgotten then. It may be repeated until it is gone. Returns NotFound for an
// unknown or foreign export, and Conflict as long as a VM is being made of it.
func (s *Service) DeleteExport(ctx context.Context, who account.Actor, exportID string) (e vm.Export, err error) {
	err = s.Store.Write(ctx, func(tx *store.Tx) error {
		if e, err = ownExport(ctx, tx, who.AccountID, exportID); err != nil || e.State == vm.Deleting {
			return err
		}
		users, err := tx.MadeOfExport(ctx, e.ID, 1)
		if err != nil {
			return err
		}
		if len(users) > 0 {
			return fault.Newf(fault.Conflict, "VM %s is being made of the export: nothing was deleted; wait until it is Active, or delete it", users[0])
		}
		under := e.State == vm.Uploading
		e.State = vm.Deleting
		if err := tx.UpdateExport(ctx, e); err != nil || !under {
			return err
		}
		return s.unwish(ctx, tx, e)
	})
	if err == nil {
		s.ring(ctx, "vm:"+e.VMID)
	}
	return e, err
}
