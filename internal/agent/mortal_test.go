package agent_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/hypervisor"
	"github.com/cpucloud/cpucloud/internal/image"
	"github.com/cpucloud/cpucloud/internal/network"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// life ends an agent at the n-th thing that it does: just before it is done, or
// just after, when the agent does not learn of it. Nothing is done then on.
type life struct {
	mu    sync.Mutex
	left  int
	after bool
	over  bool
	end   context.CancelFunc
}

var errDead = errors.New("the agent is dead")

func (l *life) do(act func() error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return errDead
	}
	if l.left--; l.left != 0 {
		return act()
	}
	l.over = true
	l.end()
	if l.after {
		_ = act()
	}
	return errDead
}

type mortalHypervisor struct {
	hypervisor.Driver
	*life
}

func (m mortalHypervisor) Ensure(ctx context.Context, x hypervisor.Machine) error {
	return m.do(func() error { return m.Driver.Ensure(context.WithoutCancel(ctx), x) })
}

func (m mortalHypervisor) Shutdown(ctx context.Context, id string) error {
	return m.do(func() error { return m.Driver.Shutdown(context.WithoutCancel(ctx), id) })
}

func (m mortalHypervisor) Reset(ctx context.Context, id string) error {
	return m.do(func() error { return m.Driver.Reset(context.WithoutCancel(ctx), id) })
}

func (m mortalHypervisor) Backup(ctx context.Context, id string, b hypervisor.Backup) (order hypervisor.Consistency, err error) {
	err = m.do(func() error { order, err = m.Driver.Backup(context.WithoutCancel(ctx), id, b); return err })
	return order, err
}

func (m mortalHypervisor) Destroy(ctx context.Context, id string) error {
	return m.do(func() error { return m.Driver.Destroy(context.WithoutCancel(ctx), id) })
}

type mortalNetwork struct {
	network.Driver
	*life
}

func (m mortalNetwork) Ensure(ctx context.Context, x network.Link) error {
	return m.do(func() error { return m.Driver.Ensure(ctx, x) })
}

func (m mortalNetwork) Plug(ctx context.Context, id string) (p network.Plug, err error) {
	err = m.do(func() error { p, err = m.Driver.Plug(ctx, id); return err })
	return p, err
}

func (m mortalNetwork) Destroy(ctx context.Context, id string) error {
	return m.do(func() error { return m.Driver.Destroy(ctx, id) })
}

type mortalDisks struct {
	*disks
	*life
}

func (m mortalDisks) Get(ctx context.Context, r image.Request) (b image.Base, err error) {
	err = m.do(func() error { b, err = m.disks.Get(context.WithoutCancel(ctx), r); return err })
	return b, err
}

func (m mortalDisks) Overlay(ctx context.Context, base image.Base, path string, size int64) error {
	return m.do(func() error { return m.disks.Overlay(context.WithoutCancel(ctx), base, path, size) })
}

func (m mortalDisks) Clone(ctx context.Context, base image.Base, path string, size int64) error {
	return m.do(func() error { return m.disks.Clone(context.WithoutCancel(ctx), base, path, size) })
}

// An agent that ends at any thing it does, in each part of a VM's life, is
// followed by one that brings the VM where it belongs, on the disk it had.
func TestAgentEndsAnywhere(t *testing.T) {
	t.Parallel()
	for n := 1; n <= 8; n++ {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprint(n, after), func(t *testing.T) {
				t.Parallel()
				bubble(t, func(r *rig) { endAnywhere(r, n, after) })
			})
		}
	}
}

// wholeLife is what is ordered of a VM in each part of its life, and how far it
// comes.
var wholeLife = []struct {
	ports   []vm.Port
	goal    vm.Goal
	phase   vm.Phase
	restart bool
	// snapshot is what is wanted of the one that there is; one that isn't named is kept.
	snapshot vm.SnapshotGoal
}{
	{[]vm.Port{ssh}, vm.Run, vm.Ready, false, ""},
	{[]vm.Port{ssh, web}, vm.Run, vm.Ready, false, ""},
	{[]vm.Port{ssh, web}, vm.Run, vm.Ready, false, vm.KeepSnapshot},
	{[]vm.Port{ssh, web}, vm.Run, vm.Ready, true, ""},
	{[]vm.Port{ssh, web}, vm.Halt, vm.Halted, false, vm.PurgeSnapshot},
	{[]vm.Port{ssh, web}, vm.Halt, vm.Halted, false, vm.KeepSnapshot},
	{[]vm.Port{ssh}, vm.Run, vm.Ready, false, ""},
	{nil, vm.Remove, vm.Absent, false, ""},
}

// asks has o ask for what a stage wants of its snapshot, which is another one for each
// that is made, and returns how far that comes.
func asks(o *vm.Order, goal vm.SnapshotGoal) vm.SnapshotPhase {
	switch goal {
	case vm.KeepSnapshot:
		o.Snapshots = []vm.SnapshotAsk{{ID: fmt.Sprint("snap_", o.Generation), Goal: goal}}
		return vm.SnapshotThere
	case vm.PurgeSnapshot:
		o.Snapshots = []vm.SnapshotAsk{{ID: o.Snapshots[0].ID, Goal: goal}}
		return vm.SnapshotGone
	}
	return ""
}

// snapshot returns how far the one snapshot of an order has come.
func (r *rig) snapshot(o vm.Order) vm.SnapshotSeen {
	for _, s := range r.sighting(o.ID).Snapshots {
		if s.ID == o.Snapshots[0].ID {
			return s
		}
	}
	return vm.SnapshotSeen{}
}

func endAnywhere(r *rig, n int, after bool) {
	o := order("0xA", 1, ssh)
	disk := ""
	sound := r.config
	for _, stage := range wholeLife {
		o.Ports, o.Goal = stage.ports, stage.goal
		begun := r.starts("0xA")
		if stage.restart {
			o.Restart = o.Generation
		}
		want := asks(&o, stage.snapshot)
		l := &life{left: n, after: after, end: func() {}}
		r.config = sound
		r.config.Hypervisor, r.config.Network = mortalHypervisor{sound.Hypervisor, l}, mortalNetwork{sound.Network, l}
		r.config.Disks = mortalDisks{r.disks, l}
		r.start()
		l.end = r.kill
		r.order(o)
		time.Sleep(time.Minute) // dead, or done
		r.halt()
		r.config = sound
		r.start()
		r.reaches("0xA", o.Generation, stage.phase)
		if want != "" {
			r.until(time.Minute, fmt.Sprint("snapshot ", want), func() bool { return r.snapshot(o).State == want })
		}
		if stage.restart && r.starts("0xA") == begun {
			r.Error("it was not started anew")
		}
		if now := r.disk("0xA"); disk != "" && now != disk && stage.goal != vm.Remove {
			r.Errorf("disk was %q, is %q", disk, now)
		} else {
			disk = now
		}
		if runs := r.starts("0xA") > 0; runs != (stage.goal == vm.Run) {
			r.Errorf("with goal %s the machine runs: %t", stage.goal, runs)
		}
		if links := r.links(); len(links) > 0 && len(links[0].Ports) != len(o.Ports) {
			r.Errorf("link %+v, want %v", links[0], o.Ports)
		}
		r.halt()
		o.Generation++
	}
	if r.disks.made != 1 || len(r.folders()) != 0 || len(r.links()) != 0 {
		r.Errorf("%d disks made, left: folders %v, links %v", r.disks.made, r.folders(), r.links())
	}
}
