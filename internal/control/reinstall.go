package control

import (
	"context"
	"slices"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/userdata"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// Renewal is what a VM's new disk is made of. What is nil stays as it was.
type Renewal struct {
	// Image is a URL. The same one, named again, is fetched as it is by now; nil is
	// for the same bytes.
	Image         *string
	ImageChecksum *string // of the image, see vm.ParseChecksum; "" for whatever is there
	SSHKeys       []string
	UserData      *userdata.Text // "" for none
}

// Reinstall begins to give the actor's VM a new disk. The one that it has is kept. Returns
// Invalid for a value that is not acceptable, the faults of Operate, and those of
// keeping a disk: Conflict when too many are kept or the server has no room, Unaffordable
// when the balance is too small for it.
func (s *Service) Reinstall(ctx context.Context, who account.Actor, given string, r Renewal, requestID string) (vm.Operation, error) {
	checksum, err := r.check()
	if err != nil {
		return vm.Operation{}, err
	}
	var keys []string
	if r.SSHKeys != nil {
		if keys, err = s.publicKeys(ctx, who.AccountID, r.SSHKeys); err != nil {
			return vm.Operation{}, err
		}
	}
	return s.Operate(ctx, who, given, vm.Reinstall, requestID, func(ctx context.Context, tx *store.Tx, v *vm.VM) error {
		old, err := s.keepDisk(ctx, tx, v)
		if err != nil {
			return err
		}
		v.Disk, v.Turned, v.HostKeys, v.From = v.Generation, v.Generation, nil, ""
		v.UserData, v.Heir = "", &old.Number
		if r.UserData != nil {
			v.UserData, v.Heir = *r.UserData, nil
		}
		if r.SSHKeys != nil {
			v.Spec.SSHKeys = keys
		}
		if r.Image != nil {
			v.Spec.Image, v.Spec.ImageChecksum, v.Spec.ImagePin = *r.Image, checksum, ""
		} else if r.ImageChecksum != nil {
			v.Spec.ImageChecksum, v.Spec.ImagePin = checksum, ""
		}
		return vm.CheckImage(v.Spec.Image) // which isn't known of a disk that was found
	})
}

// check returns the checksum as it is kept, or an Invalid fault.
func (r Renewal) check() (checksum string, err error) {
	if r.Image != nil {
		err = vm.CheckImage(*r.Image)
	}
	var badSum, badKeys, badData error
	if r.ImageChecksum != nil {
		checksum, badSum = vm.ParseChecksum(*r.ImageChecksum)
	}
	if r.UserData != nil {
		badData = userdata.Check(*r.UserData)
	}
	if r.SSHKeys != nil {
		badKeys = vm.CheckKeyCount(len(r.SSHKeys))
	}
	return checksum, firstError(err, badSum, badKeys, badData)
}

// keepDisk has the disk that v has be kept, as v is to get another one. The caller
// stores v.
func (s *Service) keepDisk(ctx context.Context, tx *store.Tx, v *vm.VM) (vm.KeptDisk, error) {
	kept, err := tx.Disks(ctx, v.ID)
	if err != nil {
		return vm.KeptDisk{}, err
	}
	if len(kept) >= vm.MaxKept {
		return vm.KeptDisk{}, fault.Newf(fault.Conflict, "%d disks of the VM are kept already, which is the most; purge one of them first",
			len(kept))
	}
	old := v.Kept(s.Now().UTC())
	return old, firstErrorOf(
		func() error { return s.hold(ctx, tx, v, old.Held) },
		func() error { return tx.PutDisk(ctx, old) },
	)
}

// Return begins to give the actor's VM a disk back that is kept; the one that it has is
// kept then. Returns NotFound for an unknown disk, Conflict for one that is being
// purged, and the faults of Operate.
func (s *Service) Return(ctx context.Context, who account.Actor, given string, number int64, requestID string) (vm.Operation, error) {
	return s.Operate(ctx, who, given, vm.Return, requestID, func(ctx context.Context, tx *store.Tx, v *vm.VM) error {
		d, err := keptDisk(ctx, tx, *v, number)
		if err != nil {
			return err
		}
		if d.Purging {
			return fault.Newf(fault.Conflict, "disk %d is being purged", number)
		}
		old := v.Kept(s.Now().UTC())
		v.Take(d)
		return firstErrorOf(
			func() error { return tx.DropDisk(ctx, v.ID, d.Number) },
			func() error { return s.hold(ctx, tx, v, old.Held-d.Held) },
			func() error { return tx.PutDisk(ctx, old) },
		)
	})
}

// keptDisk returns one of the disks of v that are kept, or a NotFound fault.
func keptDisk(ctx context.Context, tx *store.Tx, v vm.VM, number int64) (vm.KeptDisk, error) {
	list, err := tx.Disks(ctx, v.ID)
	if err != nil {
		return vm.KeptDisk{}, err
	}
	for _, d := range list {
		if d.Number == number {
			return d, nil
		}
	}
	return vm.KeptDisk{}, fault.Newf(fault.NotFound, "no disk %d of VM %s is kept", number, v.Name)
}

// takeBack ends what v was to be started on and can't be: it goes on with the disk that
// it has, and what it had is kept no more. It reports whether there was such a
// thing. The caller stores v.
func (s *Service) takeBack(ctx context.Context, tx *store.Tx, v *vm.VM, seen vm.Sighting) (bool, error) {
	if seen.Unmade == nil || *seen.Unmade != v.Boots() || !v.Turning() {
		return false, nil
	}
	before := v.Turned
	v.Generation++
	if v.Rescue != nil {
		leaveRescue(v)
		return true, s.tookBack(ctx, tx, v, seen)
	}
	kept, err := tx.Disks(ctx, v.ID)
	if err != nil {
		return false, err
	}
	i := slices.IndexFunc(kept, func(d vm.KeptDisk) bool { return d.Parted == before })
	if i < 0 { // nothing is known to go back to: its customer has the reason, and its disks
		v.Generation--
		return false, nil
	}
	v.Take(kept[i])
	return true, firstErrorOf(
		func() error { return tx.DropDisk(ctx, v.ID, v.Disk) },
		func() error { return s.hold(ctx, tx, v, -kept[i].Held) },
		func() error { return s.tookBack(ctx, tx, v, seen) },
	)
}

// tookBack tells that v goes on as it was, and ends the operation that had asked
// for something else.
func (s *Service) tookBack(ctx context.Context, tx *store.Tx, v *vm.VM, seen vm.Sighting) error {
	if seen.Disk == v.Boots() { // where it never left
		v.Turned = 0
	}
	if err := tx.Revise(ctx, v.ServerID); err != nil {
		return err
	}
	o, err := s.goingOn(ctx, tx, *v)
	why := printable(seen.Reason) + "; the VM goes on as it was"
	if err != nil || o == nil || !o.Action.Turns() {
		return firstErrorOf(
			func() error { return err },
			func() error { return tx.PutEvent(ctx, v.ID, s.happened("taken-back", s.Now().UTC(), why)) },
		)
	}
	return s.conclude(ctx, tx, v, *o, why)
}
