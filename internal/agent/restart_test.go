package agent_test

import (
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/agent"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/hypervisor"
	"github.com/cpucloud/cpucloud/internal/vm"
)

func TestExitedMachineIsStartedAgain(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.start()
		r.order(order("0xA", 1, ssh))
		r.reaches("0xA", 1, vm.Ready)
		disk := r.disk("0xA")
		for n := range 3 {
			r.host.Kill("0xA", "the guest powered off")
			r.until(time.Minute, "started again", func() bool { return r.starts("0xA") == n+2 })
			r.reaches("0xA", 1, vm.Ready)
		}
		if !strings.Contains(r.story("0xA"), "3 times by now") || r.disk("0xA") != disk {
			t.Errorf("disk %q, was %q; story:\n%s", r.disk("0xA"), disk, r.story("0xA"))
		}
	})
}

// What the machine before had answered says nothing of the one that runs now.
func TestStartedAgainMustAnswerAgain(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.start()
		r.order(order("0xA", 1, ssh))
		r.reaches("0xA", 1, vm.Ready)
		r.mu.Lock()
		r.mute["127.77.0.1"] = true
		r.mu.Unlock()
		r.host.Kill("0xA", "crash")
		r.until(time.Minute, "started again", func() bool { return r.starts("0xA") == 2 })
		time.Sleep(time.Minute)
		if p := r.sighting("0xA").Phase; p != vm.Booting {
			t.Errorf("%s, want booting until it answers", p)
		}
	})
}

// An agent that was stopped in the middle of a launch has not failed.
func TestStoppedLaunchIsNoFailure(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.disks.fetchTime = time.Hour
		r.start()
		r.order(order("0xA", 1, ssh))
		r.until(time.Minute, "fetching", func() bool { return strings.Contains(r.story("0xA"), "fetched") })
		r.halt()
		r.disks.fetchTime = 0
		start := time.Now()
		r.start()
		r.until(time.Minute, "started", func() bool { return r.starts("0xA") == 1 })
		if took := time.Since(start); took > 100*time.Millisecond || r.sighting("0xA").Reason != "" {
			t.Errorf("started after %s with reason %q; want at once and none", took, r.sighting("0xA").Reason)
		}
	})
}

func TestCrashLoopSlowsDown(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		starts := 0
		r.host.OnStart = func(m hypervisor.Machine) error {
			starts++
			time.AfterFunc(time.Second, func() { r.host.Kill(m.ID, "the guest powered off") })
			return nil
		}
		r.start()
		r.order(order("0xA", 1, ssh))
		time.Sleep(time.Hour)
		if starts < 15 || starts > 25 {
			t.Errorf("%d starts of a machine that ends after a second, in an hour", starts)
		}
	})
}

func TestRestartedAgentKnowsReadyMachines(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.start()
		r.order(order("0xA", 1, ssh))
		r.reaches("0xA", 1, vm.Ready)
		r.halt()
		r.mute["127.77.0.1"] = true // a busy VM need not prove itself again
		clear(r.phases)
		clear(r.seen)
		r.start()
		r.reaches("0xA", 1, vm.Ready)
		if got := r.history("0xA"); !slices.Equal(got, []vm.Phase{vm.Ready}) || r.starts("0xA") != 1 {
			t.Errorf("phases %v, start %d; want ready at once, untouched", got, r.starts("0xA"))
		}
	})
}

