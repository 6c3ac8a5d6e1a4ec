package control

import (
	"context"
	"fmt"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/id"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// mostListed is how many snapshots of an account are told at once, the newest.
const mostListed = 1000

// TakeSnapshot has a snapshot of the VM's disk made, which is called name; "" names it
// for the moment. While it is made the VM holds as much of its server's storage again
// as its disk has, and what it takes after that. Returns Invalid for a name that can't
// be, Exhausted when there are as many as there may be, and the faults of hold.
func (s *Service) TakeSnapshot(name string) Amendment { return s.takeSnapshot(name, false) }

func (s *Service) takeSnapshot(name string, scheduled bool) Amendment {
	return func(ctx context.Context, tx *store.Tx, v *vm.VM) error {
		now := s.Now().UTC()
		if name == "" {
			name = "at-" + now.Format("20060102-150405")
		}
		if err := vm.CheckSnapshotName(name); err != nil {
			return err
		}
		there, err := tx.Snapshots(ctx, v.ID)
		if err != nil {
			return err
		}
		if len(there) >= vm.MaxSnapshots {
			return fault.Newf(fault.Exhausted, "the VM has %d snapshots, and more can't be; delete one first", len(there))
		}
		snapshotID, err := id.New("snap", now, s.Rand)
		if err != nil {
			return err
		}
		v.Asks = v.Ask(snapshotID, v.Disk, vm.MakeSnapshot)
		if err := s.hold(ctx, tx, v, v.Spec.StorageGiB); err != nil {
			return err
		}
		return tx.InsertSnapshot(ctx, vm.Snapshot{
			ID: snapshotID, VMID: v.ID, AccountID: v.AccountID, ServerID: v.ServerID, Name: name, Operation: v.Operation, Scheduled: scheduled,
			Disk: v.Disk, CreatedAt: now, State: vm.Making, HeldGiB: v.Spec.StorageGiB, Image: v.Spec.Image, HostKeys: v.HostKeys,
		})
	}
}

// Restore gives a VM a disk as in one of its snapshots, or in an export of its account; the
// one that it has is kept. Of an export its guest is set up anew. Returns NotFound for a
// snapshot that is not the VM's, Conflict for one that isn't available, and the faults of
// keeping a disk.
func (s *Service) Restore(snapshotID string) Amendment {
	if vm.IsExport(snapshotID) {
		return s.restoreExport(snapshotID)
	}
	return func(ctx context.Context, tx *store.Tx, v *vm.VM) error {
		one, err := tx.Snapshot(ctx, snapshotID)
		switch {
		case fault.Is(err, fault.NotFound) || err == nil && one.VMID != v.ID:
			return fault.Newf(fault.NotFound, "VM %s has no snapshot with id %.40q; of another VM's snapshot another VM can be made", v.Name, snapshotID)
		case err != nil:
			return err
		case one.State != vm.Available:
			return fault.Newf(fault.Conflict, "the snapshot is %s; a VM can be restored from one that is available", one.State)
		}
		old, err := s.keepDisk(ctx, tx, v)
		if err != nil {
			return err
		}
		v.Disk, v.Turned, v.HostKeys, v.From = v.Generation, v.Generation, one.HostKeys, one.ID
		v.UserData, v.Heir = "", &old.Number
		if v.Spec.Image != one.Image {
			v.Spec.Image, v.Spec.ImageChecksum, v.Spec.ImagePin = one.Image, "", ""
		}
		return nil
	}
}

// Snapshots returns the snapshots of the actor's VM, oldest first. Returns NotFound for
// an unknown, foreign or deleted VM.
func (s *Service) Snapshots(ctx context.Context, who account.Actor, given string) (list []vm.Snapshot, err error) {
	err = s.Store.Read(ctx, func(tx *store.Tx) error {
		v, err := s.living(ctx, tx, who, given)
		if err != nil {
			return err
		}
		list, err = tx.Snapshots(ctx, v.ID)
		return err
	})
	return list, err
}

// AllSnapshots returns the newest snapshots of the actor's account, newest first.
func (s *Service) AllSnapshots(ctx context.Context, who account.Actor) (list []vm.Snapshot, err error) {
	err = s.Store.Read(ctx, func(tx *store.Tx) error {
		list, err = tx.AccountSnapshots(ctx, who.AccountID, mostListed)
		return err
	})
	return list, err
}

// living returns one of the actor's VMs that is not deleted, or a NotFound fault.
func (s *Service) living(ctx context.Context, tx *store.Tx, who account.Actor, given string) (vm.VM, error) {
	v, err := s.owned(ctx, tx, who, given)
	if err == nil && v.State == vm.Stopped {
		err = noVM(v.ID)
	}
	return v, err
}

// ownedSnapshot returns one of the actor's snapshots, or a NotFound fault.
func (s *Service) ownedSnapshot(ctx context.Context, tx *store.Tx, who account.Actor, snapshotID string) (vm.Snapshot, error) {
	one, err := tx.Snapshot(ctx, snapshotID)
	if fault.Is(err, fault.NotFound) || err == nil && one.AccountID != who.AccountID {
		return vm.Snapshot{}, fault.Newf(fault.NotFound, "no snapshot with id %.40q", snapshotID)
	}
	return one, err
}

// DeleteSnapshot has one of the actor's snapshots purged. Disks that were made of it
// are not touched. It may be repeated. Returns NotFound for an unknown or foreign one,
// Conflict for one that is being made, or of which something is.
func (s *Service) DeleteSnapshot(ctx context.Context, who account.Actor, snapshotID string) error {
	var rung []string
	err := s.Store.Write(ctx, func(tx *store.Tx) error {
		rung = nil
		one, err := s.ownedSnapshot(ctx, tx, who, snapshotID)
		if err != nil {
			return err
		}
		if one.State == vm.Making {
			return fault.Newf(fault.Conflict, "the snapshot is being made by %s; wait until that is over", one.Operation)
		}
		if awaited, err := tx.SnapshotAwaited(ctx, one); err != nil || awaited {
			return firstError(err, fault.New(fault.Conflict, "a disk or an export is being made of the snapshot; wait until its VM is Active, or the export done"))
		}
		v, err := tx.VM(ctx, one.VMID)
		if err != nil {
			return err
		}
		rung = []string{"vm:" + v.ID, "server:" + v.ServerID}
		return firstErrorOf(
			func() error { return s.purgeSnapshot(ctx, tx, &v, one, vm.Discarded, "") },
			func() error { return tx.UpdateVM(ctx, v) },
			func() error { return tx.Revise(ctx, v.ServerID) },
		)
	})
	if err == nil {
		s.ring(ctx, rung...)
	}
	return err
}

// purgeSnapshot has a snapshot of v purged. The caller stores v and has its list sent.
func (s *Service) purgeSnapshot(ctx context.Context, tx *store.Tx, v *vm.VM, one vm.Snapshot, state vm.SnapshotState, reason string) error {
	if one.State == vm.Discarded || one.State == vm.Spoiled {
		return nil
	}
	one.State, one.Reason = state, reason
	v.Generation++
	v.Asks = v.Ask(one.ID, one.Disk, vm.PurgeSnapshot)
	text := fmt.Sprintf("snapshot %s is deleted", one.Name)
	if reason != "" {
		text = fmt.Sprintf("snapshot %s: %s", one.Name, reason)
	}
	return firstErrorOf(
		func() error { return tx.UpdateSnapshot(ctx, one) },
		func() error { return tx.PutEvent(ctx, v.ID, s.happened("snapshot-purged", s.Now().UTC(), text)) },
	)
}

// spoil gives up the snapshot that an operation of v was to make, and which it did not.
func (s *Service) spoil(ctx context.Context, tx *store.Tx, v *vm.VM, o vm.Operation) error {
	one, err := tx.Snapshot(ctx, o.Result[vm.SnapshotResult])
	if fault.Is(err, fault.NotFound) || o.Action != vm.TakeSnapshot || err == nil && one.State != vm.Making {
		return nil
	}
	return firstErrorOf(
		func() error { return err },
		func() error { return s.purgeSnapshot(ctx, tx, v, one, vm.Spoiled, "it was not made in time") },
		func() error { return tx.Revise(ctx, v.ServerID) },
	)
}

// sightSnapshots takes in what an agent sees of v's snapshots, and reports whether v
// changed. It comes before the operation that makes one is ended.
func (s *Service) sightSnapshots(ctx context.Context, tx *store.Tx, v *vm.VM, seen vm.Sighting) (changed bool, err error) {
	if len(v.Snapshots) == 0 || len(seen.Snapshots) == 0 {
		return false, nil
	}
	list, err := tx.Snapshots(ctx, v.ID)
	if err != nil {
		return false, err
	}
	for _, one := range list {
		if now, ok := seen.Snapshot(one.ID); ok {
			moved, err := s.sightSnapshot(ctx, tx, v, one, now)
			if err != nil {
				return false, err
			}
			changed = changed || moved
		}
	}
	if !changed {
		return false, nil
	}
	return true, firstErrorOf(
		func() error { return s.expireScheduled(ctx, tx, v) },
		func() error { return tx.Revise(ctx, v.ServerID) },
	)
}

// sightSnapshot takes in what is seen of one snapshot, and reports whether v changed.
func (s *Service) sightSnapshot(ctx context.Context, tx *store.Tx, v *vm.VM, one vm.Snapshot, seen vm.SnapshotSeen) (bool, error) {
	switch {
	case one.State == vm.Making && seen.State == vm.SnapshotThere:
		return true, s.keepSnapshot(ctx, tx, v, one, seen)
	case one.State == vm.Making && seen.State == vm.SnapshotFailed:
		return true, s.purgeSnapshot(ctx, tx, v, one, vm.Spoiled, "could not be made: "+printable(seen.Reason))
	case one.State == vm.Available && seen.State == vm.SnapshotLost:
		return true, s.purgeSnapshot(ctx, tx, v, one, vm.Spoiled, "is not on its server any more")
	case (one.State == vm.Discarded || one.State == vm.Spoiled) && seen.State == vm.SnapshotGone:
		v.Asks = v.Unask(one.ID)
		return true, firstErrorOf(
			func() error { return s.hold(ctx, tx, v, -one.HeldGiB) },
			func() error { return tx.DeleteSnapshot(ctx, one.ID) },
		)
	case one.State == vm.Making && seen.Percent != one.Percent:
		one.Percent = min(max(seen.Percent, 0), 100)
		return false, tx.UpdateSnapshot(ctx, one)
	}
	return false, nil
}

// keepSnapshot takes in that a snapshot is made: from now on it is never made again,
// and holds what its file takes.
func (s *Service) keepSnapshot(ctx context.Context, tx *store.Tx, v *vm.VM, one vm.Snapshot, seen vm.SnapshotSeen) error {
	sum, err := vm.ParseChecksum(seen.Checksum)
	if err != nil || sum == "" || seen.Bytes <= 0 || seen.VirtualBytes <= 0 {
		return s.purgeSnapshot(ctx, tx, v, one, vm.Spoiled, "its server told nothing sensible of it")
	}
	held := (seen.Bytes + 1<<30 - 1) >> 30
	more := min(held-one.HeldGiB, 0) // one that is larger than its disk by its tables was made by now
	one.State, one.Percent, one.HeldGiB = vm.Available, 100, one.HeldGiB+more
	one.At, one.Bytes, one.VirtualBytes, one.Checksum = seen.At.UTC().Truncate(time.Microsecond), seen.Bytes, seen.VirtualBytes, sum
	if one.Consistency = "crash"; seen.Consistency == "filesystem" {
		one.Consistency = seen.Consistency
	}
	v.Asks = v.Ask(one.ID, one.Disk, vm.KeepSnapshot)
	return firstErrorOf(
		func() error { return s.hold(ctx, tx, v, more) },
		func() error { return tx.UpdateSnapshot(ctx, one) },
	)
}
