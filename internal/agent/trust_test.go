package agent_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/agent"
	"github.com/cpucloud/cpucloud/internal/fault"
	hypervisorfake "github.com/cpucloud/cpucloud/internal/hypervisor/fake"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// An agent that can't see its machines must not report them absent, nor act.
func TestBlindAgentIsSilent(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.start()
		r.order(order("0xA", 1, ssh))
		r.reaches("0xA", 1, vm.Ready)
		r.halt()
		r.host.Fail(hypervisorfake.List, errors.New("permission denied"))
		before := r.count()
		r.start()
		time.Sleep(time.Hour)
		if r.count() != before || r.starts("0xA") != 1 {
			t.Errorf("%d reports, start %d by an agent that sees nothing", r.count()-before, r.starts("0xA"))
		}
		r.host.Fail(hypervisorfake.List, nil)
		r.until(time.Minute, "reports again", func() bool { return r.count() > before })
		r.reaches("0xA", 1, vm.Ready)
	})
}

// For three days nobody hears of the control plane: nothing changes, and what
// ends on its own is started again.
func TestControlPlaneAway(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.start()
		r.order(order("0xA", 1, ssh))
		r.reaches("0xA", 1, vm.Ready)
		r.setAway(true)
		time.Sleep(36 * time.Hour)
		r.halt()
		r.start()
		r.host.Kill("0xA", "crash")
		time.Sleep(36 * time.Hour)
		if r.starts("0xA") != 2 || len(r.links()) != 1 {
			t.Errorf("start %d, links %v after three days", r.starts("0xA"), r.links())
		}
		before := r.count()
		r.setAway(false)
		r.until(time.Minute, "reports again", func() bool { return r.count() > before })
	})
}

func TestUnknownVMIsQuarantined(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.start()
		o := order("0xA", 1, ssh)
		r.order(o)
		r.reaches("0xA", 1, vm.Ready)
		disk := r.disk("0xA")
		r.change(func(l *vm.List) { l.Epoch, l.Orders = 2, nil }) // a restored database that knows nothing of it
		r.reaches("0xA", 1, vm.Quarantined)
		time.Sleep(24 * time.Hour)
		if r.starts("0xA") != 1 || len(r.links()) != 1 || r.disk("0xA") != disk {
			t.Errorf("quarantined: start %d, links %v, disk %q", r.starts("0xA"), r.links(), r.disk("0xA"))
		}
		r.order(o)
		r.reaches("0xA", 1, vm.Ready)
		if r.starts("0xA") != 1 {
			t.Error("the machine was touched when it was asked for again")
		}
	})
}

// A list of before, of another server, or by another hand changes nothing.
func TestListsThatAreNotFollowed(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*vm.List){
		"older epoch":    func(l *vm.List) { l.Epoch-- },
		"older revision": func(l *vm.List) { l.Revision = 1 },
		"other server":   func(l *vm.List) { l.Server = "srv_2" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(r *rig) {
				r.start()
				o := order("0xA", 1, ssh)
				r.order(o)
				r.reaches("0xA", 1, vm.Ready)
				o.Goal, o.Generation = vm.Remove, 2
				r.change(func(l *vm.List) { l.Orders = []vm.Order{o}; spoil(l) })
				time.Sleep(time.Hour)
				if r.starts("0xA") != 1 || r.disk("0xA") == "" {
					t.Error("the VM was removed by a list that is not to be followed")
				}
				reports := r.count()
				time.Sleep(time.Hour)
				if n := r.count() - reports; n == 0 || n > 300 {
					t.Errorf("%d reports in an hour, want some and no storm", n)
				}
			})
		})
	}
}

func TestClockSetBack(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.sequence = time.Now().Add(24 * time.Hour).UnixMicro() // what it was before
		r.start()
		r.order(order("0xA", 1, ssh))
		r.until(5*time.Minute, "ready", func() bool { return r.sighting("0xA").Phase == vm.Ready })
	})
}

