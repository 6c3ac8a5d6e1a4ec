package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/cpucloud/cpucloud/bench/internal/cloud"
	"github.com/cpucloud/cpucloud/bench/internal/inside"
	"github.com/cpucloud/cpucloud/bench/internal/process"
	"github.com/cpucloud/cpucloud/bench/internal/report"
	"github.com/cpucloud/cpucloud/client"
)

const (
	mib        = 1 << 20
	settleFor  = 10 * time.Second // after the start, and after the last VM is active
	rest       = 30 * time.Second // in which processor time is counted
	launchedIn = 5 * time.Minute
)

// benchMemory measures an agent in a process of its own, over drivers whose
// machines and links exist in memory alone. Its images and disks are real.
func benchMemory(ctx context.Context, o options) (err error) {
	report.Progress("memory: an agent with %d VMs", o.fakes)
	p, err := inside.Start(ctx, o.images)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close(ctx)) }()
	k, err := startKeeper(ctx, p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, k.end()) }()
	if err := report.Pause(ctx, settleFor); err != nil {
		return err
	}
	alone, err := k.pid.Resident()
	if err != nil {
		return err
	}
	if err := launchAll(ctx, p, o.fakes); err != nil {
		return err
	}
	launched, err := k.pid.Resident()
	if err != nil {
		return err
	}
	report.Progress("memory: %d VMs are active; settles for %s, then rests for %s", o.fakes, settleFor, rest)
	if err := report.Pause(ctx, settleFor); err != nil {
		return err
	}
	cpu, err := process.Load(ctx, rest, k.pid)
	if err != nil {
		return err
	}
	resting, err := k.pid.Resident()
	if err != nil {
		return err
	}
	return report.Print(
		report.Figure{Name: "memory.rss", Value: float64(max(launched, resting)) / mib, Unit: "MiB", Bar: "<=60"},
		report.Figure{Name: "memory.rss.rest", Value: float64(resting) / mib, Unit: "MiB"},
		report.Figure{Name: "memory.rss.alone", Value: float64(alone) / mib, Unit: "MiB"},
		report.Figure{Name: "memory.cpu", Value: cpu, Unit: "%"},
	)
}

// launchAll deploys VMs by one request and waits until all are active.
func launchAll(ctx context.Context, p *inside.Plane, vms int) error {
	images, err := p.Customer.DefaultImages(ctx)
	if err != nil || len(images) == 0 {
		return errors.Join(err, fmt.Errorf("%d images are offered: make image", len(images)))
	}
	made, err := p.Customer.Deploy(ctx, cloud.Deployment("fake", images[0].DownloadURL, "bench", vms))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, launchedIn)
	defer cancel()
	for _, d := range made {
		v, err := p.Customer.WaitVM(ctx, d.ID, client.StatusActive)
		if err == nil && v.Status != client.StatusActive {
			err = fmt.Errorf("vm %s is %s: %s", d.ID, v.Status, v.Reason)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// keeperProcess is an agent in a process of its own.
type keeperProcess struct {
	pid process.PID
	dir string
	cmd *exec.Cmd
}

// startKeeper starts this program as an agent of p.
func startKeeper(ctx context.Context, p *inside.Plane) (_ *keeperProcess, err error) {
	k := &keeperProcess{}
	if k.dir, err = os.MkdirTemp("", "cpucloud-bench."); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(k.dir))
		}
	}()
	token, err := p.Invite(ctx)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	k.cmd = exec.CommandContext(ctx, self, "-role", "keeper")
	k.cmd.Stderr = os.Stderr
	in, err := k.cmd.StdinPipe() // ends with this process, and the keeper with it
	if err != nil {
		return nil, err
	}
	if err := k.cmd.Start(); err != nil {
		return nil, err
	}
	k.pid = process.PID(k.cmd.Process.Pid)
	return k, json.NewEncoder(in).Encode(keeping{Dir: k.dir, URL: p.URL, Token: token})
}

func (k *keeperProcess) end() error {
	_ = k.cmd.Process.Signal(os.Interrupt) // it may have ended
	return errors.Join(k.cmd.Wait(), os.RemoveAll(k.dir))
}
