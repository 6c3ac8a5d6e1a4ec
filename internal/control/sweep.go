package control

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// sweepBatch is how many VMs one sweep looks at.
const sweepBatch = 100

// Sweep gives up VMs whose deadline has passed: their customers get their money
// back. It returns how many there were.
func (s *Service) Sweep(ctx context.Context) (int, error) {
	var ids []string
	err := s.Store.Read(ctx, func(tx *store.Tx) (err error) {
		ids, err = tx.OverdueVMs(ctx, s.Now(), sweepBatch)
		return err
	})
	if err != nil {
		return 0, err
	}
	var errs []error // one that can't be given up does not hold up the others
	for _, vmID := range ids {
		if err := s.giveUp(ctx, vmID); err != nil {
			errs = append(errs, fmt.Errorf("give up %s: %w", vmID, err))
		}
	}
	return len(ids) - len(errs), errors.Join(errs...)
}

func (s *Service) giveUp(ctx context.Context, vmID string) error {
	var rung []string
	err := s.Store.Write(ctx, func(tx *store.Tx) error {
		v, err := tx.VM(ctx, vmID)
		if err != nil || v.Deadline.IsZero() || v.Deadline.After(s.Now()) {
			return err // it moved on in the meantime
		}
		reason := "was not launched in time"
		if v.Reason != "" {
			reason += ": " + v.Reason
		}
		rung = []string{"vm:" + v.ID, "server:" + v.ServerID}
		return s.end(ctx, tx, v, vm.Overdue, reason)
	})
	if err == nil {
		s.bells.ring(rung...)
	}
	return err
}

// sweepEvery is how often deadlines are looked at.
const sweepEvery = 15 * time.Second

// Run sweeps until ctx is done.
func (s *Service) Run(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if n, err := s.Sweep(ctx); err != nil && ctx.Err() == nil {
				s.Log.ErrorContext(ctx, "sweep of overdue VMs", "error", err)
			} else if n > 0 {
				s.Log.InfoContext(ctx, "gave up overdue VMs", "count", n)
			}
		}
	}
}
