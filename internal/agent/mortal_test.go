package agent_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
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
	for n := 1; n <= 10; n++ {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprint(n, after), func(t *testing.T) {
				t.Parallel()
				bubble(t, func(r *rig) { endAnywhere(r, n, after) })
			})
		}
	}
}

// stage is a part of a VM's life: what is ordered of it, and how far it comes.
type stage struct {
	ports []vm.Port
	goal  vm.Goal
	phase vm.Phase
	anew  func(o *vm.Order) // what else is ordered that starts its machine anew
	also  func(o *vm.Order) // and what doesn't
	snap  vm.SnapshotPhase  // what its one snapshot comes to, "" for none that is asked for
}

// wholeLife is a life in which everything happens to a VM that can be ordered. It has
// three disks in it, one after the other and all at once.
var wholeLife = []stage{
	{ports: []vm.Port{ssh}, goal: vm.Run, phase: vm.Ready},
	{ports: []vm.Port{ssh, web}, goal: vm.Run, phase: vm.Ready},
	{ports: []vm.Port{ssh, web}, goal: vm.Run, phase: vm.Ready, anew: func(o *vm.Order) { o.Restart = o.Generation }},
	{ports: []vm.Port{ssh, web}, goal: vm.Run, phase: vm.Ready, also: snapshot(4, vm.MakeSnapshot), snap: vm.SnapshotThere},
	{ports: []vm.Port{ssh, web}, goal: vm.Run, phase: vm.Ready, anew: func(o *vm.Order) { o.Disk, o.From = o.Generation, "snap_4" }},
	{ports: []vm.Port{ssh, web}, goal: vm.Run, phase: vm.Ready, anew: func(o *vm.Order) {
		o.From = ""
		o.Rescue = &vm.RescueSystem{Disk: o.Generation, Image: "https://images.test/rescue.qcow2", Key: "ssh-ed25519 once"}
	}},
	{ports: []vm.Port{ssh}, goal: vm.Run, phase: vm.Ready, anew: func(o *vm.Order) { o.Purge, o.Rescue = []int64{o.Rescue.Disk}, nil }},
	{ports: []vm.Port{ssh}, goal: vm.Run, phase: vm.Ready, anew: func(o *vm.Order) { o.Disk = 0 }},
	{ports: []vm.Port{ssh}, goal: vm.Halt, phase: vm.Halted},
	{ports: []vm.Port{ssh}, goal: vm.Halt, phase: vm.Halted, also: func(o *vm.Order) { o.Purge = []int64{5} }},
	{ports: []vm.Port{ssh}, goal: vm.Halt, phase: vm.Halted, also: snapshot(4, vm.PurgeSnapshot), snap: vm.SnapshotGone},
	{ports: []vm.Port{ssh}, goal: vm.Halt, phase: vm.Halted, also: snapshot(12, vm.MakeSnapshot), snap: vm.SnapshotThere},
	{ports: []vm.Port{ssh}, goal: vm.Run, phase: vm.Ready},
	{goal: vm.Remove, phase: vm.Absent},
}

// snapshot has o ask for what is wanted of one snapshot, and nothing of others.
func snapshot(generation int64, goal vm.SnapshotGoal) func(o *vm.Order) {
	return func(o *vm.Order) {
		o.Snapshots = []vm.SnapshotAsk{{ID: fmt.Sprint("snap_", generation), Disk: o.Disk, Goal: goal}}
	}
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

// snapped reports whether the snapshot of a stage is where it comes to.
func (s stage) snapped(r *rig, o vm.Order) bool { return s.snap == "" || r.snapshot(o).State == s.snap }

// disksOfALife is how many disks are made in a whole life.
const disksOfALife = 3

// order makes o the order of a stage of a life.
func (s stage) order(o *vm.Order) {
	o.Ports, o.Goal = s.ports, s.goal
	if s.anew != nil {
		s.anew(o)
	}
	if s.also != nil {
		s.also(o)
	}
}

// check compares what a VM has with what it is to have by an order: it runs on the disk
// that it is to run on, and of the disks that it had before those are gone that were to
// be purged, and no other ones. It returns the disks.
func (s stage) check(r *rig, o vm.Order, before map[string]string) map[string]string {
	r.Helper()
	if s.goal == vm.Remove {
		return nil
	}
	name := func(n int64) string {
		if n == 0 {
			return "disk.qcow2"
		}
		return fmt.Sprintf("disk-%d.qcow2", n)
	}
	for _, n := range o.Purge {
		r.until(time.Minute, fmt.Sprintf("disk %d is purged, and so it is told", n), func() bool {
			return r.disksOf(o.ID)[name(n)] == "" && !r.sighting(o.ID).Has(n)
		})
		delete(before, name(n))
	}
	now := r.disksOf(o.ID)
	for file, content := range before {
		if now[file] != content {
			r.Errorf("%s was %q, is %q", file, content, now[file])
		}
	}
	if now[name(o.Boots())] == "" || len(now) > len(before)+1 {
		r.Errorf("disks are %v, were %v; want %s among them", now, before, name(o.Boots()))
	}
	if m, runs := r.host.Machine(o.ID); s.goal == vm.Run && (runs == 0 || filepath.Base(m.Disks[0].Path) != name(o.Boots()) ||
		o.Rescue != nil && filepath.Base(m.Disks[1].Path) != name(o.Disk)) {
		r.Errorf("it runs on %+v, want %s of %+v", m.Disks, name(o.Boots()), o.Shelf)
	}
	return now
}

func endAnywhere(r *rig, n int, after bool) {
	o := order("0xA", 1, ssh)
	var disks map[string]string
	sound := r.config
	for _, stage := range wholeLife {
		begun := r.starts("0xA")
		stage.order(&o)
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
		r.until(time.Minute, fmt.Sprint("snapshot ", stage.snap), func() bool { return stage.snapped(r, o) })
		if stage.anew != nil && r.starts("0xA") == begun {
			r.Error("it was not started anew")
		}
		disks = stage.check(r, o, disks)
		if runs := r.starts("0xA") > 0; runs != (stage.goal == vm.Run) {
			r.Errorf("with goal %s the machine runs: %t", stage.goal, runs)
		}
		if links := r.links(); len(links) > 0 && len(links[0].Ports) != len(o.Ports) {
			r.Errorf("link %+v, want %v", links[0], o.Ports)
		}
		r.halt()
		o.Generation++
	}
	if r.disks.made != disksOfALife || len(r.folders()) != 0 || len(r.links()) != 0 {
		r.Errorf("%d disks made, left: folders %v, links %v", r.disks.made, r.folders(), r.links())
	}
}