func TestSecondAgentIsRefused(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.start()
		r.order(order("0xA", 1, ssh))
		r.reaches("0xA", 1, vm.Ready)
		if err := agent.New(r.config).Run(t.Context()); !fault.Is(err, fault.Conflict) {
			t.Errorf("second Run: %v, want a Conflict fault", err)
		}
		err := agent.EndAll(t.Context(), r.dir, r.config.Hypervisor, r.config.Network, r.config.Log)
		if !fault.Is(err, fault.Conflict) || r.starts("0xA") != 1 {
			t.Errorf("EndAll beside an agent: %v, start %d; want a Conflict fault, and nothing ended", err, r.starts("0xA"))
		}
	})
}

func TestAgentThatHasNotJoined(t *testing.T) {
	t.Parallel()
	if err := agent.New(agent.Config{Dir: t.TempDir()}).Run(t.Context()); !fault.Is(err, fault.Invalid) {
		t.Errorf("Run: %v, want an Invalid fault", err)
	}
}

// A lost answer to the enrolment does not lose the server: the second try comes
// with the same key. Later tries change nothing.
func TestEnrollTwice(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		e := agent.Enrollment{Dir: t.TempDir(), URL: r.config.URL, HTTP: r.config.HTTP, Token: "tok_1", Rand: strings.NewReader(strings.Repeat("k", 32))}
		r.agent = nil
		r.setAway(true)
		if _, err := agent.Enroll(t.Context(), e); !fault.Is(err, fault.Unavailable) {
			t.Fatalf("Enroll while the control plane is away: %v", err)
		}
		r.setAway(false)
		if id, err := agent.Joined(e.Dir); id != "" || err != nil {
			t.Errorf("Joined = %q, %v before the control plane has answered", id, err)
		}
		for range 2 {
			id, err := agent.Enroll(t.Context(), e) // Rand has nothing left: the key was kept
			if err != nil || id != "srv_1" {
				t.Errorf("Enroll = %q, %v; want srv_1", id, err)
			}
		}
		if id, err := agent.Joined(e.Dir); id != "srv_1" || err != nil {
			t.Errorf("Joined = %q, %v; want srv_1", id, err)
		}
		if id, err := agent.Joined(t.TempDir()); id != "" || err != nil {
			t.Errorf("Joined of an empty folder = %q, %v", id, err)
		}
		info, err := os.Stat(e.Dir + "/agent/identity.json")
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("identity: %v, %v; want mode 0600", info, err)
		}
	})
}

func TestOrderThatIsNoFolder(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.start()
		bad := order("../../evil", 1, ssh)
		bad.Goal = vm.Remove
		r.order(bad)
		o := order("0xA", 1, ssh)
		o.Address = address(2)
		r.order(o)
		r.reaches("0xA", 1, vm.Ready)
		if got := r.folders(); !slices.Equal(got, []string{"0xA"}) || r.told() != 1 {
			t.Errorf("folders %v, told of %d; want the other VM alone", got, r.told())
		}
	})
}

// A process that is being started holds copies of all open files until it is
// the new program; an agent that stops must not wait for it to let go.
func TestStoppedAgentGivesTheFolderBackAtOnce(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.start()
		r.order(order("0xA", 1, ssh))
		r.reaches("0xA", 1, vm.Ready)
		copyOpen(t, filepath.Join(r.dir, "agent", "lock"))
		r.halt()
		if joined, err := agent.Enrolled(r.dir); !joined || err != nil {
			t.Errorf("after the agent stopped: joined %t, %v", joined, err)
		}
	})
}

// copyOpen keeps a copy of the file that this process has open under a name.
func copyOpen(t *testing.T, name string) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if at, err := os.Readlink("/proc/self/fd/" + e.Name()); err != nil || at != name {
			continue
		}
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			t.Fatal(err)
		}
		kept, err := syscall.Dup(fd)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = syscall.Close(kept) })
		return
	}
	t.Fatalf("%s is not open", name)
}
