package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cpucloud/cpucloud/bench/internal/login"
	"github.com/cpucloud/cpucloud/bench/internal/process"
	"github.com/cpucloud/cpucloud/bench/internal/report"
	"github.com/cpucloud/cpucloud/bench/internal/rig"
	"github.com/cpucloud/cpucloud/client"
)

const (
	usedMiB      = 2048
	fillWithin   = 10 * time.Minute
	fillEvery    = time.Second
	gapRounds    = 3
	snapshotWait = 10 * time.Minute
)

// The guest says something every 5 ms, and fills its disk with what is not zeroes.
var (
	ticking = "while :; do echo; usleep 5000; done"
	filling = fmt.Sprintf("(tr '\\0' x </dev/zero | head -c 1048576 >/tmp/block; for i in $(seq %d); do cat /tmp/block; done >/root/fill; sync; touch /root/filled) >/dev/null 2>&1 </dev/null &", usedMiB)
)

// benchSnapshot takes snapshots of a disk of which 2 GiB are used, and restores from one. How
// long the guest is held up is seen from outside: it says something every 5 ms over a
// connection, and the longest silence counts, beside that of as long a time without
// a snapshot. How long a write may be held up is seen inside, by one that is synced after the other.
func benchSnapshot(ctx context.Context, b *bench) (err error) {
	r, err := b.cloud(ctx)
	if err != nil {
		return err
	}
	report.Progress("snapshot: a guest with %d MiB on its disk", usedMiB)
	g, err := r.Guest(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Delete(context.WithoutCancel(ctx), g.ID)) }()
	if err := fill(ctx, r, g); err != nil {
		return err
	}
	var took, silence, floor []float64
	var last client.Snapshot
	for i := range gapRounds {
		var seconds float64
		with, err := longest(ctx, r, g, func() (err error) {
			last, seconds, err = snapshot(ctx, r, g)
			return err
		})
		if err != nil {
			return err
		}
		without, err := longest(ctx, r, g, func() error { return report.Pause(ctx, time.Duration(seconds*float64(time.Second))) })
		if err != nil {
			return err
		}
		took, silence, floor = append(took, seconds), append(silence, with), append(floor, without)
		report.Progress("snapshot: round %d of %d: %s, %d MiB in %.1f s, silence %.0f ms, without one %.0f ms", i+1, gapRounds, last.Consistency, last.Bytes>>20, seconds, with, without)
	}
	l, err := restore(ctx, r, g, last)
	if err != nil {
		return err
	}
	return report.Print(
		report.Figure{Name: "snapshot.pause", Value: report.Median(silence), Unit: "ms", Floor: report.Median(floor), Bar: "<=200"},
		report.Figure{Name: "snapshot.took", Value: report.Median(took), Unit: "s"},
		report.Figure{Name: "snapshot.size", Value: float64(last.Bytes >> 20), Unit: "MiB"},
		report.Figure{Name: "restore.running", Value: l.running, Unit: "s", Bar: "<=2"},
		report.Figure{Name: "restore.off", Value: l.off, Unit: "s"},
		report.Figure{Name: "restore.banner", Value: l.banner, Unit: "s"},
	)
}

// fill puts data on a guest's disk.
func fill(ctx context.Context, r *rig.Rig, g rig.Guest) error {
	if _, err := r.Key.Run(ctx, r.Image.Username, g.SSH, filling); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, fillWithin)
	defer cancel()
	for {
		out, err := r.Key.Run(ctx, r.Image.Username, g.SSH, "ls /root/filled 2>/dev/null || true")
		if err != nil || out != "" {
			return err
		}
		if err := report.Pause(ctx, fillEvery); err != nil {
			return fmt.Errorf("fill the disk: %w", err)
		}
	}
}

// longest returns the longest silence of a guest while something is done, in milliseconds.
func longest(ctx context.Context, r *rig.Rig, g rig.Guest, do func() error) (gap float64, err error) {
	listen, stop := context.WithCancel(ctx)
	defer stop()
	var mu sync.Mutex
	var last time.Time
	begun, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- r.Key.Stream(listen, r.Image.Username, g.SSH, ticking, func() {
			now := report.Now()
			mu.Lock()
			defer mu.Unlock()
			if last.IsZero() {
				close(begun)
			} else {
				gap = max(gap, now.Sub(last).Seconds()*1000)
			}
			last = now
		})
	}()
	select {
	case <-begun:
	case err := <-ended:
		return 0, err
	}
	err = do()
	stop()
	err = errors.Join(err, <-ended)
	return gap, err
}

// snapshot takes one of a guest and returns it, and how long that took in seconds.
func snapshot(ctx context.Context, r *rig.Rig, g rig.Guest) (s client.Snapshot, seconds float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, snapshotWait)
	defer cancel()
	begin := report.Now()
	o, err := r.TakeSnapshot(ctx, g.ID, "", "")
	if err == nil {
		err = succeeds(ctx, r, o)
	}
	if err != nil {
		return s, 0, err
	}
	seconds = report.Now().Sub(begin).Seconds()
	list, err := r.Snapshots(ctx, g.ID)
	if err == nil {
		s = list[len(list)-1]
	}
	return s, seconds, err
}

func succeeds(ctx context.Context, r *rig.Rig, o client.Operation) error {
	o, err := r.WaitOperation(ctx, o.ID)
	if err == nil && o.Outcome != client.OperationSucceeded {
		err = fmt.Errorf("the %s %s: %v", o.Action, o.Outcome, o.Error)
	}
	return err
}

// restored is how long a restore took from its request until the old machine was gone, the
// new one ran, and SSH greeted, in seconds.
type restored struct{ off, running, banner float64 }

func restore(ctx context.Context, r *rig.Rig, g rig.Guest, from client.Snapshot) (l restored, err error) {
	old, err := r.QEMU(g.ID)
	if err != nil {
		return l, err
	}
	begin := report.Now()
	since := func() float64 { return report.Now().Sub(begin).Seconds() }
	o, err := r.RestoreVM(ctx, g.ID, from.ID, "")
	if err != nil {
		return l, err
	}
	if err := gone(ctx, old); err != nil {
		return l, err
	}
	l.off = since()
	if err := appears(ctx, r, g); err != nil {
		return l, err
	}
	l.running = since()
	if err := login.Banner(ctx, g.SSH, report.Now()); err != nil {
		return l, err
	}
	l.banner = since()
	return l, succeeds(ctx, r, o)
}

// appears waits for the process of a VM.
func appears(ctx context.Context, r *rig.Rig, g rig.Guest) error {
	ctx, cancel := context.WithTimeout(ctx, goneWithin)
	defer cancel()
	for {
		var p process.PID
		p, err := r.QEMU(g.ID)
		if err == nil && p.Alive() {
			return nil
		}
		if err := report.Pause(ctx, goneEvery); err != nil {
			return fmt.Errorf("wait for the machine: %w", err)
		}
	}
}
