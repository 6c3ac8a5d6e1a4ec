package vm_test

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/vm"
)

var waitNow = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// ago and ahead are moments before and after waitNow.
func ago(d time.Duration) time.Time   { return waitNow.Add(-d) }
func ahead(d time.Duration) time.Time { return waitNow.Add(d) }

// waitCases are VMs that wait, each for what it waits for.
var waitCases = []struct {
	name string
	v    vm.VM
	a    vm.Around
	want []vm.WaitFor
	why  string // of the first
	next string // likewise
}{
	{"Active and well", vm.VM{State: vm.Active}, vm.Around{}, nil, "", ""},
	{
		"New on its first server",
		vm.VM{State: vm.New, Since: ago(time.Minute), Deadline: ahead(29 * time.Minute), Reason: "waiting for its server"},
		vm.Around{Left: 3},
		[]vm.WaitFor{vm.ForLaunch},
		"waiting for its server to begin", "if it is not launched by then, it is placed on another server that fits, by the same deposit, 3 times at most; where none fits, the whole deposit goes back",
	},
	{
		"New on its second server",
		vm.VM{State: vm.New, Since: ago(time.Minute), Deadline: ahead(29 * time.Minute)},
		vm.Around{Placings: 1, Left: 2},
		[]vm.WaitFor{vm.ForLaunch},
		"waiting for its server to begin; 1 server could not launch it", "2 times at most",
	},
	{
		"New where nothing is left",
		vm.VM{State: vm.New, Since: ago(time.Minute), Deadline: ahead(time.Minute)},
		vm.Around{Placings: 3},
		[]vm.WaitFor{vm.ForLaunch},
		"3 servers could not launch it", "if it is not launched by then, it is given up and the whole deposit goes back",
	},
	{
		"its image is downloaded",
		vm.VM{State: vm.Launching, Since: ago(time.Minute), Deadline: ahead(time.Minute)},
		vm.Around{Left: 3},
		[]vm.WaitFor{vm.ForLaunch},
		"its server prepares and boots it", "",
	},
	{
		"a launch that broke",
		vm.VM{
			State: vm.Launching, Since: ago(time.Minute), Deadline: ahead(time.Hour),
			Trouble: vm.Trouble{Text: "the image could not be fetched", Since: ago(20 * time.Second), Retry: vm.Retry{Attempt: 3, Of: 7, At: ahead(4 * time.Second)}},
		},
		vm.Around{Left: 3},
		[]vm.WaitFor{vm.ForLaunch},
		"the image could not be fetched", "its server tries again at 2026-03-01T12:00:04Z, after 3 tries of 7; if it is not launched by then, ",
	},
	{
		"its server is silent meanwhile",
		vm.VM{State: vm.New, Since: ago(time.Minute), Deadline: ahead(time.Minute)},
		vm.Around{SilentSince: ago(2 * time.Minute)},
		[]vm.WaitFor{vm.ForLaunch, vm.ForServer},
		"", "",
	},
	{
		"started again",
		vm.VM{State: vm.Launching, Since: ago(7 * time.Minute), ActivatedAt: ago(time.Hour), Reason: "starts again: the balance pays for it"},
		vm.Around{},
		[]vm.WaitFor{vm.ForStart},
		"starts again: the balance pays for it", "its server is at work on it, and tries again when that fails",
	},
	{
		"started again in vain",
		vm.VM{
			State: vm.Launching, Since: ago(7 * time.Minute), ActivatedAt: ago(time.Hour),
			Trouble: vm.Trouble{Text: "no memory", Since: ago(time.Minute), Retry: vm.Retry{Attempt: 1, At: ahead(time.Second)}},
		},
		vm.Around{},
		[]vm.WaitFor{vm.ForStart},
		"no memory", "its server tries again at 2026-03-01T12:00:01Z, after 1 try, as often as need be",
	},
	{
		"its machine stopped",
		vm.VM{State: vm.Active, Since: ago(time.Hour), Trouble: vm.Trouble{Text: "the machine stopped and will be started again", Since: ago(11 * time.Minute)}},
		vm.Around{},
		[]vm.WaitFor{vm.ForRepair},
		"the machine stopped and will be started again", "its server is at work on it",
	},
	{
		"short of money",
		vm.VM{State: vm.SmallBalance, Since: ago(time.Hour), NextBilling: ahead(time.Hour)},
		vm.Around{Grace: time.Hour, Missing: money.USDC},
		[]vm.WaitFor{vm.ForMoney},
		"1 USDC are missing", "powered off, and its disk is kept",
	},
	{
		"powered off for want of money",
		vm.VM{State: vm.InsufficientFunds, Since: ago(time.Hour), Deadline: ahead(time.Hour)},
		vm.Around{Missing: money.USDC},
		[]vm.WaitFor{vm.ForPayment},
		"1 USDC are missing", "its disk purged",
	},
	{
		"rebooted, its ports not confirmed, its server drained and silent",
		vm.VM{State: vm.Active, CreatedAt: ago(time.Hour), RevertAt: ahead(time.Minute)},
		vm.Around{Busy: &vm.Operation{ID: "op_1", Action: vm.Reboot, Begun: ago(time.Minute), Deadline: ahead(14 * time.Minute)}, DrainedAt: ahead(48 * time.Hour), SilentSince: ago(3 * time.Hour)},
		[]vm.WaitFor{vm.ForConfirm, vm.ForOperation, vm.ForServer, vm.ForDrain},
		"not confirmed", "changed back",
	},
	{
		"deleted and kept",
		vm.VM{State: vm.Stopped, Since: ago(time.Hour), Reason: "deleted by its customer", KeptUntil: ahead(23 * time.Hour)},
		vm.Around{DrainedAt: ahead(time.Hour)},
		[]vm.WaitFor{vm.ForUndelete},
		"it was deleted", "it can be undeleted; if it isn't by then, its disk is purged",
	},
	{"failed", vm.VM{State: vm.Failed, Since: ago(time.Hour), Reason: "could not be launched: no image"}, vm.Around{}, []vm.WaitFor{vm.Nothing}, "could not be launched: no image", "nothing more is tried; delete it to remove its record"},
	{"terminated", vm.VM{State: vm.Terminated, Since: ago(time.Hour), Reason: "abuse", Reserved: money.USDC, RevertAt: ahead(1)}, vm.Around{DrainedAt: ahead(1)}, []vm.WaitFor{vm.Nothing}, "abuse", "its reserve of 1 USDC"},
	{"deleted", vm.VM{State: vm.Stopped, Since: ago(time.Hour)}, vm.Around{}, []vm.WaitFor{vm.Nothing}, "it has ended", ""},
}

