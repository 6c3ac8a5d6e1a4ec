package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/cpucloud/cpucloud/bench/internal/report"
	"github.com/cpucloud/cpucloud/internal/hypervisor"
	_ "github.com/cpucloud/cpucloud/internal/hypervisor/confine/early" // confines the machines
	"github.com/cpucloud/cpucloud/internal/hypervisor/hypervisortest"
	"github.com/cpucloud/cpucloud/internal/hypervisor/qemu"
	"github.com/cpucloud/cpucloud/internal/usage"
)

const (
	sampledVMs = 100
	readings   = 20
	startsAt   = 4 // machines at once
	patience   = 3 * time.Minute
)

// idleGuest is a boot sector that halts: cli; hlt; jmp to it.
var idleGuest = []byte{0xfa, 0xf4, 0xeb, 0xfd}

// benchSampling reads the meters of real machines, confined as an agent has them, and
// measures what that costs: this process, and the machines' own in answering.
func benchSampling(ctx context.Context, _ *bench) (err error) {
	dir, err := os.MkdirTemp("", "cpucloud-life.")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	d, err := qemu.New(ctx, qemu.Config{Dir: filepath.Join(dir, "machines"), Accelerator: qemu.TCG, Now: report.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer d.Close()
	report.Progress("sampling: starting %d machines", sampledVMs)
	defer func() { err = errors.Join(err, endAll(context.WithoutCancel(ctx), d)) }()
	ends, err := startAll(ctx, d, dir)
	defer func() {
		for _, end := range ends {
			_ = end.Close()
		}
	}()
	if err != nil {
		return err
	}
	ours, theirs, err := read(ctx, d)
	if err != nil {
		return err
	}
	// Each slot they are read once, by one core.
	share := func(d time.Duration) float64 { return 100 * d.Seconds() / readings / usage.Width.Seconds() }
	return report.Print(
		report.Figure{Name: "metrics.sampling", Value: share(ours), Unit: "% of a core", Bar: samplingBar},
		report.Figure{Name: "metrics.sampling.all", Value: share(ours + theirs), Unit: "% of a core", Bar: samplingBar},
		report.Figure{Name: "metrics.sampling.each", Value: ours.Seconds() * 1e6 / readings / sampledVMs, Unit: "us"},
	)
}

func startAll(ctx context.Context, d *qemu.Driver, dir string) (ends []net.Conn, err error) {
	sector := make([]byte, 1<<20)
	copy(sector, idleGuest)
	sector[510], sector[511] = 0x55, 0xaa
	var mu sync.Mutex
	var failed []error
	var all sync.WaitGroup
	slots := make(chan struct{}, startsAt)
	for n := range sampledVMs {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			disk := filepath.Join(dir, fmt.Sprint("disk-", n))
			near, far, err := hypervisortest.Socket()
			if err == nil {
				err = os.WriteFile(disk, sector, 0o600)
			}
			if err == nil {
				err = d.Ensure(ctx, hypervisor.Machine{
					ID: fmt.Sprint("vm-", n), VCPU: 2, RAMGiB: 1, Disks: []hypervisor.Disk{{Path: disk, Format: hypervisor.Raw}},
					NIC: hypervisor.NIC{MAC: "52:54:00:00:00:01", Kind: hypervisor.Stream, File: near},
				})
			}
			mu.Lock()
			defer mu.Unlock()
			failed = append(failed, err)
			if far != nil {
				ends = append(ends, far)
			}
		})
	}
	all.Wait()
	return ends, errors.Join(failed...)
}

func endAll(ctx context.Context, d *qemu.Driver) error {
	list, err := d.List(ctx)
	for _, in := range list {
		err = errors.Join(err, d.Destroy(ctx, in.ID))
	}
	return err
}

// read reads all meters some times, and returns the processor time that it took here,
// and of the machines beyond what they take anyhow.
func read(ctx context.Context, d *qemu.Driver) (ours, theirs time.Duration, err error) {
	machines := func() (sum time.Duration, err error) {
		all, err := d.Usage(ctx)
		for _, u := range all {
			sum += u.CPU
		}
		if err == nil && len(all) != sampledVMs {
			err = fmt.Errorf("%d machines run", len(all))
		}
		return sum, err
	}
	if err := report.Pause(ctx, 20*time.Second); err != nil { // until all have booted
		return 0, 0, err
	}
	start, err := machines()
	if err != nil {
		return 0, 0, err
	}
	begun := report.Now()
	if err := report.Pause(ctx, 10*time.Second); err != nil {
		return 0, 0, err
	}
	idle, err := machines()
	if err != nil {
		return 0, 0, err
	}
	rate := (idle - start).Seconds() / report.Now().Sub(begun).Seconds()
	begun = report.Now()
	for n := 0; n < readings; {
		own := ownTime()
		all, err := d.Usage(ctx)
		if err != nil {
			return 0, 0, err
		}
		own = ownTime() - own
		silent := slices.ContainsFunc(all, func(u hypervisor.Usage) bool { return u.Disk == nil })
		if !silent { // on a busy machine one may not answer in time
			n++
			ours += own
		}
		if report.Now().Sub(begun) > patience {
			return 0, 0, errors.New("machines don't answer for their disks")
		}
	}
	end, err := machines()
	took := report.Now().Sub(begun)
	return ours, max(end-idle-time.Duration(rate*float64(took)), 0), err
}

func ownTime() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r) // which doesn't fail
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
