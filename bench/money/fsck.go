package main

import (
	"context"
	"fmt"

	"github.com/cpucloud/cpucloud/bench/internal/report"
)

// fsck measures how long a control plane takes to check all that is stored, with
// as many entries as were asked for.
func (b *bench) fsck(ctx context.Context, t *tenants) (err error) {
	if !b.wants("fsck") {
		return nil
	}
	for t.charged*2 < entriesPerVM { // a hold and a charge at first, then two entries for each epoch
		if err := t.billHere(ctx, func(run func() error) error { return run() }); err != nil {
			return err
		}
	}
	operator, err := t.start(ctx, "real")
	if err != nil {
		return err
	}
	var s spent
	var entries int64
	for range b.rounds {
		before, err := t.plane.PID.CPU()
		if err != nil {
			return err
		}
		begin := report.Now()
		found, err := operator.Fsck(ctx)
		if err == nil && (!found.Sound || found.VMs != int64(t.vms)) {
			err = fmt.Errorf("of %d VMs and %d entries %v", found.VMs, found.Entries, found.Discrepancies)
		}
		if err != nil {
			return fmt.Errorf("fsck: %s: %w", t.engine, err)
		}
		took := report.Now().Sub(begin)
		after, err := t.plane.PID.CPU()
		if err != nil {
			return err
		}
		entries = found.Entries
		s.seconds, s.cpu = append(s.seconds, took.Seconds()), append(s.cpu, (after-before).Seconds())
	}
	million := float64(entries) / 1e6
	name := "fsck." + t.engine
	return report.Print(
		report.Figure{Name: name, Value: report.Median(s.seconds) / million, Unit: "s/million", Bar: "<=5"},
		report.Figure{Name: name + ".cpu", Value: report.Median(s.cpu) / million, Unit: "s/million"},
		report.Figure{Name: name + ".entries", Value: float64(entries), Unit: "entries"},
	)
}
