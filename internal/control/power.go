package control

import (
	"context"
	"fmt"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// Shutdown has the VM's machine powered off. Once its agent has seen it so, its vCPUs
// and memory are others' to have, and from its next epoch on it costs what its storage
// and address do.
func Shutdown(_ context.Context, _ *store.Tx, v *vm.VM) error {
	v.Power, v.Goal = vm.Stopping, vm.Halt
	return nil
}

// Start has the VM's machine run again: it has its vCPUs and memory, and costs what it
// did, from now on. Returns the faults of alter.
func (s *Service) Start(ctx context.Context, tx *store.Tx, v *vm.VM) error {
	v.Goal = vm.Run
	return s.alter(ctx, tx, v, func(v *vm.VM) { v.Power = vm.On })
}

// rest notes that a VM which is to be powered off is, once its agent says so, and
// reports whether that is news.
func (s *Service) rest(ctx context.Context, tx *store.Tx, v *vm.VM, seen vm.Sighting) (bool, error) {
	if v.Power != vm.Stopping || seen.Phase != vm.Halted || seen.Generation != v.Generation {
		return false, nil
	}
	before := v.Price
	if err := s.alter(ctx, tx, v, func(v *vm.VM) { v.Power = vm.Off }); err != nil {
		return false, err
	}
	now := s.Now().UTC()
	text := "powered off: its disk and its address are kept"
	if v.Cheaper {
		text += fmt.Sprintf("; from %s on an epoch costs %s USDC in place of %s", v.NextBilling.Format(time.RFC3339), v.Rate().Sum(), before)
	}
	return true, tx.PutEvent(ctx, v.ID, s.happened("off", now, text))
}

// resized notes that a VM runs in the size that it was given, once its agent says so:
// what it took more before is others' to have. It reports whether that is news.
func (s *Service) resized(ctx context.Context, tx *store.Tx, v *vm.VM, seen vm.Sighting) (bool, error) {
	if v.Leaves == (capacity.Vector{}) || seen.Generation != v.Generation || seen.Phase != vm.Ready && seen.Phase != vm.Halted {
		return false, nil
	}
	return true, s.alter(ctx, tx, v, func(v *vm.VM) { v.Leaves = capacity.Vector{} })
}

// settleSize takes in that a VM takes less of its server, and reports whether it does.
func (s *Service) settleSize(ctx context.Context, tx *store.Tx, v *vm.VM, seen vm.Sighting) (bool, error) {
	if rested, err := s.rest(ctx, tx, v, seen); err != nil || rested {
		return rested, err
	}
	return s.resized(ctx, tx, v, seen)
}

// Undelete brings back a VM that was deleted and whose disk is kept: it is started, and
// its deposit is reserved anew. Returns the faults of alter.
func (s *Service) Undelete(ctx context.Context, tx *store.Tx, v *vm.VM) error {
	now := s.Now().UTC()
	v.State, v.Since, v.Reason = vm.Next(v.State, vm.Undeleted), now, "starts again: its customer wants it back"
	v.EndedAt, v.KeptUntil, v.Goal = time.Time{}, time.Time{}, vm.Run
	if err := s.alter(ctx, tx, v, func(v *vm.VM) { v.Power = vm.On }); err != nil {
		return err
	}
	return tx.PutEvent(ctx, v.ID, s.happened("undeleted", now, fmt.Sprintf("undeleted: %s USDC are reserved, and it is started", v.Reserved)))
}

// within returns an Exhausted fault when what a VM costs more from now on passes a limit
// of its account, or of the key that deployed it.
func (s *Service) within(ctx context.Context, tx *store.Tx, v vm.VM, more money.Amount) error {
	if more <= 0 || tx.LimitsRevision() == unlimited {
		return nil
	}
	found, err := tx.Bounds(ctx, v.AccountID, v.KeyID)
	if err != nil || len(found) == 0 {
		return err
	}
	now := s.Now().UTC()
	uses, err := s.uses(ctx, tx, now, true, v.AccountID, v.KeyID)
	if err != nil {
		return err
	}
	for _, bound := range found {
		if err := bound.Allow(uses[bound.Subject], useOf(more, v.Epoch), now); err != nil {
			return err
		}
	}
	return nil
}

// Deletion is what becomes of a VM that was deleted.
type Deletion struct {
	ID        string
	KeptUntil time.Time // when its disk is purged, and until when it can be undeleted; zero for at once
}

// Delete deletes one VM of the actor's: see DeleteVMs. With purge its disk is purged at
// once, that of one which was deleted before as well. Returns the faults of DeleteVMs.
func (s *Service) Delete(ctx context.Context, who account.Actor, given string, purge bool) (Deletion, error) {
	var d Deletion
	var rung []string
	err := s.Store.Write(ctx, func(tx *store.Tx) error {
		rung = nil
		v, err := s.owned(ctx, tx, who, given)
		if err != nil {
			return err
		}
		if err := v.Refuses(vm.Delete, nil); err != nil {
			return err
		}
		if err := s.end(ctx, tx, v, vm.Deleted, "deleted by its customer"); err != nil {
			return err
		}
		if v, err = tx.VM(ctx, v.ID); err != nil {
			return err
		}
		rung = []string{"vm:" + v.ID, "server:" + v.ServerID}
		if purge && !v.KeptUntil.IsZero() {
			if err := s.purge(ctx, tx, &v, "purged at its customer's wish"); err != nil {
				return err
			}
		}
		d = Deletion{v.ID, v.KeptUntil}
		return nil
	})
	if err != nil {
		return Deletion{}, err
	}
	s.ring(ctx, rung...)
	s.moneyCame(ctx)
	return d, nil
}

// keep has a VM that is deleted keep its disk and its address for a while. One that never
// ran has nothing to be kept.
func (s *Service) keep(v *vm.VM, now time.Time) bool {
	if s.KeepDeleted == 0 || v.Goal == vm.Remove || v.ActivatedAt.IsZero() || v.KnownAs != "" {
		return false
	}
	v.KeptUntil, v.Goal = now.Add(s.KeepDeleted), vm.Halt
	if v.Power == vm.On {
		v.Power = vm.Stopping
	}
	return true
}

// purge has a VM removed that was kept. It stores v.
func (s *Service) purge(ctx context.Context, tx *store.Tx, v *vm.VM, text string) error {
	v.KeptUntil, v.Goal = time.Time{}, vm.Remove
	v.Generation++
	return firstErrorOf(
		func() error { return tx.UpdateVM(ctx, *v) },
		func() error { return tx.Revise(ctx, v.ServerID) },
		func() error { return tx.PutEvent(ctx, v.ID, s.happened("purged", s.Now().UTC(), text)) },
	)
}

// PurgeDeleted has the disks of VMs purged that were deleted long enough ago, and
// returns how many there were.
func (s *Service) PurgeDeleted(ctx context.Context) (int, error) {
	return s.eachVM(ctx, func(ctx context.Context, tx *store.Tx) ([]string, error) { return tx.KeptVMs(ctx, s.Now(), sweepBatch) },
		func(ctx context.Context, tx *store.Tx, v vm.VM) error {
			if v.KeptUntil.IsZero() || v.KeptUntil.After(s.Now()) {
				return nil // it was undeleted in the meantime
			}
			return s.purge(ctx, tx, &v, "the time is over that its disk was kept after it was deleted")
		})
}

// eachVM does something to the VMs that find returns, each in a transaction of its own,
// until there are none, and returns how many there were.
func (s *Service) eachVM(ctx context.Context, find func(context.Context, *store.Tx) ([]string, error), do func(context.Context, *store.Tx, vm.VM) error) (done int, err error) {
	for {
		var ids []string
		if err := s.Store.Read(ctx, func(tx *store.Tx) (err error) {
			ids, err = find(ctx, tx)
			return err
		}); err != nil || len(ids) == 0 {
			return done, err
		}
		for _, vmID := range ids {
			var rung []string
			if err := s.Store.Write(ctx, func(tx *store.Tx) error {
				v, err := tx.VM(ctx, vmID)
				if err != nil {
					return err
				}
				rung = []string{"vm:" + v.ID, "server:" + v.ServerID}
				return do(ctx, tx, v)
			}); err != nil {
				return done, fmt.Errorf("VM %s: %w", vmID, err)
			}
			s.ring(ctx, rung...)
			done++
		}
	}
}
