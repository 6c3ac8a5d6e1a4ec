package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cpucloud/cpucloud/bench/internal/bare"
	"github.com/cpucloud/cpucloud/bench/internal/cloud"
	"github.com/cpucloud/cpucloud/bench/internal/report"
	"github.com/cpucloud/cpucloud/bench/internal/rig"
	"github.com/cpucloud/cpucloud/client"
)

// race is a cloud and a bare QEMU that boot the same image in turns.
type race struct{ *rig.Rig }

// lap is how long the cloud took, in seconds from POST on.
type lap struct{ posted, started, active, ssh float64 }

func benchBoot(ctx context.Context, binary, images string, rounds int) (err error) {
	report.Progress("boot: starting a cloud")
	var r race
	if r.Rig, err = rig.Open(ctx, cloud.Config{Binary: binary, Images: images, Flags: cloud.Loopback()}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close(ctx)) }()
	var laps []lap
	var floor []float64
	for i := range rounds {
		l, f, err := r.round(ctx, i%2 == 1)
		if err != nil {
			return err
		}
		laps, floor = append(laps, l), append(floor, f)
		report.Progress("boot: round %d of %d: POST to SSH %.2f s, bare QEMU to SSH %.2f s", i+1, rounds, l.ssh, f)
	}
	return report.Print(figures(laps, floor)...)
}

func figures(laps []lap, floor []float64) []report.Figure {
	of := func(field func(lap) float64) []float64 {
		var values []float64
		for _, l := range laps {
			values = append(values, field(l))
		}
		return values
	}
	posted := of(func(l lap) float64 { return l.posted * 1000 })
	return []report.Figure{
		{Name: "boot.ssh", Value: report.Median(of(func(l lap) float64 { return l.ssh })), Unit: "s", Floor: report.Median(floor), Bar: "<=1.15"},
		{Name: "boot.active", Value: report.Median(of(func(l lap) float64 { return l.active })), Unit: "s"},
		{Name: "boot.agent", Value: report.Median(of(func(l lap) float64 { return l.started })), Unit: "s"},
		{Name: "post.p99.up", Value: slices.Max(posted), Unit: "ms"},
	}
}

// round times both sides; they take turns at being first.
func (r race) round(ctx context.Context, bareFirst bool) (l lap, floor float64, err error) {
	if bareFirst {
		if floor, err = r.timeBare(ctx); err != nil {
			return l, floor, err
		}
	}
	if l, err = r.timeCloud(ctx); err == nil && !bareFirst {
		floor, err = r.timeBare(ctx)
	}
	return l, floor, err
}

func (r race) timeCloud(ctx context.Context) (lap, error) {
	l, v, err := r.deploy(ctx)
	if err != nil {
		return l, err
	}
	return l, r.Delete(ctx, v.ID)
}

// deploy deploys a VM and logs in.
func (r race) deploy(ctx context.Context) (l lap, v client.VM, err error) {
	begin := report.Now()
	since := func() float64 { return report.Now().Sub(begin).Seconds() }
	ids, err := r.Order(ctx, 1)
	if err != nil {
		return l, v, err
	}
	l.posted = since()
	if v, err = r.Active(ctx, ids[0]); err != nil {
		return l, v, err
	}
	l.active = since()
	at, err := rig.SSH(v)
	if err != nil {
		return l, v, err
	}
	if err := r.Key.Login(ctx, r.Image.Username, at, begin); err != nil {
		return l, v, err
	}
	l.ssh = since()
	started, err := cloud.Told(v, cloud.MachineStarted)
	l.started = started.Sub(begin).Seconds()
	return l, v, err
}

// timeBare returns how long a bare QEMU takes from its start to a login. It
// finds its disk made.
func (r race) timeBare(ctx context.Context) (float64, error) {
	if err := r.Bare.Prepare(ctx); err != nil {
		return 0, err
	}
	card, err := bare.Forward(ctx)
	if err != nil {
		return 0, err
	}
	begin := report.Now()
	stop, err := r.Bare.Start(ctx, card)
	if err != nil {
		return 0, err
	}
	defer stop()
	if err := r.Key.Login(ctx, r.Image.Username, card.SSH, begin); err != nil {
		return 0, fmt.Errorf("bare QEMU: %w: %s", err, r.Bare.Said())
	}
	return report.Now().Sub(begin).Seconds(), nil
}
