package control_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// waiting is a cloud with one VM, and one whom it belongs to.
type waiting struct {
	*cloud
	shop shop
	a    *agent
	anna account.Actor
	id   string
}

// waits returns what the VM waits for.
func (w *waiting) waits() []vm.Wait {
	w.t.Helper()
	for _, deleted := range []bool{false, true} {
		list, err := w.VMs(w.t.Context(), w.anna, control.VMFilter{IDs: []string{w.id}, Deleted: deleted})
		w.must("VMs", err)
		if len(list) > 0 {
			return list[0].Waits
		}
	}
	return nil
}

// wait returns the wait of a kind; ok is false where there is none.
func (w *waiting) wait(f vm.WaitFor) (vm.Wait, bool) {
	w.t.Helper()
	list := w.waits()
	i := slices.IndexFunc(list, func(one vm.Wait) bool { return one.For == f })
	if i < 0 {
		return vm.Wait{}, false
	}
	return list[i], true
}

// unpaid has the VM run out of money, as far as it is told.
func (w *waiting) unpaid(rounds int) {
	w.t.Helper()
	_, err := w.SetBalance(w.t.Context(), operator, w.anna.AccountID, 0, "spent elsewhere")
	w.must("SetBalance", err)
	for range rounds {
		w.clock.advance(epoch)
		w.must("Bill", second(w.Bill(w.t.Context())))
	}
}

func wantText(t tb, what, got, part string) {
	t.Helper()
	if !strings.Contains(got, part) {
		t.Errorf("%s: %q lacks %q", what, got, part)
	}
}

// owned are what VMs wait for that the control plane acts on: how one comes to wait for
// it, and whose duty it is then.
var owned = map[vm.WaitFor]struct {
	begin func(w *waiting)
	duty  func(w *waiting) func(context.Context) (int, error)
	then  func(w *waiting) bool // what has become of it
}{
	vm.ForLaunch: {
		func(*waiting) {},
		func(w *waiting) func(context.Context) (int, error) { return w.Sweep },
		func(w *waiting) bool { return w.stored(w.id).State == vm.Failed },
	},
	vm.ForMoney: {
		func(w *waiting) { w.a.reports(vm.Ready, w.id); w.unpaid(1) },
		func(w *waiting) func(context.Context) (int, error) { return w.Bill },
		func(w *waiting) bool { return w.stored(w.id).State == vm.InsufficientFunds },
	},
	vm.ForPayment: {
		func(w *waiting) { w.a.reports(vm.Ready, w.id); w.unpaid(3) },
		func(w *waiting) func(context.Context) (int, error) { return w.Sweep },
		func(w *waiting) bool { return w.stored(w.id).State == vm.Terminated },
	},
	vm.ForOperation: {
		func(w *waiting) {
			w.a.reports(vm.Ready, w.id)
			_, err := w.Operate(w.t.Context(), w.anna, w.id, vm.Reboot, "", control.Restart(false))
			w.must("Operate", err)
		},
		func(w *waiting) func(context.Context) (int, error) { return w.EndOperations },
		func(w *waiting) bool { return w.stored(w.id).Operation == "" },
	},
	vm.ForConfirm: {
		func(w *waiting) {
			_, err := w.SetPorts(w.t.Context(), w.anna, w.id, control.PortChange{Ports: []vm.Port{}, Confirm: time.Minute})
			w.must("SetPorts", err)
		},
		func(w *waiting) func(context.Context) (int, error) { return w.RevertPorts },
		func(w *waiting) bool { return w.ports(w.id) == "22/tcp" },
	},
	vm.ForDrain: {
		func(w *waiting) { w.a.reports(vm.Ready, w.id); w.shop.drain(w.a.id, time.Hour) },
		func(w *waiting) func(context.Context) (int, error) { return w.EndDrains },
		func(w *waiting) bool { return w.stored(w.id).State == vm.Terminated },
	},
	vm.ForUndelete: {
		func(w *waiting) {
			w.a.reports(vm.Ready, w.id)
			_, err := w.Delete(w.t.Context(), w.anna, w.id, false)
			w.must("DeleteVM", err)
		},
		func(w *waiting) func(context.Context) (int, error) { return w.PurgeDeleted },
		func(w *waiting) bool { return w.stored(w.id).Goal == vm.Remove },
	},
	vm.ForServer: {
		func(w *waiting) {
			w.a.reports(vm.Ready, w.id)
			w.clock.advance(control.SilentAfter + time.Second)
			w.must("NoteSilence", second(w.NoteSilence(w.t.Context())))
		},
		func(w *waiting) func(context.Context) (int, error) { return w.Remind },
		func(w *waiting) bool {
			return w.tells(w.anna, w.id, "its server is not heard since 2026-03-01T12:00:00Z, 1 day ago: it runs on as far as is known")
		},
	},
}

// agents are what VMs wait for that their agents act on.
var agents = []vm.WaitFor{vm.ForStart, vm.ForRepair}

