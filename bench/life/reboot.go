package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/cpucloud/cpucloud/bench/internal/bare"
	"github.com/cpucloud/cpucloud/bench/internal/login"
	"github.com/cpucloud/cpucloud/bench/internal/process"
	"github.com/cpucloud/cpucloud/bench/internal/report"
	"github.com/cpucloud/cpucloud/bench/internal/rig"
	"github.com/cpucloud/cpucloud/client"
)

const (
	goneWithin = 2 * time.Minute
	goneEvery  = 2 * time.Millisecond
)

// benchReboot times a reboot from its request until the guest greets by SSH again, in
// turns with a bare guest that powers itself off by its button and is started again.
// What a bare guest takes that reboots itself, its machine staying, is told beside it.
func benchReboot(ctx context.Context, b *bench) (err error) {
	r, err := b.cloud(ctx)
	if err != nil {
		return err
	}
	report.Progress("reboot: two guests")
	g, err := r.Guest(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Delete(context.WithoutCancel(ctx), g.ID)) }()
	m, err := startPair(ctx, r)
	if err != nil {
		return err
	}
	defer func() { m.power.Stop() }()
	var cloud, told, off, floor, inside []float64
	for i := range b.rounds {
		if floor, err = m.floors(ctx, i%2 == 1, floor); err != nil {
			return err
		}
		lap, err := reboot(ctx, r, g)
		if err != nil {
			return err
		}
		if floor, err = m.floors(ctx, i%2 == 0, floor); err != nil {
			return err
		}
		itself, err := m.itself(ctx, r)
		if err != nil {
			return err
		}
		cloud, told, off, inside = append(cloud, lap.banner), append(told, lap.told), append(off, lap.off), append(inside, itself)
		report.Progress("reboot: round %d of %d: the cloud's %.2f s, bare %.2f s, by itself %.2f s", i+1, b.rounds, lap.banner, floor[i], itself)
	}
	return report.Print(
		report.Figure{Name: "reboot.banner", Value: report.Median(cloud), Unit: "s", Floor: report.Median(floor), Bar: "<=1.1"},
		report.Figure{Name: "reboot.rounds", Value: report.Median(report.Ratios(cloud, floor)), Unit: "ratio"},
		report.Figure{Name: "reboot.off", Value: report.Median(off), Unit: "s"},
		report.Figure{Name: "reboot.told", Value: report.Median(told), Unit: "s"},
		report.Figure{Name: "reboot.itself", Value: report.Median(inside), Unit: "s"},
	)
}

// lap is how long a reboot took from its request until its old machine was gone, SSH
// greeted, and the customer was told that it is done, in seconds.
type lap struct{ off, banner, told float64 }

// reboot has the cloud reboot a guest.
func reboot(ctx context.Context, r *rig.Rig, g rig.Guest) (l lap, err error) {
	old, err := r.QEMU(g.ID)
	if err != nil {
		return l, err
	}
	begin := report.Now()
	since := func() float64 { return report.Now().Sub(begin).Seconds() }
	o, err := r.RebootVM(ctx, g.ID, "")
	if err != nil {
		return l, err
	}
	if err := gone(ctx, old); err != nil { // until then the old guest greets
		return l, err
	}
	l.off = since()
	if err := login.Banner(ctx, g.SSH, report.Now()); err != nil {
		return l, err
	}
	l.banner = since()
	if o, err = r.WaitOperation(ctx, o.ID); err == nil && o.Outcome != client.OperationSucceeded {
		err = fmt.Errorf("the reboot %s: %v", o.Outcome, o.Error)
	}
	l.told = since()
	return l, err
}

// gone waits for the end of a process.
func gone(ctx context.Context, p process.PID) error {
	ctx, cancel := context.WithTimeout(ctx, goneWithin)
	defer cancel()
	for p.Alive() {
		if err := report.Pause(ctx, goneEvery); err != nil {
			return fmt.Errorf("wait for the end of process %d: %w", p, err)
		}
	}
	return nil
}

// mate is the bare guest beside the cloud's.
type mate struct {
	machine *bare.Machine
	power   *bare.Power
	ssh     netip.AddrPort
}

func startPair(ctx context.Context, r *rig.Rig) (*mate, error) {
	if err := r.Bare.Prepare(ctx); err != nil {
		return nil, err
	}
	m := &mate{machine: r.Bare}
	begin, err := m.on(ctx)
	if err == nil {
		err = r.Key.Login(ctx, r.Image.Username, m.ssh, begin)
	}
	return m, err
}

// on powers the guest on, and returns when.
func (m *mate) on(ctx context.Context) (begin time.Time, err error) {
	card, err := bare.Forward(ctx)
	if err != nil {
		return begin, err
	}
	m.ssh, begin = card.SSH, report.Now()
	m.power, err = m.machine.PowerOn(ctx, card)
	return begin, err
}

// floors adds what a reboot by power button takes, if it is its turn.
func (m *mate) floors(ctx context.Context, turn bool, floor []float64) ([]float64, error) {
	if !turn {
		return floor, nil
	}
	begin := report.Now()
	if err := m.power.PowerOff(ctx); err != nil {
		return floor, err
	}
	again, err := m.on(ctx)
	if err != nil {
		return floor, err
	}
	if err := login.Banner(ctx, m.ssh, again); err != nil {
		return floor, fmt.Errorf("bare QEMU: %w: %s", err, m.machine.Said())
	}
	return append(floor, report.Now().Sub(begin).Seconds()), nil
}

// itself has the guest reboot itself and returns how long that took.
func (m *mate) itself(ctx context.Context, r *rig.Rig) (float64, error) {
	// A guest that has just greeted several at once may turn the next one away.
	if err := r.Key.Login(ctx, r.Image.Username, m.ssh, report.Now()); err != nil {
		return 0, err
	}
	begin := report.Now()
	if _, err := r.Key.Run(ctx, r.Image.Username, m.ssh, "reboot"); err != nil {
		return 0, err
	}
	if err := m.power.AwaitReset(ctx); err != nil {
		return 0, err
	}
	if err := login.Banner(ctx, m.ssh, report.Now()); err != nil {
		return 0, fmt.Errorf("bare QEMU: %w: %s", err, m.machine.Said())
	}
	return report.Now().Sub(begin).Seconds(), nil
}
