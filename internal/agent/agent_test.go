package agent_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/hypervisor"
	hypervisorfake "github.com/cpucloud/cpucloud/internal/hypervisor/fake"
	"github.com/cpucloud/cpucloud/internal/vm"
	"github.com/cpucloud/cpucloud/internal/wire"
)

var ssh, web = vm.Port{Number: 22, Protocol: vm.TCP}, vm.Port{Number: 8080, Protocol: vm.TCP}

// bubble runs f on a rig whose clock is faked.
func bubble(t *testing.T, f func(r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.halt()
		f(r)
	})
}

func TestLaunch(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.start()
		r.order(order("0xA", 1, ssh))
		start := time.Now()
		r.reaches("0xA", 1, vm.Ready)
		if took := time.Since(start); took > 2*time.Second+bootTime+200*time.Millisecond {
			t.Errorf("ready after %s, want fetching and booting alone", took)
		}
		want := []vm.Phase{vm.Preparing, vm.Booting, vm.Ready}
		if got := r.history("0xA"); !slices.Equal(got, want) {
			t.Errorf("phases %v, want %v", got, want)
		}
		story := r.story("0xA")
		for _, line := range []string{
			"image: image fetched and checked", "disk: disk of 25 GiB made", "network: address 127.77.0.1 is ready, open ports: 22/tcp",
			"machine: machine started with 2 vCPU and 4 GiB of memory", "ssh: SSH answered after 6",
		} {
			if !strings.Contains(story, line) {
				t.Errorf("story lacks %q:\n%s", line, story)
			}
		}
		if strings.Contains(story, r.dir) {
			t.Errorf("story tells paths of the host:\n%s", story)
		}
		m, _ := r.host.Machine("0xA")
		if m.VCPU != 2 || m.RAMGiB != 4 || len(m.Disks) != 2 || m.Disks[0].Backing == nil || !strings.HasPrefix(m.NIC.MAC, "52:54:00:") {
			t.Errorf("machine %+v", m)
		}
	})
}

func TestProgressIsTold(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.disks.fetchTime = 100 * time.Second
		r.start()
		r.order(order("0xA", 1, ssh))
		r.until(time.Minute, "half of the image", func() bool {
			return strings.Contains(r.story("0xA"), "image: fetched 240 of 600 MiB (40 %)")
		})
	})
}

func TestPortsChangeAlone(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.start()
		r.order(order("0xA", 1, ssh))
		r.reaches("0xA", 1, vm.Ready)
		r.order(order("0xA", 2, ssh, web))
		start := time.Now()
		r.reaches("0xA", 2, vm.Ready)
		if took := time.Since(start); took > 100*time.Millisecond {
			t.Errorf("ports were changed after %s, want at once", took)
		}
		if links := r.links(); len(links[0].Ports) != 2 || r.starts("0xA") != 1 {
			t.Errorf("links %+v, start %d; want two ports, and the machine left alone", links, r.starts("0xA"))
		}
		if story := r.story("0xA"); !strings.Contains(story, "ports-2: ports now open: 22/tcp, 8080/tcp") {
			t.Errorf("story lacks the ports:\n%s", story)
		}
	})
}

// Connections are cut when the order says so, once: not again after a restart,
// nor by the next change. A network that can't cut them keeps the VM's ports from
// nothing.
func TestConnectionsAreCut(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.start()
		o := order("0xA", 1, ssh, web)
		r.order(o)
		r.reaches("0xA", 1, vm.Ready)
		for _, step := range []struct {
			generation, cut int64
			ports           []vm.Port
			cuts            int
			story           string
		}{
			{2, 0, []vm.Port{ssh}, 0, "ports-2: ports now open: 22/tcp"},
			{4, 3, []vm.Port{ssh}, 1, "ports-4: ports now open: 22/tcp; connections through others are cut"},
			{5, 3, []vm.Port{ssh, web}, 1, "ports-5: ports now open: 22/tcp, 8080/tcp"},
		} {
			o.Generation, o.Cut, o.Ports = step.generation, step.cut, step.ports
			r.order(o)
			r.reaches("0xA", step.generation, vm.Ready)
			if got := r.net.Cuts("0xA"); got != step.cuts || !strings.Contains(r.story("0xA"), step.story) {
				t.Errorf("generation %d: %d cuts, want %d, and %q in the story:\n%s", step.generation, got, step.cuts, step.story, r.story("0xA"))
			}
		}
		r.halt()
		r.start()
		r.reaches("0xA", 5, vm.Ready)
		if got := r.net.Cuts("0xA"); got != 1 {
			t.Errorf("%d cuts after a restart, want the one before it", got)
		}
		r.net.Fail(func(do, _ string) error {
			if do == "cut" {
				return fault.New(fault.Unavailable, "no connections are known")
			}
			return nil
		})
		o.Generation, o.Cut, o.Ports = 6, 6, []vm.Port{web}
		r.order(o)
		r.reaches("0xA", 6, vm.Ready)
		if !strings.Contains(r.story("0xA"), "connections through others could not be cut") {
			t.Errorf("story lacks that nothing was cut:\n%s", r.story("0xA"))
		}
	})
}

