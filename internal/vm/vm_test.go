package vm_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/vm"
)

var (
	states = []vm.State{vm.New, vm.Launching, vm.Active, vm.SmallBalance, vm.InsufficientFunds, vm.Terminated, vm.Stopped, vm.Failed}
	causes = []vm.Cause{
		vm.SeenPreparing, vm.SeenBooting, vm.SeenReady, vm.SeenBroken, vm.Deleted, vm.EndedByProvider, vm.Overdue,
		vm.Covered, vm.RanShort, vm.Unpaid, vm.Restarted, vm.Replaced,
	}
)

// The whole table of transitions: what is not listed stays as it is.
func TestNext(t *testing.T) {
	t.Parallel()
	moves := map[string]vm.State{
		"New seen_preparing": vm.Launching, "New seen_booting": vm.Launching, "New seen_ready": vm.Active,
		"New seen_broken": vm.Failed, "New overdue": vm.Failed,
		"Launching seen_ready": vm.Active, "Launching seen_broken": vm.Failed, "Launching overdue": vm.Failed,
		"New replaced": vm.New, "Launching replaced": vm.New,
		"New ended_by_provider": vm.Terminated, "Launching ended_by_provider": vm.Terminated, "Active ended_by_provider": vm.Terminated,
		"Active ran_short": vm.SmallBalance, "SmallBalance covered": vm.Active, "Active unpaid": vm.InsufficientFunds, "SmallBalance unpaid": vm.InsufficientFunds,
		"InsufficientFunds restarted": vm.Launching, "InsufficientFunds overdue": vm.Terminated,
		"SmallBalance ended_by_provider": vm.Terminated, "InsufficientFunds ended_by_provider": vm.Terminated,
	}
	for _, s := range states {
		moves[fmt.Sprint(s, " ", vm.Deleted)] = vm.Stopped
		for _, c := range causes {
			want, listed := moves[fmt.Sprint(s, " ", c)]
			if !listed {
				want = s
			}
			if got := vm.Next(s, c); got != want {
				t.Errorf("Next(%s, %s) = %s, want %s", s, c, got, want)
			}
		}
	}
}

// A VM that is powered off for a while is none that failed, or is new.
func TestPhaseThatCausesNothing(t *testing.T) {
	t.Parallel()
	for _, p := range []vm.Phase{vm.Absent, vm.Halted, vm.Quarantined, "sleeping"} {
		if c, ok := p.Cause(); ok || c != "" {
			t.Errorf("%s causes %q, want nothing", p, c)
		}
	}
}

// Whatever happens in whatever order, an ended VM never comes back, and only
// the wish of its customer or its provider ends one that was Active.
func TestNextNeverRevives(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := vm.New
		for _, c := range rapid.SliceOf(rapid.SampledFrom(causes)).Draw(t, "causes") {
			next := vm.Next(s, c)
			if s.Ended() && !next.Ended() {
				t.Fatalf("%s came back as %s after %s", s, next, c)
			}
			if s == vm.Active && next.Ended() && c != vm.Deleted && c != vm.EndedByProvider {
				t.Fatalf("%s ended an Active VM as %s", c, next)
			}
			if !next.Valid() {
				t.Fatalf("%q is no state", next)
			}
			s = next
		}
	})
}

func TestNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a", "web-1", "-x-", "9", strings.Repeat("n", 255)} {
		if err := vm.CheckName(name); err != nil {
			t.Errorf("CheckName(%q): %v", name, err)
		}
		if h := vm.DefaultHostname(name); vm.CheckHostname(h) != nil {
			t.Errorf("DefaultHostname(%q) = %q, which is none", name, h)
		}
	}
	for _, name := range []string{"", "a b", "a_b", "a.b", "ä", "a\n", "a=b,c", "\u202e", strings.Repeat("n", 256)} {
		if err := vm.CheckName(name); !fault.Is(err, fault.Invalid) {
			t.Errorf("CheckName(%q) = %v, want an Invalid fault", name, err)
		}
	}
}

func TestHostnames(t *testing.T) {
	t.Parallel()
	for _, h := range []string{"a", "web-1", "web-1.example.org", strings.Repeat("a", 63), "3com"} {
		if err := vm.CheckHostname(h); err != nil {
			t.Errorf("CheckHostname(%q): %v", h, err)
		}
	}
	for _, h := range []string{
		"", "-a", "a-", "a..b", ".a", "a.", "a_b", "a b", "a\nb", "é", strings.Repeat("a", 64), strings.Repeat("a.", 127) + "abc", "$(x)",
	} {
		if err := vm.CheckHostname(h); !fault.Is(err, fault.Invalid) {
			t.Errorf("CheckHostname(%q) = %v, want an Invalid fault", h, err)
		}
	}
}

func TestImages(t *testing.T) {
	t.Parallel()
	for _, suffix := range []string{".qcow2", ".img", ".raw", ".raw.xz", ".raw.gz", ".img.xz", ".img.gz", ".img?x=1"} {
		if err := vm.CheckImage("https://images.example/debian" + suffix); err != nil {
			t.Errorf("CheckImage(…%s): %v", suffix, err)
		}
	}
	for _, u := range []string{
		"", "debian.img", "/var/lib/x.img", "file:///x.img", "ftp://h/x.img", "https:///x.img", "https://h/x.iso", "https://h/x.qcow2.gz",
		"https://h/?x.img", "https://u:p@h/x.img", "nbd://h/x.raw", "https://h/x.img\n", "https://h/" + strings.Repeat("x", 3000) + ".img",
	} {
		if err := vm.CheckImage(u); !fault.Is(err, fault.Invalid) {
			t.Errorf("CheckImage(%.60q) = %v, want an Invalid fault", u, err)
		}
	}
}

func TestPorts(t *testing.T) {
	t.Parallel()
	for _, n := range []int64{0, -1, 65536, 10250, 1 << 40} {
		if p, err := vm.NewPort(n, "tcp"); !fault.Is(err, fault.Invalid) {
			t.Errorf("NewPort(%d) = %v, %v; want an Invalid fault", n, p, err)
		}
	}
	if _, err := vm.NewPort(80, "sctp"); !fault.Is(err, fault.Invalid) {
		t.Errorf("sctp: %v, want an Invalid fault", err)
	}
	dns := []vm.Port{{Number: 53, Protocol: vm.UDP}, {Number: 53, Protocol: vm.TCP}}
	got, err := vm.OpenPorts(dns)
	if want := []vm.Port{dns[1], dns[0]}; err != nil || !slices.Equal(got, want) {
		t.Errorf("OpenPorts(%v) = %v, %v; want %v", dns, got, err, want)
	}
	if _, err := vm.OpenPorts(append(dns, dns[0])); !fault.Is(err, fault.Invalid) {
		t.Errorf("a port given twice: %v, want an Invalid fault", err)
	}
	var many []vm.Port
	for n := range uint16(50) {
		many = append(many, vm.Port{Number: n + 1000, Protocol: vm.TCP})
	}
	if got, err := vm.OpenPorts(vm.WithSSH(many)); err != nil || len(got) != 51 {
		t.Errorf("50 ports and SSH: %d, %v; want 51", len(got), err)
	}
	if _, err := vm.OpenPorts(append(many, vm.Port{Number: 1, Protocol: vm.UDP})); !fault.Is(err, fault.Invalid) {
		t.Errorf("51 ports: %v, want an Invalid fault", err)
	}
}