// Everything is lost but the folder: the VMs come back, with their disks,
// addresses and cards, in the order in which they were first started, a few at a
// time. The control plane is not needed for it.
func TestHostReboot(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		const vms = 12
		r.config.Launches = 3
		r.start()
		var ids []string
		for n := range vms {
			o := order(fmt.Sprint("0x", (n*7)%vms), 1, ssh) // not that of their ids, nor of the list
			o.Address = address(n)
			ids = append(ids, o.ID)
			r.order(o)
			r.reaches(o.ID, 1, vm.Ready)
		}
		r.change(func(l *vm.List) { slices.Reverse(l.Orders) })
		r.host.Kill(ids[0], "crash") // a later start changes nothing
		r.until(10*time.Minute, "runs again", func() bool { return r.starts(ids[0]) > vms })
		r.reaches(ids[0], 1, vm.Ready)
		links, disks := r.links(), map[string]string{}
		for _, id := range ids {
			disks[id] = r.disk(id)
		}
		r.halt()
		var mu sync.Mutex
		var order []string
		r.newHost()
		r.host.OnStart = func(m hypervisor.Machine) error {
			mu.Lock()
			defer mu.Unlock()
			order = append(order, m.ID)
			return nil
		}
		r.setAway(true)
		r.start()
		r.until(time.Minute, "all machines run", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(order) == vms
		})
		r.setAway(false)
		for _, id := range ids {
			r.until(time.Minute, "ready", func() bool { return r.sighting(id).Phase == vm.Ready })
			if now := r.disk(id); now != disks[id] {
				t.Errorf("disk of %s %q, was %q", id, now, disks[id])
			}
		}
		for n, id := range order {
			late := 0 // those that should have come before and are still being started
			for _, earlier := range ids[:slices.Index(ids, id)] {
				if !slices.Contains(order[:n], earlier) {
					late++
				}
			}
			if late >= r.config.Launches {
				t.Errorf("%s was started before %d that come before it, in the order %v of %v", id, late, order, ids)
			}
		}
		if now := r.links(); !reflect.DeepEqual(now, links) {
			t.Errorf("links %v, were %v", now, links)
		}
	})
}

// The second agent over a folder goes, and says who has it.
func TestTwoAgents(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.start()
		r.order(order("0xA", 1, ssh))
		r.reaches("0xA", 1, vm.Ready)
		second := agent.New(r.config).Run(t.Context())
		_, third := agent.Enroll(t.Context(), agent.Enrollment{Dir: r.dir, URL: r.config.URL, HTTP: r.config.HTTP, Rand: r.config.Rand})
		fourth := agent.EndAll(t.Context(), r.dir, r.config.Hypervisor, r.config.Network, r.config.Log)
		for _, err := range []error{second, third, fourth} {
			if want := fmt.Sprintf("process %d,", os.Getpid()); !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want a Conflict fault that names %s", err, want)
			}
		}
		if r.starts("0xA") != 1 {
			t.Error("the machine was touched")
		}
	})
}

func TestEndAllKeepsDisks(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.start()
		r.order(order("0xA", 1, ssh))
		r.reaches("0xA", 1, vm.Ready)
		disk := r.disk("0xA")
		r.halt()
		if err := agent.EndAll(t.Context(), r.dir, r.config.Hypervisor, r.config.Network, r.config.Log); err != nil {
			t.Fatalf("EndAll: %v", err)
		}
		if r.starts("0xA") != 0 || len(r.links()) != 0 {
			t.Errorf("start %d, links %v after EndAll", r.starts("0xA"), r.links())
		}
		r.start()
		r.until(time.Minute, "runs again", func() bool { return r.starts("0xA") == 2 })
		r.reaches("0xA", 1, vm.Ready)
		if r.disk("0xA") != disk || r.disks.fetches != 1 {
			t.Errorf("disk %q, was %q; %d fetches", r.disk("0xA"), disk, r.disks.fetches)
		}
	})
}

func TestDamagedFilesCostNoVM(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.start()
		r.order(order("0xA", 1, ssh))
		r.reaches("0xA", 1, vm.Ready)
		r.halt()
		for _, name := range []string{"/agent/list.json", "/agent/vms/0xA/record.json"} {
			if err := os.WriteFile(r.dir+name, []byte(`{"trunc`), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		r.start()
		r.reaches("0xA", 1, vm.Ready)
		if r.starts("0xA") != 1 {
			t.Error("the machine was touched")
		}
	})
}

// A VM that ran once is never given up: its disk is worth another try.
func TestRanOnceIsNeverBroken(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.start()
		r.order(order("0xA", 1, ssh))
		r.reaches("0xA", 1, vm.Ready)
		refuse := true
		r.host.OnStart = func(hypervisor.Machine) error {
			if refuse {
				return fault.New(fault.Invalid, "this driver does not know such a machine")
			}
			return nil
		}
		r.host.Kill("0xA", "crash")
		time.Sleep(time.Hour)
		if s := r.sighting("0xA"); s.Phase != vm.Booting || s.Reason == "" {
			t.Errorf("%s because %q, want booting, and why not yet", s.Phase, s.Reason)
		}
		refuse = false
		r.until(10*time.Minute, "runs again", func() bool { return r.sighting("0xA").Phase == vm.Ready })
	})
}