// Ports may change while a machine that does not answer is watched.
func TestPortsChangeWhileBooting(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.mute["127.77.0.1"] = true
		r.start()
		r.order(order("0xA", 1, ssh))
		r.reaches("0xA", 1, vm.Booting)
		r.order(order("0xA", 2, ssh, web))
		r.reaches("0xA", 2, vm.Booting)
	})
}

func TestRemove(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.start()
		o := order("0xA", 1, ssh)
		r.order(o)
		r.reaches("0xA", 1, vm.Ready)
		o.Goal, o.Generation = vm.Remove, 2
		r.order(o)
		r.reaches("0xA", 2, vm.Absent)
		if r.starts("0xA") != 0 || len(r.links()) != 0 || len(r.folders()) != 0 {
			t.Errorf("left: start %d, links %v, folders %v", r.starts("0xA"), r.links(), r.folders())
		}
		time.Sleep(time.Hour)
		r.reaches("0xA", 2, vm.Absent) // as long as it is in the list, over a restart too
		r.halt()
		r.start()
		r.reaches("0xA", 2, vm.Absent)
		r.change(func(l *vm.List) { l.Orders = nil })
		r.until(time.Minute, "nothing is told of it", func() bool { return r.sighting("0xA").ID == "" })
	})
}

func TestRemoveWhileFetching(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.disks.fetchTime = time.Hour
		r.start()
		o := order("0xA", 1, ssh)
		r.order(o)
		r.until(time.Minute, "fetching", func() bool { return strings.Contains(r.story("0xA"), "fetched") })
		o.Goal, o.Generation = vm.Remove, 2
		r.order(o)
		start := time.Now()
		r.reaches("0xA", 2, vm.Absent)
		if took := time.Since(start); took > time.Second || len(r.folders()) != 0 {
			t.Errorf("removed after %s, folders %v; want at once and none", took, r.folders())
		}
	})
}

func TestBadImageBreaks(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.disks.fail(fmt.Errorf("inspect: %w", fault.New(fault.Invalid, "the image has a backing file")))
		r.start()
		o := order("0xA", 1, ssh)
		r.order(o)
		r.reaches("0xA", 0, vm.Broken)
		time.Sleep(time.Hour)
		if s := r.sighting("0xA"); s.Reason != "the image has a backing file" || s.Elsewhere || r.disks.fetches != 1 {
			t.Errorf("reason %q after %d tries, want the fault's sentence after one", s.Reason, r.disks.fetches)
		}
		r.halt()
		r.start()
		r.reaches("0xA", 0, vm.Broken)
		o.Goal, o.Generation = vm.Remove, 2
		r.order(o)
		r.reaches("0xA", 2, vm.Absent)
	})
}

func TestPassingTroubleIsTriedAgain(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.disks.fail(fault.New(fault.Unavailable, "the mirror answers 503"))
		r.start()
		r.order(order("0xA", 1, ssh))
		time.Sleep(10 * time.Second)
		if s := r.sighting("0xA"); s.Phase != vm.Preparing || s.Reason != "the mirror answers 503; it is tried again" {
			t.Errorf("%s because %q, want preparing, and why", s.Phase, s.Reason)
		}
		if n := r.disks.fetches; n != 4 { // at 0, 1, 3 and 7 s
			t.Errorf("%d tries in 10 s, want 4", n)
		}
		r.disks.fail(errors.New("open /var/secret: no such file"))
		time.Sleep(10 * time.Second)
		if s := r.sighting("0xA"); strings.Contains(s.Reason, "secret") || s.Reason == "" {
			t.Errorf("reason %q tells what is the operator's", s.Reason)
		}
		r.disks.fail(nil)
		r.until(time.Minute, "ready", func() bool { return r.sighting("0xA").Phase == vm.Ready })
		if s := r.sighting("0xA"); s.Reason != "" {
			t.Errorf("ready, and still %q", s.Reason)
		}
	})
}

// What can't be had for a minute is given up, and may be had elsewhere; trouble
// of the server itself is not told to the customer.
func TestTroubleThatStaysBreaks(t *testing.T) {
	t.Parallel()
	for why, err := range map[string]error{
		"the image is cut off: 1,024 of 4,096 bytes arrived": fault.New(fault.Unavailable, "the image is cut off: 1,024 of 4,096 bytes arrived"),
		"a problem on the server, whose provider can see it": errors.New("open /var/secret: no such file"),
	} {
		bubble(t, func(r *rig) {
			r.disks.fail(err)
			r.start()
			r.order(order("0xA", 1, ssh))
			r.until(2*time.Minute, "broken", func() bool { return r.sighting("0xA").Phase == vm.Broken })
			if s := r.sighting("0xA"); r.disks.fetches != 7 || s.Reason != why || !s.Elsewhere {
				t.Errorf("reason %q after %d tries (elsewhere: %t), want %q after 7", s.Reason, r.disks.fetches, s.Elsewhere, why)
			}
		})
	}
}

