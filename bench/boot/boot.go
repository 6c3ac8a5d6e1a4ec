package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/cpucloud/cpucloud/bench/internal/bare"
	"github.com/cpucloud/cpucloud/bench/internal/cloud"
	"github.com/cpucloud/cpucloud/bench/internal/login"
	"github.com/cpucloud/cpucloud/bench/internal/report"
	"github.com/cpucloud/cpucloud/client"
)

// race is a cloud and a bare QEMU that boot the same image in turns.
type race struct {
	*cloud.Cloud
	bare  *bare.Machine
	image client.Image
	key   login.Identity
	begun int
}

// lap is how long the cloud took, in seconds from POST on.
type lap struct{ posted, started, active, ssh float64 }

func benchBoot(ctx context.Context, binary, images string, rounds int) (err error) {
	report.Progress("boot: starting a cloud")
	c, err := cloud.Start(ctx, cloud.Config{Binary: binary, Images: images, Flags: cloud.Loopback()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close(ctx)) }()
	dir, err := os.MkdirTemp("", "cpucloud-bench.")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	r := &race{Cloud: c}
	if r.key, err = login.NewIdentity(); err != nil {
		return err
	}
	if r.image, err = c.Image(ctx); err != nil {
		return err
	}
	report.Progress("boot: one VM to fetch the image and to see how QEMU is called")
	if err := r.warmUp(ctx, dir); err != nil {
		return err
	}
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

// warmUp runs one VM, and makes the bare side of it.
func (r *race) warmUp(ctx context.Context, dir string) error {
	_, v, err := r.deploy(ctx)
	if err != nil {
		return err
	}
	qemu, err := r.QEMU(v.ID)
	if err != nil {
		return err
	}
	if r.bare, err = bare.Of(ctx, qemu, dir); err != nil {
		return fmt.Errorf("see how the cloud calls QEMU: %w", err)
	}
	return r.Delete(ctx, v.ID)
}

// round times both sides; they take turns at being first.
func (r *race) round(ctx context.Context, bareFirst bool) (l lap, floor float64, err error) {
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

func (r *race) timeCloud(ctx context.Context) (lap, error) {
	l, v, err := r.deploy(ctx)
	if err != nil {
		return l, err
	}
	return l, r.Delete(ctx, v.ID)
}

// deploy deploys a VM and logs in.
func (r *race) deploy(ctx context.Context) (l lap, v client.VM, err error) {
	r.begun++
	begin := report.Now()
	since := func() float64 { return report.Now().Sub(begin).Seconds() }
	made, err := r.Deploy(ctx, cloud.Deployment(fmt.Sprintf("bench-%d", r.begun), r.image.DownloadURL, r.key.Line, 1))
	if err != nil {
		return l, v, err
	}
	l.posted = since()
	if v, err = r.Active(ctx, made[0].ID); err != nil {
		return l, v, err
	}
	l.active = since()
	address, err := netip.ParseAddr(v.Address())
	if err != nil {
		return l, v, err
	}
	if err := r.key.Login(ctx, r.image.Username, netip.AddrPortFrom(address, 22), begin); err != nil {
		return l, v, err
	}
	l.ssh = since()
	started, err := cloud.Told(v, cloud.MachineStarted)
	l.started = started.Sub(begin).Seconds()
	return l, v, err
}

// timeBare returns how long a bare QEMU takes from its start to a login. It
// finds its disk made.
func (r *race) timeBare(ctx context.Context) (float64, error) {
	if err := r.bare.Prepare(ctx); err != nil {
		return 0, err
	}
	card, err := bare.Forward(ctx)
	if err != nil {
		return 0, err
	}
	begin := report.Now()
	stop, err := r.bare.Start(ctx, card)
	if err != nil {
		return 0, err
	}
	defer stop()
	if err := r.key.Login(ctx, r.image.Username, card.SSH, begin); err != nil {
		return 0, fmt.Errorf("bare QEMU: %w: %s", err, r.bare.Said())
	}
	return report.Now().Sub(begin).Seconds(), nil
}
