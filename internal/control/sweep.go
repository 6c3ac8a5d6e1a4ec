package control

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// sweepBatch is how many VMs one sweep looks at.
const sweepBatch = 100

// Sweep gives up VMs whose deadline has passed: those that were not launched,
// whose customers get their money back, and those whose retention is over. It
// returns how many there were.
func (s *Service) Sweep(ctx context.Context) (swept int, err error) {
	for {
		var ids []string
		if err := s.Store.Read(ctx, func(tx *store.Tx) (err error) {
			ids, err = tx.OverdueVMs(ctx, s.Now(), sweepBatch)
			return err
		}); err != nil {
			return swept, err
		}
		var errs []error // one that can't be given up does not hold up the others
		for _, vmID := range ids {
			if err := s.giveUp(ctx, vmID); err != nil {
				errs = append(errs, fmt.Errorf("give up %s: %w", vmID, err))
			}
		}
		swept += len(ids) - len(errs)
		if len(ids) > 0 {
			s.changed(ctx)
		}
		if len(errs) > 0 || len(ids) < sweepBatch {
			return swept, errors.Join(errs...)
		}
	}
}

// giveUp ends what a VM waits for whose deadline has passed. One that was not
// launched is placed on another server first, out of an index that is as new as
// the store; see storeGroup.
func (s *Service) giveUp(ctx context.Context, vmID string) error {
	s.shelf.filling.Lock()
	defer s.shelf.filling.Unlock()
	err := s.giveUpOn(ctx, vmID, s.shelf.Revision())
	if fault.Is(err, fault.Conflict) {
		err = s.giveUpOn(ctx, vmID, everything)
	}
	return err
}

func (s *Service) giveUpOn(ctx context.Context, vmID string, since int64) error {
	var rung []string
	err := s.Store.Write(ctx, func(tx *store.Tx) error {
		rung = nil
		b := &batch{Service: s, tx: tx, now: s.Now().UTC()}
		v, err := tx.VM(ctx, vmID)
		if err != nil || v.Deadline.IsZero() || v.Deadline.After(b.now) {
			return err // it moved on in the meantime
		}
		rung = []string{"vm:" + v.ID, "server:" + v.ServerID}
		if v.State == vm.InsufficientFunds {
			return s.expire(ctx, tx, v)
		}
		why := fmt.Sprintf("could not be launched within %s", b.now.Sub(v.Since).Round(time.Second))
		if v.Reason != "" {
			why += ": " + v.Reason
		}
		if err := s.catchUp(ctx, tx, since); err != nil {
			return err
		}
		replaced, woken, err := b.replace(ctx, v, why)
		if err != nil || replaced {
			rung = woken
			return err
		}
		return s.end(ctx, tx, v, vm.Overdue, why)
	})
	if err != nil {
		s.loads = loads{}
		return err
	}
	s.ring(ctx, rung...)
	return nil
}

// sweepEvery is how often deadlines are looked at.
const sweepEvery = 5 * time.Second

// Run does what time brings until ctx is done.
func (s *Service) Run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { s.keepFresh(ctx) })
	running.Go(func() { // beside the others: it takes seconds for each million entries
		every(ctx, time.Minute, func(ctx context.Context) { s.perform(ctx, duty{"fsck", "all that is stored was checked", s.FsckDaily}) })
	})
	running.Go(func() { // beside the others: a stretch of many servers takes its time
		every(ctx, tidyEvery, func(ctx context.Context) {
			s.perform(ctx, duty{"metrics", "metrics of VMs were put together or removed", s.TidyMetrics})
		})
	})
	if len(s.Sources) > 0 {
		running.Go(func() { // beside the others: the world outside may be slow
			every(ctx, sweepEvery, func(ctx context.Context) { s.perform(ctx, duty{"payments", "payments were credited", s.Collect}) })
		})
	}
	if s.Archive != nil {
		running.Go(func() { // beside the others: the store of exports may be slow
			every(ctx, sweepEvery, func(ctx context.Context) { s.perform(ctx, duty{"exports", "exports moved on", s.TendExports}) })
		})
	}
	if s.Simulation {
		running.Go(func() { s.runAgents(ctx) })
	}
	every(ctx, sweepEvery, s.tick)
}

// every calls do again and again until ctx is done.
func every(ctx context.Context, pause time.Duration, do func(context.Context)) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			do(ctx)
		}
	}
}

// duty is something that time brings.
type duty struct {
	name string // in metrics
	what string // in the log
	do   func(context.Context) (int, error)
}

// money is what the clock brings to VMs and those who pay for them.
func (s *Service) money() []duty {
	return []duty{
		{"sweep", "gave up overdue VMs", s.Sweep},
		{"bill", "billed VMs", s.Bill},
		{"replenish", "VMs go on that were short of money", s.Replenish},
		{"quotes", "quotes expired", s.ExpireQuotes},
		{"drains", "drains ended", s.EndDrains},
		{"ports", "ports were changed back", s.RevertPorts},
		{"kept", "disks of deleted VMs are purged", s.PurgeDeleted},
		{"remind", "VMs whose servers are not heard were told again", s.Remind},
		{"operations", "gave up operations of VMs", s.EndOperations},
		{"schedules", "snapshots on schedule were begun", s.RunSchedules},
		{"disks", "disks are purged whose time is over", s.PurgeDisks},
		{"warn", "accounts were warned that their funds run low", s.Warn},
	}
}

// duties does once what the clock brings, and returns what failed.
func (s *Service) duties(ctx context.Context) error {
	var errs []error
	for _, d := range s.money() {
		_, err := d.do(ctx)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// tick does once what time brings.
func (s *Service) tick(ctx context.Context) {
	for _, duty := range append(s.money(),
		duty{"silence", "servers became unreachable", s.NoteSilence},
		duty{"prune", "old changes of the marketplace forgotten", s.PruneMarket},
	) {
		s.perform(ctx, duty)
	}
}

// perform does a duty and tells the operator what came of it.
func (s *Service) perform(ctx context.Context, d duty) {
	n, err := d.do(ctx)
	if ctx.Err() == nil {
		s.tallies.count(d.name, n, err)
	}
	if err != nil && ctx.Err() == nil {
		s.Log.ErrorContext(ctx, "a duty failed", "duty", d.what, "error", err)
	} else if n > 0 {
		s.Log.InfoContext(ctx, "a duty was done", "duty", d.what, "count", n)
	}
}