func TestNoSSHIsReadyInTheEnd(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.mute["127.77.0.1"] = true
		r.start()
		r.order(order("0xA", 1, ssh))
		r.reaches("0xA", 1, vm.Booting)
		time.Sleep(9 * time.Minute)
		r.reaches("0xA", 1, vm.Booting)
		time.Sleep(2 * time.Minute)
		r.reaches("0xA", 1, vm.Ready)
		if story := r.story("0xA"); !strings.Contains(story, "SSH did not answer within 10m0") {
			t.Errorf("story does not say so:\n%s", story)
		}
	})
}

func TestIdleAgentIsQuiet(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.start()
		r.order(order("0xA", 1, ssh))
		r.reaches("0xA", 1, vm.Ready)
		before := r.count()
		time.Sleep(time.Hour)
		if n, most := r.count()-before, int(time.Hour/wire.MaxWait)+2; n > most {
			t.Errorf("%d reports in an idle hour, want at most %d", n, most)
		}
	})
}

// A control plane that stops answers every poll at once; it is not stormed.
func TestStoppingControlPlaneIsNotStormed(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.stopping = true
		r.start()
		time.Sleep(time.Minute)
		if r.count() > 70 {
			t.Errorf("%d reports in a minute", r.count())
		}
	})
}

func TestLaunchesAreBounded(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		const vms = 12
		running := func() (n int) {
			machines, _ := hypervisorfake.New(r.host).List(t.Context())
			return len(machines)
		}
		r.disks.fetchTime = 0
		r.start()
		r.change(func(l *vm.List) {
			for n := range vms {
				o := order(fmt.Sprint("0x", n), 1, ssh)
				o.Address = address(n)
				l.Orders = append(l.Orders, o)
			}
		})
		// Each disk takes 20 ms, four at once.
		time.Sleep(50 * time.Millisecond)
		if n := running(); n == 0 || n > 8 {
			t.Errorf("%d machines after 50 ms, want at most 8", n)
		}
		r.until(time.Minute, "all run", func() bool { return running() == vms })
	})
}

// Images stay as long as a disk lies on them, also one that nobody asked for.
func TestImagesInUseAreKept(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.start()
		o := order("0xA", 1, ssh)
		r.order(o)
		r.reaches("0xA", 1, vm.Ready)
		r.change(func(l *vm.List) { l.Orders = nil })
		r.reaches("0xA", 1, vm.Quarantined)
		time.Sleep(2 * time.Hour)
		prunes, kept := r.disks.pruned()
		if prunes < 2 || !kept {
			t.Errorf("after %d prunes the image of a disk counts as in use: %t", prunes, kept)
		}
		path := r.dir + "/agent/vms/0xA/base.json"
		if err := os.WriteFile(path, []byte("?"), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		if now, _ := r.disks.pruned(); now != prunes {
			t.Error("images were pruned though it is not known which are in use")
		}
		o.Goal, o.Generation = vm.Remove, 2
		r.order(o)
		r.reaches("0xA", 2, vm.Absent)
		time.Sleep(2 * time.Hour)
		if _, kept := r.disks.pruned(); kept {
			t.Error("an image is kept that no disk lies on")
		}
	})
}

// slowList tells what was so three seconds ago.
type slowList struct{ hypervisor.Driver }

func (s slowList) List(ctx context.Context) ([]hypervisor.Instance, error) {
	list, err := s.Driver.List(ctx)
	return list, errors.Join(err, pause(ctx, 3*time.Second))
}

// What a worker did counts more than a list that was read before.
func TestLateListIsNotBelieved(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.disks.fetchTime = 500 * time.Millisecond
		r.config.Hypervisor, r.config.LookEvery = slowList{r.config.Hypervisor}, time.Millisecond
		r.start()
		r.order(order("0xA", 1, ssh))
		r.reaches("0xA", 1, vm.Ready)
		time.Sleep(10 * time.Second)
		want := []vm.Phase{vm.Preparing, vm.Booting, vm.Ready}
		o := order("0xA", 2, ssh)
		o.Goal = vm.Remove
		r.order(o)
		time.Sleep(10 * time.Second)
		want = append(want, vm.Absent)
		if got := r.history("0xA"); !slices.Equal(got, want) || strings.Contains(r.story("0xA"), "again") {
			t.Errorf("phases %v, want %v; story:\n%s", got, want, r.story("0xA"))
		}
	})
}
