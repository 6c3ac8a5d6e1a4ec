package agent_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/hypervisor"
	hypervisorfake "github.com/cpucloud/cpucloud/internal/hypervisor/fake"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// halting returns a rig's VM 0xA that is ready and that its guest has written
// to, with an order to halt it that is not given yet.
func halting(r *rig) (halt vm.Order, disk string) {
	r.start()
	halt = order("0xA", 1, ssh)
	r.order(halt)
	r.reaches("0xA", 1, vm.Ready)
	disk = r.disk("0xA") + ", and what the guest wrote"
	if err := os.WriteFile(r.dir+"/agent/vms/0xA/disk.qcow2", []byte(disk), 0o600); err != nil {
		r.Fatal(err)
	}
	halt.Goal, halt.Generation = vm.Halt, 2
	return halt, disk
}

// resume orders a halted VM to run and checks what it has when it is ready.
func (r *rig) resume(halt vm.Order, disk string) {
	r.Helper()
	halt.Goal = vm.Run
	halt.Generation++
	r.order(halt)
	r.reaches(halt.ID, halt.Generation, vm.Ready)
	if now := r.disk(halt.ID); now != disk || r.disks.made != 1 || r.disks.fetches != 1 {
		r.Errorf("disk %q after %d were made and %d images fetched; want the first one, %q", now, r.disks.made, r.disks.fetches, disk)
	}
	if links := r.links(); len(links) != 1 || links[0].Address != halt.Address {
		r.Errorf("links %+v, want the one of %s", links, halt.Address)
	}
}

// guest has every guest go after a time when it is asked to, or not at all for 0.
// It returns a function that says how often one was asked.
func (r *rig) guest(after time.Duration) (asked func() int) {
	n := 0
	r.host.OnShutdown = func(m hypervisor.Machine) bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		if n++; n == 1 && after > 0 {
			time.AfterFunc(after, func() { r.host.Kill(m.ID, "the guest powered off") })
		}
		return false
	}
	return func() int {
		r.mu.Lock()
		defer r.mu.Unlock()
		return n
	}
}

func TestHaltAndRunAgain(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		asked := r.guest(9 * time.Second)
		halt, disk := halting(r)
		r.order(halt)
		start := time.Now()
		r.reaches("0xA", 2, vm.Halted)
		if took := time.Since(start); took < 9*time.Second || took > 10*time.Second || asked() != 1 {
			t.Errorf("halted after %s, asked %d times; want as soon as the guest is off, after 9 s, and once", took, asked())
		}
		time.Sleep(time.Hour)
		if s := r.sighting("0xA"); s.Phase != vm.Halted || r.starts("0xA") != 0 || r.disk("0xA") != disk || len(r.links()) != 1 || asked() != 1 {
			t.Errorf("%s, start %d, disk %q, links %v, asked %d times; want all kept and left alone", s.Phase, r.starts("0xA"), r.disk("0xA"), r.links(), asked())
		}
		r.resume(halt, disk)
		want := []vm.Phase{vm.Preparing, vm.Booting, vm.Ready, vm.Booting, vm.Halted, vm.Booting, vm.Ready}
		if got := r.history("0xA"); !slices.Equal(got, want) {
			t.Errorf("phases %v, want %v", got, want)
		}
		for _, line := range []string{
			"ssh: SSH answered after 6", "halt-2: powered off, its disk is kept",
			"resume-3: powered on again, with the disk and the address that it had", "restart-ssh: SSH answered after 6",
		} {
			if !strings.Contains(r.story("0xA"), line) {
				t.Errorf("story lacks %q:\n%s", line, r.story("0xA"))
			}
		}
		r.host.Kill("0xA", "crash")
		r.until(time.Minute, "a crash is told as one", func() bool { return strings.Contains(r.story("0xA"), "started again (1 times by now)") })
	})
}

// A guest that does not listen is switched off, and holds up nobody meanwhile.
func TestHaltOfADeafGuest(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		asked := r.guest(0)
		halt, disk := halting(r)
		r.order(halt)
		other := order("0xB", 1, ssh)
		other.Address = address(2)
		r.order(other)
		start := time.Now()
		r.reaches("0xB", 1, vm.Ready)
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("another VM was ready after %s", took)
		}
		time.Sleep(time.Until(start.Add(59 * time.Second)))
		if s := r.sighting("0xA"); s.Phase != vm.Booting || s.Generation != 1 || r.starts("0xA") != 1 ||
			!strings.Contains(r.story("0xA"), "halt-2: its guest is asked to power itself off") {
			t.Errorf("after 59 s %s at generation %d, start %d, want still running; story:\n%s", s.Phase, s.Generation, r.starts("0xA"), r.story("0xA"))
		}
		time.Sleep(2 * time.Second)
		r.reaches("0xA", 2, vm.Halted)
		if took := time.Since(start); took > 62*time.Second || asked() < 6 || asked() > 7 || r.disk("0xA") != disk || r.starts("0xB") != 2 {
			t.Errorf("halted after %s, asked %d times, disk %q, start %d of the other", took, asked(), r.disk("0xA"), r.starts("0xB"))
		}
		if want := "halt-2: did not power itself off within 60 s and was switched off; its disk is kept"; !strings.Contains(r.story("0xA"), want) {
			t.Errorf("story lacks %q:\n%s", want, r.story("0xA"))
		}
	})
}