func TestWaits(t *testing.T) {
	t.Parallel()
	seen := map[vm.WaitFor]bool{}
	waits := map[vm.State]bool{}
	for _, test := range waitCases {
		test.a.Now = waitNow
		list := test.v.Waits(test.a)
		var got []vm.WaitFor
		for _, w := range list {
			got = append(got, w.For)
			seen[w.For] = true
			checkWait(t, test.name, w)
		}
		waits[test.v.State] = true
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: waits for %v, want %v", test.name, got, test.want)
			continue
		}
		if len(list) > 0 && (!strings.Contains(list[0].Why, test.why) || !strings.Contains(list[0].Next, test.next)) {
			t.Errorf("%s: %q, next %q", test.name, list[0].Why, list[0].Next)
		}
	}
	for _, f := range vm.WaitFors {
		if !seen[f] {
			t.Errorf("no case waits for %s", f)
		}
	}
	for _, s := range states {
		if !waits[s] {
			t.Errorf("no case is %s", s)
		}
	}
}

type reporter interface {
	Helper()
	Errorf(format string, args ...any)
}

// checkWait reports what a wait lacks.
func checkWait(t reporter, name string, w vm.Wait) {
	t.Helper()
	if w.Why == "" || w.Since.IsZero() || w.Next == "" || w.Until.IsZero() != (w.For == vm.Nothing) || !slices.Contains(vm.WaitFors, w.For) {
		t.Errorf("%s: lacks something: %+v", name, w)
	}
	if w.For != vm.Nothing && !w.Until.After(w.Since) {
		t.Errorf("%s: until %v is not after since %v", name, w.Until, w.Since)
	}
}

