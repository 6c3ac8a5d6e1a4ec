package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// Disks returns the disks that the actor's VM has beside its own one, by number, and the VM.
// Returns NotFound for an unknown, foreign or deleted VM.
func (s *Service) Disks(ctx context.Context, who account.Actor, given string) (v vm.VM, kept []vm.KeptDisk, err error) {
	err = s.Store.Read(ctx, func(tx *store.Tx) error {
		if v, err = s.owned(ctx, tx, who, given); err != nil {
			return err
		}
		if v.State == vm.Stopped {
			return noVM(v.ID)
		}
		kept, err = tx.Disks(ctx, v.ID)
		return err
	})
	return v, kept, err
}

// PurgeDisk has a disk of the actor's VM purged that is kept. It may be repeated.
// Returns NotFound for an unknown, foreign or deleted VM and an unknown disk, and Conflict
// for one that the VM may still run on.
func (s *Service) PurgeDisk(ctx context.Context, who account.Actor, given string, number int64) error {
	return s.purgeDisk(ctx, "purged by its customer's wish", func(tx *store.Tx) (vm.VM, vm.KeptDisk, error) {
		v, err := s.owned(ctx, tx, who, given)
		if err != nil {
			return v, vm.KeptDisk{}, err
		}
		if v.State == vm.Stopped {
			return v, vm.KeptDisk{}, noVM(v.ID)
		}
		d, err := keptDisk(ctx, tx, v, number)
		switch {
		case err != nil:
			return v, d, err
		case v.Goal == vm.Remove:
			return v, d, fault.Newf(fault.Conflict, "the VM is %s: its disks are purged with it", v.State)
		case d.Until.IsZero():
			return v, d, fault.Newf(fault.Conflict, "the VM may still run on disk %d; wait until it runs on the one that was asked for", number)
		}
		return v, d, nil
	})
}

// PurgeDisks has the disks purged whose time is over, and returns how many there were.
func (s *Service) PurgeDisks(ctx context.Context) (purged int, err error) {
	for {
		var list []store.DiskOf
		if err := s.Store.Read(ctx, func(tx *store.Tx) (err error) {
			list, err = tx.OverdueDisks(ctx, s.Now(), sweepBatch)
			return err
		}); err != nil || len(list) == 0 {
			return purged, err
		}
		for _, d := range list {
			if err := s.purgeOverdue(ctx, d); err != nil {
				return purged, err
			}
			purged++
		}
	}
}

func (s *Service) purgeOverdue(ctx context.Context, of store.DiskOf) error {
	err := s.purgeDisk(ctx, "purged, as its time is over", func(tx *store.Tx) (vm.VM, vm.KeptDisk, error) {
		v, err := tx.VM(ctx, of.VMID)
		if err != nil {
			return v, vm.KeptDisk{}, err
		}
		d, err := keptDisk(ctx, tx, v, of.Number)
		if err == nil && (v.Goal == vm.Remove || d.Until.IsZero() || d.Until.After(s.Now())) {
			err = errMovedOn
		}
		return v, d, err
	})
	if errors.Is(err, errMovedOn) || fault.Is(err, fault.NotFound) {
		return nil
	}
	return err
}

// errMovedOn says that there is nothing to be done any more.
var errMovedOn = errors.New("it is otherwise by now")

// purgeDisk has the disk purged that find returns.
func (s *Service) purgeDisk(ctx context.Context, why string, find func(*store.Tx) (vm.VM, vm.KeptDisk, error)) error {
	var rung []string
	err := s.Store.Write(ctx, func(tx *store.Tx) error {
		rung = nil
		v, d, err := find(tx)
		if err != nil || d.Purging {
			return err
		}
		d.Purging = true
		v.WantPurged(d.Number)
		v.Generation++
		rung = []string{"vm:" + v.ID, "server:" + v.ServerID}
		return firstErrorOf(
			func() error { return tx.PutDisk(ctx, d) },
			func() error { return tx.UpdateVM(ctx, v) },
			func() error { return tx.Revise(ctx, v.ServerID) },
			func() error {
				return tx.PutEvent(ctx, v.ID, s.happened("disk", s.Now().UTC(), fmt.Sprintf("disk %d is %s", d.Number, why)))
			},
		)
	})
	if err == nil {
		s.ring(ctx, rung...)
	}
	return err
}