// Every wait that is not an agent's has a duty of the control plane that acts when the
// moment has come that its customer was told, and not before; then the VM waits no
// more, or for another moment.
func TestEveryWaitHasAnOwner(t *testing.T) {
	t.Parallel()
	for _, f := range vm.WaitFors {
		if _, is := owned[f]; !is && f != vm.Nothing && !slices.Contains(agents, f) {
			t.Errorf("nobody acts on a VM that waits for %s", f)
		}
	}
	for f, test := range owned {
		t.Run(string(f), func(t *testing.T) {
			t.Parallel()
			each(t, func(t *testing.T, c *cloud) {
				c.grace, c.keep = time.Hour, 6*time.Hour
				c.restart()
				w := &waiting{cloud: c, shop: c.shop("Nord", 1), anna: c.account("Anna", 2*price)}
				w.a = w.shop.join(1)
				w.id = c.deploy(w.anna)
				test.begin(w)
				told, is := w.wait(f)
				if !is {
					t.Fatalf("it waits for %v", w.waits())
				}
				do := func() int {
					n, err := test.duty(w)(t.Context())
					c.must("duty", err)
					return n
				}
				c.clock.advance(told.Until.Sub(c.clock.Now()) - time.Microsecond)
				want(t, "done a moment before", do(), 0)
				if now, is := w.wait(f); !is || now.Since != told.Since || now.Until != told.Until || test.then(w) {
					t.Errorf("a moment before it waits for %+v, was told %+v", now, told)
				}
				c.clock.advance(time.Microsecond)
				want(t, "done then", do(), 1)
				if now, is := w.wait(f); is && !now.Until.After(told.Until) || !test.then(w) {
					t.Errorf("then it waits for %v: %+v", f, now)
				}
				want(t, "done again", do(), 0)
				c.sound()
			})
		})
	}
}

// What an agent could not do is told with when it tries again, and is told no more when
// it has; when the agent says nothing, its silence is what is told.
func TestTroubleIsTold(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		w := &waiting{cloud: c, a: c.join(room(2)), anna: c.account("Anna", 4*price)}
		w.id = c.deploy(w.anna)
		says := func(phase vm.Phase, reason string, r *vm.Retry) {
			t.Helper()
			c.must("Observe", w.a.sees(vm.Sighting{ID: w.id, Generation: c.stored(w.id).Generation, Phase: phase, Reason: reason, Retry: r}))
		}
		says(vm.Preparing, "no image; it is tried again", &vm.Retry{Attempt: 2, Of: 7, At: start.Add(4 * time.Second)})
		one, _ := w.wait(vm.ForLaunch)
		want(t, "why", one.Why, "no image; it is tried again")
		wantText(t, "next", one.Next, "its server tries again at 2026-03-01T12:00:04Z, after 2 tries of 7; ")

		says(vm.Ready, "", nil)
		want(t, "waits once it is Active", len(w.waits()), 0)
		c.clock.advance(time.Minute)
		begun := c.clock.Now()
		stopped := func(attempt int, at time.Time) {
			t.Helper()
			says(vm.Booting, "the machine stopped and will be started again", &vm.Retry{Attempt: attempt, At: at})
		}
		stopped(1, begun.Add(time.Second))
		one, is := w.wait(vm.ForRepair)
		want(t, "until and since", []any{is, one.Since, one.Until}, []any{true, begun, begun.Add(time.Second)})
		c.clock.advance(2 * time.Second)
		stopped(2, begun.Add(4*time.Second))
		one, _ = w.wait(vm.ForRepair)
		want(t, "after another try", []any{one.Since, one.Until}, []any{begun, begun.Add(4 * time.Second)})
		c.clock.advance(control.SilentAfter + time.Second)
		c.must("NoteSilence", second(c.NoteSilence(t.Context())))
		_, is = w.wait(vm.ForServer)
		want(t, "its silence is told", is, true)
		says(vm.Ready, "", nil)
		want(t, "waits when it is back", len(w.waits()), 0)
	})
}

// A VM says how often it was placed, and how often it may still be.
func TestPlacingsAreTold(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		w := &waiting{cloud: c, a: c.join(room(1)), anna: c.account("Anna", 4*price)}
		c.join(room(1))
		w.id = c.deploy(w.anna)
		one, _ := w.wait(vm.ForLaunch)
		wantText(t, "at first", one.Next, "3 times at most")
		first := c.stored(w.id).ServerID
		c.clock.advance(launch)
		c.must("Sweep", second(c.Sweep(t.Context())))
		if c.stored(w.id).ServerID == first {
			t.Fatal("it was not placed elsewhere")
		}
		one, _ = w.wait(vm.ForLaunch)
		wantText(t, "then", one.Why, "1 server could not launch it")
		wantText(t, "then", one.Next, "2 times at most")
		want(t, "until", one.Until, c.clock.Now().Add(launch))
	})
}

// A server that stays silent is told once a day, and no VM of another one, nor one that
// was deleted.
func TestRemind(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a, heard := c.join(room(2)), c.joinUnder(at("Süd", 2, price), room(1))
		anna := c.account("Anna", 40*price)
		silent, deleted, other := c.deploy(anna), c.deploy(anna), c.deploy(anna)
		a.reports(vm.Ready, silent, deleted)
		heard.reports(vm.Ready, other)
		c.remove(anna, deleted)
		told := func() (n int) {
			t.Helper()
			heard.reports(vm.Ready, other)
			n, err := c.Remind(t.Context())
			c.must("Remind", err)
			return n
		}
		c.clock.advance(control.SilentAfter + time.Second)
		heard.reports(vm.Ready, other)
		c.must("NoteSilence", second(c.NoteSilence(t.Context())))
		for day := range 3 {
			want(t, "told on the day", told(), min(day, 1))
			want(t, "told again", told(), 0)
			c.clock.advance(vm.RemindEvery)
		}
		a.reports(vm.Ready, silent, deleted)
		want(t, "told when it is heard", told(), 0)
	})
}
