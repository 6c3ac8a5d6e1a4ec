package control

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// SetSchedule has snapshots of the actor's VM made from now on, in the place of the
// schedule that it had: the first one at first, or after every when that is zero. Returns
// NotFound for an unknown, foreign or deleted VM, Invalid for a schedule that can't be.
func (s *Service) SetSchedule(ctx context.Context, who account.Actor, given string, every time.Duration, keep int64, first time.Time) (plan vm.Schedule, err error) {
	now := s.Now().UTC()
	plan = vm.Schedule{Every: every, Keep: keep, Next: first.UTC().Truncate(time.Microsecond)}
	if first.IsZero() {
		plan.Next = now.Add(every).Truncate(time.Microsecond)
	}
	if err := plan.Check(now); err != nil {
		return plan, err
	}
	err = s.Store.Write(ctx, func(tx *store.Tx) error {
		v, err := s.living(ctx, tx, who, given)
		if err != nil {
			return err
		}
		plan.VMID = v.ID
		text := fmt.Sprintf("a snapshot is made every %s from %s on, and %d are kept", every, plan.Next.Format("2006-01-02 15:04"), keep)
		return firstErrorOf(
			func() error { return tx.PutSchedule(ctx, plan) },
			func() error { return tx.PutEvent(ctx, v.ID, s.happened("schedule", now, text)) },
		)
	})
	return plan, err
}

// Schedule returns the schedule of the actor's VM. Returns NotFound for an unknown,
// foreign or deleted VM, and for one without.
func (s *Service) Schedule(ctx context.Context, who account.Actor, given string) (plan vm.Schedule, err error) {
	err = s.Store.Read(ctx, func(tx *store.Tx) error {
		v, err := s.living(ctx, tx, who, given)
		if err != nil {
			return err
		}
		plan, err = tx.Schedule(ctx, v.ID)
		return err
	})
	return plan, err
}

// DeleteSchedule ends the schedule of the actor's VM; the snapshots stay. It may be
// repeated. Returns NotFound for an unknown, foreign or deleted VM.
func (s *Service) DeleteSchedule(ctx context.Context, who account.Actor, given string) error {
	return s.Store.Write(ctx, func(tx *store.Tx) error {
		v, err := s.living(ctx, tx, who, given)
		if err != nil {
			return err
		}
		if _, err := tx.Schedule(ctx, v.ID); err != nil {
			if fault.Is(err, fault.NotFound) {
				return nil
			}
			return err
		}
		return firstErrorOf(
			func() error { return tx.DeleteSchedule(ctx, v.ID) },
			func() error {
				return tx.PutEvent(ctx, v.ID, s.happened("schedule", s.Now().UTC(), "no more snapshots are made on schedule; those that there are stay"))
			},
		)
	})
}

// RunSchedules begins the snapshots that are due, and returns how many schedules there
// were. One that can't be begun now is left out, which the VM's timeline tells.
func (s *Service) RunSchedules(ctx context.Context) (run int, err error) {
	for {
		var due []vm.Schedule
		if err := s.Store.Read(ctx, func(tx *store.Tx) (err error) {
			due, err = tx.DueSchedules(ctx, s.Now(), sweepBatch)
			return err
		}); err != nil {
			return run, err
		}
		var errs []error // one that can't be run does not hold up the others
		for _, plan := range due {
			if err := s.runSchedule(ctx, plan); err != nil {
				errs = append(errs, fmt.Errorf("snapshot of %s: %w", plan.VMID, err))
			}
		}
		run += len(due) - len(errs)
		if len(errs) > 0 || len(due) < sweepBatch {
			return run, errors.Join(errs...)
		}
	}
}

// runSchedule begins the snapshot of a schedule, or tells why it is left out.
func (s *Service) runSchedule(ctx context.Context, plan vm.Schedule) error {
	err := s.beginScheduled(ctx, plan, "")
	if err != nil && fault.KindOf(err) != fault.Internal {
		err = s.beginScheduled(ctx, plan, fault.Message(err))
	}
	return err
}

// beginScheduled moves a schedule on, and begins its snapshot unless it is told why that
// is left out.
func (s *Service) beginScheduled(ctx context.Context, plan vm.Schedule, leftOut string) error {
	var rung []string
	err := s.Store.Write(ctx, func(tx *store.Tx) error {
		rung = nil
		now := s.Now().UTC()
		p, err := tx.Schedule(ctx, plan.VMID)
		if err != nil || p.Next.After(now) {
			return ignoreNotFound(err) // another replica was faster, or it was ended
		}
		v, err := tx.VM(ctx, p.VMID)
		if err != nil {
			return err
		}
		p.Next, p.Told = p.After(now), leftOut
		if err := tx.PutSchedule(ctx, p); err != nil {
			return err
		}
		if v.State.Ended() {
			return nil // it goes on if the VM does
		}
		if leftOut != "" {
			return tx.PutEvent(ctx, v.ID, s.happened("schedule", now, "the snapshot that was due is left out: "+leftOut))
		}
		busy, err := s.goingOn(ctx, tx, v)
		if err != nil {
			return err
		}
		if err := v.Refuses(vm.TakeSnapshot, busy); err != nil {
			return err
		}
		rung = []string{"vm:" + v.ID, "server:" + v.ServerID}
		_, err = s.begin(ctx, tx, v, vm.TakeSnapshot, "", s.takeSnapshot("auto-"+now.Format("20060102-150405"), true))
		return err
	})
	if err == nil {
		s.ring(ctx, rung...)
	}
	return err
}

func ignoreNotFound(err error) error {
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	return err
}

// expireScheduled has those snapshots of v purged that its schedule made and doesn't
// keep. The caller stores v and has its list sent.
func (s *Service) expireScheduled(ctx context.Context, tx *store.Tx, v *vm.VM) error {
	plan, err := tx.Schedule(ctx, v.ID)
	if err != nil {
		return ignoreNotFound(err)
	}
	list, err := tx.Snapshots(ctx, v.ID)
	if err != nil {
		return err
	}
	for _, one := range plan.Expired(list) {
		awaited, err := tx.SnapshotAwaited(ctx, one)
		if err == nil && !awaited {
			err = s.purgeSnapshot(ctx, tx, v, one, vm.Discarded, "")
		}
		if err != nil {
			return err
		}
	}
	return nil
}