// observeDisks takes in which disks of v are there, and what it is started on, and reports
// whether that changed v. The caller stores v.
func (s *Service) observeDisks(ctx context.Context, tx *store.Tx, v *vm.VM, seen vm.Sighting) (bool, error) {
	turned := v.Turning() && seen.Generation >= v.Turned && seen.Disk == v.Boots()
	if turned {
		v.Turned, v.TurnedAt = 0, s.Now().UTC()
	}
	if v.UserData != "" && !v.ActivatedAt.IsZero() && !v.Turning() { // its server has what it needs of it
		v.UserData = ""
		if err := tx.Revise(ctx, v.ServerID); err != nil {
			return false, err
		}
	}
	if !v.Turning() && v.Disk == 0 && v.Held == 0 && len(v.Purge) == 0 && len(seen.Disks) <= 1 {
		return turned, nil
	}
	if taken, err := s.takeBack(ctx, tx, v, seen); taken || err != nil || v.Turning() || !seen.Has(v.Disk) {
		return taken || turned, err
	}
	kept, err := tx.Disks(ctx, v.ID)
	if err != nil {
		return false, err
	}
	changed := turned
	for _, d := range kept {
		c, err := s.observeKept(ctx, tx, v, d, seen)
		if err != nil {
			return false, err
		}
		changed = changed || c
	}
	return s.observeOthers(ctx, tx, v, kept, seen, changed)
}

// observeKept takes in whether a disk that is kept of v is there.
func (s *Service) observeKept(ctx context.Context, tx *store.Tx, v *vm.VM, d vm.KeptDisk, seen vm.Sighting) (bool, error) {
	now := s.Now().UTC()
	switch there := seen.Has(d.Number); {
	case !there:
		text := fmt.Sprintf("disk %d is not there any more", d.Number)
		if d.Purging {
			text = fmt.Sprintf("disk %d is purged, and holds no storage any more", d.Number)
		}
		return true, firstErrorOf(
			func() error { return tx.DropDisk(ctx, v.ID, d.Number) },
			func() error { return s.hold(ctx, tx, v, -d.Held) },
			func() error { return tx.PutEvent(ctx, v.ID, s.happened(fmt.Sprintf("disk-%d", d.Number), now, text)) },
		)
	case d.Until.IsZero():
		d.Until = now.Add(s.KeepDisks)
		return true, firstErrorOf(
			func() error { return tx.PutDisk(ctx, d) },
			func() error { return tx.PutEvent(ctx, v.ID, s.announced(d, now)) },
		)
	}
	return false, nil
}

// announced is the line that says until when a disk is kept.
func (s *Service) announced(d vm.KeptDisk, now time.Time) vm.Event {
	return s.happened(fmt.Sprintf("disk-%d", d.Number), now, fmt.Sprintf(
		"disk %d is kept until %s, and purged then; until then the VM can have it back", d.Number, d.Until.Format(time.RFC3339)))
}

// observeOthers takes in what of v is there and is not known to be kept: what was to be
// purged and is gone, and disks that nobody knows, of a store that was restored
// or an order that was taken back, which are kept as all others.
func (s *Service) observeOthers(ctx context.Context, tx *store.Tx, v *vm.VM, kept []vm.KeptDisk, seen vm.Sighting, changed bool) (bool, error) {
	left := slices.DeleteFunc(slices.Clone(v.Purge), func(n int64) bool { return !seen.Has(n) })
	if len(left) < len(v.Purge) {
		v.Purge, changed = left, true
		if err := tx.Revise(ctx, v.ServerID); err != nil {
			return false, err
		}
	}
	now := s.Now().UTC()
	for _, there := range seen.Disks {
		n := there.Number
		if n == v.Disk || n == v.Boots() || slices.Contains(v.Purge, n) || slices.ContainsFunc(kept, func(d vm.KeptDisk) bool { return d.Number == n }) {
			continue
		}
		found := vm.KeptDisk{VMID: v.ID, Number: n, Parted: v.Generation, GiB: v.Spec.StorageGiB, Since: now, Until: now.Add(s.KeepDisks)}
		changed = true
		if err := firstErrorOf(
			func() error { return tx.PutDisk(ctx, found) },
			func() error { return tx.PutEvent(ctx, v.ID, s.announced(found, now)) },
		); err != nil {
			return false, err
		}
	}
	return changed, nil
}