// A guest that can't be asked is switched off as well.
func TestHaltOfAGuestThatCannotBeAsked(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		halt, disk := halting(r)
		r.host.Fail(hypervisorfake.Shutdown, errors.New("the monitor hangs"))
		r.host.Fail(hypervisorfake.Destroy, errors.New("the process does not die"))
		r.order(halt)
		time.Sleep(62 * time.Second)
		if s := r.sighting("0xA"); s.Generation != 1 || !strings.Contains(s.Reason, "tried again") {
			t.Errorf("generation %d because %q, want the old one, and why", s.Generation, s.Reason)
		}
		r.host.Fail(hypervisorfake.Destroy, nil)
		r.reaches("0xA", 2, vm.Halted)
		if s := r.sighting("0xA"); s.Reason != "" || r.disk("0xA") != disk {
			t.Errorf("halted, and still %q; disk %q", s.Reason, r.disk("0xA"))
		}
	})
}

// stubborn goes on with what was begun when it is called off, as QEMU does.
type stubborn struct{ hypervisor.Driver }

func (s stubborn) List(ctx context.Context) ([]hypervisor.Instance, error) {
	return s.Driver.List(context.WithoutCancel(ctx))
}

func (s stubborn) Destroy(ctx context.Context, id string) error {
	return s.Driver.Destroy(context.WithoutCancel(ctx), id)
}

// An agent that ends while a guest powers off ends no machine by that, and the
// next one finds out what is left to do, with or without a control plane.
func TestAgentEndsWhileHalting(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		after time.Duration // the guest is off, 0 for never
		away  bool
		rest  time.Duration // between the agents
		took  time.Duration // of the next agent, at most
	}{
		"guest goes before the next agent": {7 * time.Second, false, 10 * time.Second, time.Second},
		"guest goes later":                 {20 * time.Second, false, 5 * time.Second, 12 * time.Second},
		"guest never goes":                 {0, false, 10 * time.Minute, 62 * time.Second},
		"control plane is away":            {7 * time.Second, true, time.Second, 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(r *rig) {
				r.config.Hypervisor = stubborn{r.config.Hypervisor}
				asked := r.guest(tt.after)
				halt, disk := halting(r)
				r.order(halt)
				r.until(time.Second, "asked", func() bool { return asked() == 1 })
				time.Sleep(5 * time.Second)
				r.halt()
				if r.starts("0xA") != 1 {
					t.Error("the machine ended with the agent")
				}
				r.setAway(tt.away)
				time.Sleep(tt.rest)
				start := time.Now()
				r.start()
				r.until(2*time.Minute, "it is off", func() bool { return r.starts("0xA") == 0 })
				r.setAway(false)
				r.until(time.Minute, "halted", func() bool { return r.sighting("0xA").Phase == vm.Halted })
				r.reaches("0xA", 2, vm.Halted)
				if took := time.Since(start); !tt.away && took > tt.took || r.disk("0xA") != disk {
					t.Errorf("halted after %s, want at most %s; disk %q", took, tt.took, r.disk("0xA"))
				}
				r.resume(halt, disk)
			})
		})
	}
}

// Nothing but an order for this very VM starts what is halted, or costs its disk.
func TestHaltedStaysHalted(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		halt, disk := halting(r)
		r.order(halt)
		other := order("0xB", 1, ssh)
		other.Address = address(2)
		r.order(other)
		r.reaches("0xA", 2, vm.Halted)
		r.reaches("0xB", 1, vm.Ready)
		r.setAway(true)
		time.Sleep(48 * time.Hour)
		r.halt()
		r.host.Restart()
		if err := r.net.Crash(); err != nil {
			t.Fatalf("crash network: %v", err)
		}
		r.start()
		r.until(time.Minute, "the other runs again", func() bool { return r.starts("0xB") != 0 })
		time.Sleep(48 * time.Hour)
		if r.starts("0xA") != 0 || r.starts("0xB") == 0 || r.disk("0xA") != disk {
			t.Errorf("starts %d and %d, disk %q; want one halted, one running", r.starts("0xA"), r.starts("0xB"), r.disk("0xA"))
		}
		r.setAway(false)
		r.until(time.Minute, "heard of", func() bool { return r.sighting("0xB").Phase == vm.Ready })
		r.reaches("0xA", 2, vm.Halted)
		r.change(func(l *vm.List) { l.Orders = l.Orders[1:] })
		r.until(time.Minute, "quarantined", func() bool { return r.sighting("0xA").Phase == vm.Quarantined })
		time.Sleep(time.Hour)
		if _, kept := r.disks.pruned(); r.disk("0xA") != disk || r.starts("0xA") != 0 || !kept {
			t.Errorf("disk %q, start %d, image kept: %t", r.disk("0xA"), r.starts("0xA"), kept)
		}
		halt.Goal, halt.Generation = vm.Remove, 3
		r.order(halt)
		r.reaches("0xA", 3, vm.Absent)
		if got := r.folders(); !slices.Equal(got, []string{"0xB"}) {
			t.Errorf("folders %v, want the other's alone", got)
		}
	})
}

