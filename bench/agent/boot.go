package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cpucloud/cpucloud/bench/internal/bare"
	"github.com/cpucloud/cpucloud/bench/internal/login"
	"github.com/cpucloud/cpucloud/bench/internal/report"
)

// benchBoot times one VM from its order until it greets by SSH, in turns with one
// bare QEMU.
func benchBoot(ctx context.Context, s *site, o options) error {
	return race(ctx, s, "boot", 1, "<=1.15", o.rounds)
}

// benchEight does so with several that start at once, until the last one greets.
func benchEight(ctx context.Context, s *site, o options) error {
	return race(ctx, s, "eight", o.vms, "<=1.2", o.rounds)
}

func race(ctx context.Context, s *site, name string, vms int, bar string, rounds int) error {
	var value, floor []float64
	for i := range rounds {
		v, f, err := s.round(ctx, vms, i%2 == 1)
		if err != nil {
			return err
		}
		value, floor = append(value, v), append(floor, f)
		report.Progress("%s: round %d of %d: the cloud's %.2f s, bare %.2f s, ratio %.2f", name, i+1, rounds, v, f, v/f)
	}
	return report.Print(
		report.Figure{Name: name + ".banner", Value: report.Median(value), Unit: "s", Floor: report.Median(floor), Bar: bar},
		report.Figure{Name: name + ".banner.ratios", Value: report.Median(ratios(value, floor))},
	)
}

// ratios returns the ratio of each round.
func ratios(value, floor []float64) []float64 {
	each := make([]float64, len(value))
	for i := range value {
		each[i] = value[i] / floor[i]
	}
	return each
}

// round times both sides, in seconds; they take turns at being first.
func (s *site) round(ctx context.Context, vms int, bareFirst bool) (value, floor float64, err error) {
	if bareFirst {
		if floor, err = s.timeBare(ctx, vms); err != nil {
			return 0, 0, err
		}
	}
	if value, err = s.timeCloud(ctx, vms); err == nil && !bareFirst {
		floor, err = s.timeBare(ctx, vms)
	}
	return value, floor, err
}

// timeCloud returns how many seconds it takes from POST until all of so many VMs
// greet by SSH.
func (s *site) timeCloud(ctx context.Context, vms int) (float64, error) {
	begin := report.Now()
	ids, err := s.deploy(ctx, vms)
	if err != nil {
		return 0, err
	}
	if err := each(ids, func(_ int, id string) error { return s.greets(ctx, id, begin) }); err != nil {
		return 0, err
	}
	took := report.Now().Sub(begin).Seconds()
	return took, each(ids, func(_ int, id string) error { return s.Delete(ctx, id) })
}

// timeBare returns how many seconds it takes until all of so many bare QEMUs that
// are started at once greet. They find their disks made.
func (s *site) timeBare(ctx context.Context, vms int) (float64, error) {
	machines, err := s.bares(vms)
	if err != nil {
		return 0, err
	}
	if err := each(machines, func(_ int, m *bare.Machine) error { return m.Prepare(ctx) }); err != nil {
		return 0, err
	}
	cards := make([]bare.Card, vms)
	for i := range cards {
		if cards[i], err = s.card(ctx, i); err != nil {
			return 0, err
		}
		defer cards[i].Close()
	}
	begin := report.Now()
	var ends ends
	defer ends.all()
	err = each(machines, func(i int, m *bare.Machine) error { return greetsBare(ctx, m, cards[i], begin, &ends) })
	return report.Now().Sub(begin).Seconds(), err
}

// greetsBare starts a bare QEMU and returns once it greets.
func greetsBare(ctx context.Context, m *bare.Machine, card bare.Card, begin time.Time, ends *ends) error {
	stop, err := m.Start(ctx, card)
	if err != nil {
		return err
	}
	ends.add(stop) // not before all have greeted
	if err := login.Banner(ctx, card.SSH, begin); err != nil {
		return fmt.Errorf("bare QEMU: %w: %s", err, m.Said())
	}
	return nil
}

// ends are what is to be done in the end.
type ends struct {
	sync.Mutex
	list []func()
}

func (e *ends) add(end func()) {
	e.Lock()
	defer e.Unlock()
	e.list = append(e.list, end)
}

func (e *ends) all() {
	e.Lock()
	defer e.Unlock()
	for _, end := range e.list {
		end()
	}
}

// each does something for each of many at once.
func each[T any](many []T, do func(int, T) error) error {
	failed := make([]error, len(many))
	var doing sync.WaitGroup
	for i, one := range many {
		doing.Go(func() { failed[i] = do(i, one) })
	}
	doing.Wait()
	return errors.Join(failed...)
}