// Whatever a VM is and its agent tells, no wait lacks why, since, until or next; the
// first is over first; a VM on its way, or short of money, always says so; and what an
// agent claims about its tries keeps nothing waiting for longer than it may.
func TestWaitsOfAnything(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		some := func(name string) time.Duration {
			return time.Duration(rapid.Int64Range(1, int64(1000*time.Hour)).Draw(t, name))
		}
		maybe := func(name string, at time.Time) time.Time {
			if rapid.Bool().Draw(t, name+" is") {
				return at
			}
			return time.Time{}
		}
		created := ago(some("created") + 1000*time.Hour)
		v := vm.VM{
			State: rapid.SampledFrom(states).Draw(t, "state"), CreatedAt: created, Since: ago(some("since")), Reason: rapid.SampledFrom([]string{"", "so it is"}).Draw(t, "reason"),
			ActivatedAt: maybe("activated", created.Add(time.Second)), Deadline: ahead(some("deadline")), NextBilling: ahead(some("billing")),
			RevertAt: maybe("revert", ahead(some("revert"))), Reserved: money.Amount(rapid.Int64Range(0, 10).Draw(t, "reserved")),
		}
		if rapid.Bool().Draw(t, "trouble") {
			v.Trouble = vm.Trouble{Text: "no disk", Since: ago(some("trouble")), Retry: vm.Retry{
				Attempt: rapid.IntRange(0, 9).Draw(t, "attempt"), Of: rapid.IntRange(0, 9).Draw(t, "of"), At: waitNow.Add(some("at") - 500*time.Hour),
			}}
		}
		a := vm.Around{
			Now: waitNow, Grace: some("grace"), Placings: rapid.IntRange(0, 3).Draw(t, "placings"), Left: rapid.IntRange(0, 3).Draw(t, "left"),
			SilentSince: maybe("silent", ago(some("silent"))), DrainedAt: maybe("drained", ahead(some("drained"))), DrainedSince: maybe("told", ago(some("told"))),
			PortsSince: maybe("ports", ago(some("ports"))),
		}
		if rapid.Bool().Draw(t, "busy") {
			a.Busy = &vm.Operation{ID: "op", Action: vm.Reset, Begun: ago(some("begun")), Deadline: ahead(some("ends"))}
		}
		list := v.Waits(a)
		for i, w := range list {
			checkWait(t, string(v.State), w)
			if i > 0 && w.Until.Before(list[i-1].Until) {
				t.Fatalf("%v is told before %v", list[i-1], w)
			}
			if (w.For == vm.ForStart || w.For == vm.ForRepair) && (!w.Until.After(waitNow) || w.Until.After(ahead(2*vm.LongestRetry))) {
				t.Fatalf("its agent makes it wait until %v", w.Until)
			}
			if w.For == vm.ForServer && (!w.Until.After(waitNow) || w.Until.After(ahead(vm.RemindEvery))) {
				t.Fatalf("it is told again at %v", w.Until)
			}
		}
		if len(list) == 0 && v.State != vm.Active {
			t.Fatalf("a VM that is %s waits for nothing", v.State)
		}
		if v.State == vm.Active && (v.Trouble.Text != "" || a.Busy != nil || !v.RevertAt.IsZero() || !a.DrainedAt.IsZero() || !a.SilentSince.IsZero()) == (len(list) == 0) {
			t.Fatalf("an Active VM waits for %v", list)
		}
	})
}

// A server that is drained keeps no disk beyond that.
func TestKeptUntilTheDrain(t *testing.T) {
	t.Parallel()
	v := vm.VM{State: vm.Stopped, Since: ago(time.Hour), KeptUntil: ahead(23 * time.Hour)}
	for _, test := range []struct{ drained, want time.Time }{
		{time.Time{}, v.KeptUntil}, {ahead(time.Hour), ahead(time.Hour)}, {ahead(48 * time.Hour), v.KeptUntil},
	} {
		if got := v.Waits(vm.Around{Now: waitNow, DrainedAt: test.drained})[0].Until; !got.Equal(test.want) {
			t.Errorf("drained at %v it is kept until %v, want %v", test.drained, got, test.want)
		}
	}
}

// The manual names all that a VM may wait for.
func TestWaitsAreDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/vm-lifecycle.md")
	if err != nil {
		t.Fatal(err)
	}
	_, told, _ := strings.Cut(string(text), "\n## What it waits for\n")
	told, _, _ = strings.Cut(told, "\n## ")
	for _, f := range vm.WaitFors {
		if strings.Count(told, "\n| `"+string(f)+"` |") != 1 {
			t.Errorf("docs/vm-lifecycle.md does not tell what it is to wait for %s", f)
		}
	}
}