// Nothing is made for a VM that is to be halted, whatever there is of it.
func TestHaltOfWhatNeverRan(t *testing.T) {
	t.Parallel()
	for name, fetching := range map[string]bool{"unknown": false, "being prepared": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(r *rig) {
				r.disks.fetchTime = time.Hour
				r.start()
				o := order("0xA", 1, ssh)
				if fetching {
					r.order(o)
					r.until(time.Minute, "fetching", func() bool { return strings.Contains(r.story("0xA"), "fetched") })
				}
				o.Goal, o.Generation = vm.Halt, 2
				r.order(o)
				start := time.Now()
				for range 2 {
					r.reaches("0xA", 2, vm.Halted)
					if took := time.Since(start); took > 2*time.Second || r.disks.made != 0 || r.starts("0xA") != 0 || len(r.links()) != 0 {
						t.Errorf("after %s: %d disks, start %d, links %v", took, r.disks.made, r.starts("0xA"), r.links())
					}
					if (len(r.folders()) > 0) != fetching || strings.Contains(r.story("0xA"), "halt") {
						t.Errorf("folders %v; story:\n%s", r.folders(), r.story("0xA"))
					}
					r.halt()
					clear(r.seen)
					start = time.Now()
					r.start()
				}
				r.disks.fetchTime = 0
				o.Goal, o.Generation = vm.Run, 3
				r.order(o)
				r.reaches("0xA", 3, vm.Ready)
			})
		})
	}
}

// Whoever pays while the guest is asked keeps a machine that did not listen, and
// gets one that did started again. It is ready when that is known, not before.
func TestRunWhileHalting(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		after  time.Duration // the guest is off, 0 for never
		least  time.Duration // until the VM is ready
		most   time.Duration
		starts int
		story  string
	}{
		"obeys": {9 * time.Second, 12 * time.Second, 20 * time.Second, 2, "started again (1 times by now)"},
		"deaf":  {0, 57 * time.Second, 63 * time.Second, 1, "ports-3: ports now open"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(r *rig) {
				asked := r.guest(tt.after)
				halt, disk := halting(r)
				r.order(halt)
				r.until(time.Second, "asked", func() bool { return asked() == 1 })
				time.Sleep(3 * time.Second)
				start := time.Now()
				r.resume(halt, disk)
				took := time.Since(start)
				if r.starts("0xA") != tt.starts || !strings.Contains(r.story("0xA"), tt.story) || took < tt.least || took > tt.most {
					t.Errorf("start %d after %s; story:\n%s", r.starts("0xA"), took, r.story("0xA"))
				}
				want := []vm.Phase{vm.Preparing, vm.Booting, vm.Ready, vm.Booting, vm.Ready}
				if got := r.history("0xA"); !slices.Equal(got, want) {
					t.Errorf("phases %v, want %v", got, want)
				}
				time.Sleep(time.Hour)
				if r.starts("0xA") != tt.starts || asked() != 1 {
					t.Errorf("start %d, asked %d times", r.starts("0xA"), asked())
				}
			})
		})
	}
}

// Halted again and again, a VM keeps its disk, and each time has lines of its own.
func TestHaltAgainAndAgain(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		halt, disk := halting(r)
		for range 3 {
			r.order(halt)
			r.reaches("0xA", halt.Generation, vm.Halted)
			r.resume(halt, disk)
			for _, line := range []string{fmt.Sprint("halt-", halt.Generation, ": "), fmt.Sprint("resume-", halt.Generation+1, ": ")} {
				if !strings.Contains(r.story("0xA"), line) {
					t.Errorf("story lacks %q:\n%s", line, r.story("0xA"))
				}
			}
			halt.Generation += 2
		}
		if strings.Contains(r.story("0xA"), "had stopped") {
			t.Errorf("story tells of a crash:\n%s", r.story("0xA"))
		}
	})
}

func TestRemoveWhileHalting(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		asked := r.guest(0)
		halt, _ := halting(r)
		r.order(halt)
		r.until(time.Second, "asked", func() bool { return asked() == 1 })
		halt.Goal, halt.Generation = vm.Remove, 3
		r.order(halt)
		start := time.Now()
		r.reaches("0xA", 3, vm.Absent)
		if took := time.Since(start); took > time.Second || len(r.folders()) != 0 {
			t.Errorf("removed after %s, folders %v; want at once and none", took, r.folders())
		}
	})
}
