package control

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

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
		if len(errs) > 0 || len(ids) < sweepBatch {
			return swept, errors.Join(errs...)
		}
	}
}

func (s *Service) giveUp(ctx context.Context, vmID string) error {
	var rung []string
	err := s.Store.Write(ctx, func(tx *store.Tx) error {
		v, err := tx.VM(ctx, vmID)
		if err != nil || v.Deadline.IsZero() || v.Deadline.After(s.Now()) {
			return err // it moved on in the meantime
		}
		rung = []string{"vm:" + v.ID, "server:" + v.ServerID}
		if v.State == vm.InsufficientFunds {
			return s.expire(ctx, tx, v)
		}
		reason := "was not launched in time"
		if v.Reason != "" {
			reason += ": " + v.Reason
		}
		return s.end(ctx, tx, v, vm.Overdue, reason)
	})
	if err == nil {
		s.bells.ring(rung...)
	}
	return err
}

// sweepEvery is how often deadlines are looked at.
const sweepEvery = 5 * time.Second

// Run does what time brings until ctx is done.
func (s *Service) Run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { s.keepFresh(ctx) })
	running.Go(func() { // beside the others: it takes seconds for each million entries
		every(ctx, time.Minute, func(ctx context.Context) { s.perform(ctx, duty{"all that is stored was checked", s.FsckDaily}) })
	})
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
	what string
	do   func(context.Context) (int, error)
}

// money is what the clock brings to VMs and those who pay for them.
func (s *Service) money() []duty {
	return []duty{
		{"gave up overdue VMs", s.Sweep},
		{"billed VMs", s.Bill},
		{"VMs go on that were short of money", s.Replenish},
		{"quotes expired", s.ExpireQuotes},
		{"drains ended", s.EndDrains},
		{"accounts were warned that their funds run low", s.Warn},
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
		duty{"servers became unreachable", s.NoteSilence},
		duty{"old changes of the marketplace forgotten", s.PruneMarket},
	) {
		s.perform(ctx, duty)
	}
}

// perform does a duty and tells the operator what came of it.
func (s *Service) perform(ctx context.Context, d duty) {
	if n, err := d.do(ctx); err != nil && ctx.Err() == nil {
		s.Log.ErrorContext(ctx, "a duty failed", "duty", d.what, "error", err)
	} else if n > 0 {
		s.Log.InfoContext(ctx, "a duty was done", "duty", d.what, "count", n)
	}
}
