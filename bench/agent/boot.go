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
	return race(ctx, s, "eight", o.vms, "<=1.2", o.together)
}

// lap is how long the cloud took from POST on until the last of the VMs was so
// far, in seconds: its machine ran, its agent had SSH's answer, the customer was
// told, the customer had SSH's answer.
type lap struct{ started, answered, active, banner float64 }

func race(ctx context.Context, s *site, name string, vms int, bar string, rounds int) error {
	var laps []lap
	var value, floor []float64
	for i := range rounds {
		l, f, err := s.round(ctx, vms, i%2 == 1)
		if err != nil {
			return err
		}
		laps, value, floor = append(laps, l), append(value, l.banner), append(floor, f)
		report.Progress("%s: round %d of %d: the cloud's %.2f s, bare %.2f s, ratio %.2f", name, i+1, rounds, l.banner, f, l.banner/f)
	}
	figures := []report.Figure{
		{Name: name + ".banner", Value: report.Median(value), Unit: "s", Floor: report.Median(floor), Bar: bar},
		{Name: name + ".rounds", Value: report.Median(report.Ratios(value, floor)), Unit: "ratio"},
	}
	for _, part := range []struct {
		name string
		of   func(lap) float64
	}{
		{"started", func(l lap) float64 { return l.started }},
		{"answered", func(l lap) float64 { return l.answered }},
		{"active", func(l lap) float64 { return l.active }},
	} {
		var values []float64
		for _, l := range laps {
			values = append(values, part.of(l))
		}
		figures = append(figures, report.Figure{Name: name + "." + part.name, Value: report.Median(values), Unit: "s"})
	}
	return report.Print(figures...)
}

// round times both sides, in seconds; they take turns at being first.
func (s *site) round(ctx context.Context, vms int, bareFirst bool) (value lap, floor float64, err error) {
	if bareFirst {
		if floor, err = s.timeBare(ctx, vms); err != nil {
			return lap{}, 0, err
		}
	}
	if value, err = s.timeCloud(ctx, vms); err == nil && !bareFirst {
		floor, err = s.timeBare(ctx, vms)
	}
	return value, floor, err
}

// timeCloud returns how long it takes from POST until all of so many VMs greet by
// SSH.
func (s *site) timeCloud(ctx context.Context, vms int) (lap, error) {
	begin := report.Now()
	ids, err := s.Order(ctx, vms)
	if err != nil {
		return lap{}, err
	}
	laps := make([]lap, vms)
	err = each(ids, func(i int, id string) (err error) {
		laps[i], err = s.greets(ctx, id, begin)
		return err
	})
	if err != nil {
		return lap{}, err
	}
	return last(laps), each(ids, func(_ int, id string) error { return s.Delete(ctx, id) })
}

// last returns when the last of many was so far.
func last(laps []lap) (l lap) {
	for _, one := range laps {
		l = lap{max(l.started, one.started), max(l.answered, one.answered), max(l.active, one.active), max(l.banner, one.banner)}
	}
	return l
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
