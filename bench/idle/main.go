// Command idle measures what a cloud costs while nobody asks anything of it: the
// memory and processor time of `cpucloud up`, alone and with VMs, and the size of
// the program. docs/performance.md tells how.
package main

import (
	"context"
	"errors"
	"flag"
	"os"
	"time"

	"github.com/cpucloud/cpucloud/bench/internal/cloud"
	"github.com/cpucloud/cpucloud/bench/internal/process"
	"github.com/cpucloud/cpucloud/bench/internal/report"
)

const (
	mib        = 1 << 20
	settleFor  = 10 * time.Second  // after the start
	window     = 30 * time.Second  // in which processor time is counted
	collected  = 150 * time.Second // Go collects every two minutes at least, and gives back soon after
	steadyStep = 5 * time.Second
	steadyAt   = 0.01 // two readings a step apart may differ by this share
	steadyIn   = 2 * time.Minute
)

func main() {
	binary := flag.String("binary", "bin/cpucloud", "what to measure")
	images := flag.String("images", "build/images", "folder with the demo image")
	vms := flag.Int("vms", 5, "VMs to run, 0 for none")
	flag.Parse()
	report.Main(func(ctx context.Context) error { return bench(ctx, *binary, *images, *vms) })
}

func bench(ctx context.Context, binary, images string, vms int) (err error) {
	report.Progress("idle: starting a cloud")
	c, err := cloud.Start(ctx, cloud.Config{Binary: binary, Images: images, Flags: cloud.Loopback()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close(ctx)) }()
	if err := benchAlone(ctx, c, binary); err != nil || vms == 0 {
		return err
	}
	return benchVMs(ctx, c, vms)
}

// benchAlone measures a cloud without VMs.
func benchAlone(ctx context.Context, c *cloud.Cloud, binary string) error {
	file, err := os.Stat(binary)
	if err != nil {
		return err
	}
	report.Progress("idle: settles for %s, then rests for %s", settleFor, window)
	if err := report.Pause(ctx, settleFor); err != nil {
		return err
	}
	rss, err := c.PID.Resident()
	if err != nil {
		return err
	}
	cpu, err := process.Load(ctx, window, c.PID)
	if err != nil {
		return err
	}
	return report.Print(
		report.Figure{Name: "binary.size", Value: float64(file.Size()) / 1e6, Unit: "MB", Bar: "<=45"},
		report.Figure{Name: "idle.rss", Value: float64(rss) / mib, Unit: "MiB", Bar: "<=60"},
		report.Figure{Name: "idle.cpu", Value: cpu, Unit: "%", Bar: "<=0.5"},
	)
}

// benchVMs measures what each VM but the first adds to our processes. The first
// one brings the network's switch with it.
func benchVMs(ctx context.Context, c *cloud.Cloud, vms int) error {
	f, err := newFleet(ctx, c)
	if err != nil {
		return err
	}
	if err := f.grow(ctx, 1); err != nil {
		return err
	}
	one, err := f.steady(ctx)
	if err != nil {
		return err
	}
	var figures []report.Figure
	if vms > 1 {
		if err := f.grow(ctx, vms); err != nil {
			return err
		}
		all, err := f.steady(ctx)
		if err != nil {
			return err
		}
		report.Progress("idle: %.1f MiB with 1 VM, %.1f MiB with %d", one/mib, all/mib, vms)
		figures = append(figures, report.Figure{Name: "vm.memory", Value: (all - one) / float64(vms-1) / mib, Unit: "MiB", Bar: "<=1"})
	}
	ours, err := f.ours()
	if err != nil {
		return err
	}
	report.Progress("idle: rests for %s with %d VMs", window, vms)
	cpu, err := process.Load(ctx, window, ours...)
	if err != nil {
		return err
	}
	return report.Print(append(figures, report.Figure{Name: "vms.cpu", Value: cpu, Unit: "%"})...)
}
