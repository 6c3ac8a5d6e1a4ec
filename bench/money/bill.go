package main

import (
	"context"
	"errors"
	"syscall"
	"time"

	"github.com/cpucloud/cpucloud/bench/internal/report"
)

// spent is what a measurement took.
type spent struct{ seconds, cpu []float64 }

// bill measures how long it takes to charge an epoch of all VMs and to fill their
// reserves, beside the least that it takes, and the least under the ledger's rules.
func (b *bench) bill(ctx context.Context, t *tenants) (err error) {
	if !b.wants("bill") {
		return nil
	}
	f, err := b.newFloor(ctx, t.engine)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	r, err := newRules(ctx, f, t.engine)
	if err != nil {
		return err
	}
	if err := b.cpu.Begin(); err != nil {
		return err
	}
	var ours, ruled, least spent
	for range b.rounds {
		if err := b.watch(&least, t.engine, func() error { return f.bill(ctx) }); err != nil {
			return err
		}
		if err := b.watch(&ruled, t.engine, func() error { return r.bill(ctx) }); err != nil {
			return err
		}
		if err := t.billHere(ctx, func(run func() error) error { return b.watch(&ours, t.engine, run) }); err != nil {
			return err
		}
		last := len(ours.seconds) - 1
		report.Progress("bill: %s: %.1f s, %.1f s of processor time; by rules alone %.1f s, %.1f s; floor %.1f s, %.1f s", t.engine,
			ours.seconds[last], ours.cpu[last], ruled.seconds[last], ruled.cpu[last], least.seconds[last], least.cpu[last])
	}
	if err := t.audit(ctx); err != nil {
		return err
	}
	name, bar := "bill."+t.engine, "<=3"
	if t.engine == "postgres" {
		bar = "<=1.5"
	}
	total := report.Median(ours.seconds)
	return report.Print(
		report.Figure{Name: name, Value: total, Unit: "s", Floor: report.Median(least.seconds), Bar: bar},
		report.Figure{Name: name + ".cpu", Value: report.Median(ours.cpu), Unit: "s", Floor: report.Median(least.cpu)},
		report.Figure{Name: name + ".rules", Value: report.Median(ruled.seconds), Unit: "s", Floor: report.Median(least.seconds)},
		report.Figure{Name: name + ".rules.cpu", Value: report.Median(ruled.cpu), Unit: "s", Floor: report.Median(least.cpu)},
		report.Figure{Name: name + ".rate", Value: float64(t.vms) / total, Unit: "VMs/s"},
	)
}

// watch measures what a run takes. Processor time is that of this process and of
// PostgreSQL.
func (b *bench) watch(s *spent, engine string, run func() error) error {
	before, err := b.used(engine)
	if err != nil {
		return err
	}
	begin := report.Now()
	if err := run(); err != nil {
		return err
	}
	took := report.Now().Sub(begin)
	after, err := b.used(engine)
	s.seconds, s.cpu = append(s.seconds, took.Seconds()), append(s.cpu, (after-before).Seconds())
	return err
}

func (b *bench) used(engine string) (time.Duration, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, err
	}
	own := time.Duration(u.Utime.Nano() + u.Stime.Nano())
	if engine != "postgres" {
		return own, nil
	}
	theirs, err := b.db.CPU()
	return own + theirs, err
}
