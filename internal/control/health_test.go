package control_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// server returns a server as it is kept, and its timeline in one text.
func (a *agent) server() (s store.Server, story string) {
	a.c.t.Helper()
	a.c.must("read server", a.c.db.Read(a.c.t.Context(), func(tx *store.Tx) (err error) {
		if s, err = tx.Server(a.c.t.Context(), a.id); err != nil {
			return err
		}
		events, err := tx.ServerEvents(a.c.t.Context(), a.id)
		for _, e := range events {
			story += e.Text + "\n"
		}
		return err
	}))
	return s, story
}

// report reports what change makes of an empty report.
func (a *agent) report(change func(r *vm.Report)) error {
	a.sequence++
	r := vm.Report{Sequence: a.sequence, Inventory: a.inv}
	change(&r)
	return a.c.Observe(a.c.t.Context(), a.id, r)
}

// sells reports whether anything can be placed.
func (c *cloud) sells() (found bool) {
	c.t.Helper()
	c.must("Offers", c.Offers(market.Constraints{}, func(*market.Match) bool {
		found = true
		return false
	}))
	return found
}

// tells checks that a server's timeline says something.
func (a *agent) tells(what string) {
	a.c.t.Helper()
	if _, story := a.server(); !strings.Contains(story, what) {
		a.c.t.Errorf("the timeline does not say %q:\n%s", what, story)
	}
}

// A server that is not heard sells nothing; its VMs stay as they are, and all is
// well when it is heard again.
func TestSilence(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a := c.join(room(2))
		anna := c.account("Anna", 4*price)
		id := c.deploy(anna)
		a.reports(vm.Ready, id)
		c.clock.advance(control.SilentAfter)
		c.must("NoteSilence", second(c.NoteSilence(t.Context())))
		want(t, "sells after 90 s", c.sells(), true)
		c.clock.advance(time.Microsecond)
		c.must("NoteSilence", second(c.NoteSilence(t.Context())))
		want(t, "sells when it was silent for longer", c.sells(), false)
		_, err := c.Deploy(t.Context(), anna, wish(1))
		wantFault(t, "Deploy", err, fault.Unsatisfiable)
		c.clock.advance(72 * time.Hour)
		c.must("NoteSilence", second(c.NoteSilence(t.Context())))
		c.must("Sweep", second(c.Sweep(t.Context())))
		v, err := c.VM(t.Context(), anna, id)
		c.must("VM", err)
		want(t, "state", v.State, vm.Active)
		want(t, "unreachable since", v.UnreachableSince, start)
		want(t, "orders", len(a.orders()), 1)
		a.tells("unreachable: its agent was heard last at 2026-03-01T12:00:00Z")

		a.reports(vm.Ready, id)
		a.tells("heard again after 72h1m30s")
		want(t, "sells when it is heard again", c.sells(), true)
		v, err = c.VM(t.Context(), anna, id)
		c.must("VM", err)
		want(t, "unreachable since", v.UnreachableSince, time.Time{})
	})
}

// Servers are not taken for silent because the control plane was away.
func TestSilenceAfterRestart(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		c.join(room(2))
		c.clock.advance(time.Hour)
		c.restart()
		c.clock.advance(control.SilentAfter - time.Second)
		c.must("NoteSilence", second(c.NoteSilence(t.Context())))
		want(t, "sells just after the start", c.sells(), true)
		c.clock.advance(2 * time.Second)
		c.must("NoteSilence", second(c.NoteSilence(t.Context())))
		want(t, "sells later", c.sells(), false)
	})
}

// Two machines with one identity are noticed: the older one is refused, and
// nothing more is placed.
func TestCopiedIdentity(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a := c.join(room(2))
		as := func(instance string) error { return a.report(func(r *vm.Report) { r.Instance = instance }) }
		c.must("the first start", as("one"))
		c.must("again", as("one"))
		c.must("a restart", as("two"))
		want(t, "sells after a restart", c.sells(), true)
		if err := as("one"); !errors.Is(err, vm.ErrCopied) || !fault.Is(err, fault.Conflict) {
			t.Errorf("the first start, back again: %v, want vm.ErrCopied, a Conflict fault", err)
		}
		want(t, "sells", c.sells(), false)
		c.must("the second start goes on", as("two"))
		want(t, "sells still", c.sells(), false)
		a.tells("identity: two machines speak for this server")
	})
}

// What is less than was sold sells nothing more, and is told.
func TestInventoryShrinks(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a := c.join(room(4))
		anna := c.account("Anna", 20*price)
		made, err := c.Deploy(t.Context(), anna, wish(2))
		c.must("Deploy", err)
		a.inv.Total = room(3)
		a.reports(vm.Ready, made[0].ID)
		want(t, "sells what is left", c.sells(), true)
		a.inv.Total = room(1)
		a.reports(vm.Ready, made[1].ID)
		want(t, "sells less than nothing", c.sells(), false)
		want(t, "VMs that stay", len(a.orders()), 2)
		a.tells("inventory: it reports 2 vCPU, 4 GiB RAM, 25 GiB storage, 1 address, but 4 vCPU")
		a.inv.Total = room(4)
		c.must("Observe", a.sees())
		a.tells("nothing is wrong with it any more")
		want(t, "sells when it is whole again", c.sells(), true)
	})
}

// An inventory that no server has is refused, and what is listed stays.
func TestInventoryAbsurd(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a := c.join(room(2))
		for name, spoil := range map[string]func(*capacity.Inventory){
			"negative":      func(i *capacity.Inventory) { i.Total.VCPU = -1 },
			"huge":          func(i *capacity.Inventory) { i.Total.RAMGiB = 1 << 40 },
			"no pool":       func(i *capacity.Inventory) { i.Pool = mustPrefix("10.0.0.0/32") },
			"small pool":    func(i *capacity.Inventory) { i.Pool = mustPrefix("10.0.0.0/31") },
			"more threads":  func(i *capacity.Inventory) { i.Details.Threads = 1 },
			"more memory":   func(i *capacity.Inventory) { i.Details.MemoryGiB = 1 },
			"sold too much": func(i *capacity.Inventory) { i.VCPUPerThread = 65 },
		} {
			wantFault(t, name, a.report(func(r *vm.Report) { spoil(&r.Inventory) }), fault.Invalid)
		}
		a.tells("a report was refused: ")
		s, _ := a.server()
		want(t, "what is listed", s.Inventory.Total, room(2))
		want(t, "sells", c.sells(), true)
	})
}

// Hardware that is another than was listed is not sold under the old name.
func TestHardwareChanges(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a := c.join(room(2))
		a.inv.Hardware.CPU.Brand = "EPYC 9999"
		c.must("Observe", a.sees())
		want(t, "sells", c.sells(), false)
		a.tells("hardware: it reports AMD EPYC 9999 (Zen 4), DDR5, NVMe and is listed as AMD EPYC (Zen 4)")
		a.inv.Hardware = hardware
		c.must("Observe", a.sees())
		want(t, "sells as it was listed", c.sells(), true)
	})
}

// What was measured is listed, and an older benchmark does not replace a newer.
func TestMeasured(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a := c.join(room(2))
		listed := func() (m *capacity.Measured) {
			c.must("Offers", c.Offers(market.Constraints{}, func(o *market.Match) bool {
				m = o.Rooms[0].Measured
				return false
			}))
			return m
		}
		want(t, "before the first", listed(), (*capacity.Measured)(nil))
		for _, at := range []time.Duration{time.Hour, 0, 2 * time.Hour} {
			a.inv.Measured = &capacity.Measured{At: start.Add(at), CPUSingle: 900 + at.Hours()}
			c.must("Observe", a.sees())
		}
		want(t, "the newest", listed(), &capacity.Measured{At: start.Add(2 * time.Hour), CPUSingle: 902})
		a.inv.Measured = nil
		c.must("Observe", a.sees())
		want(t, "kept when a report has none", listed(), &capacity.Measured{At: start.Add(2 * time.Hour), CPUSingle: 902})
		fast := market.Constraints{MinMeasured: capacity.Measured{CPUSingle: 903}}
		c.must("Offers", c.Offers(fast, func(*market.Match) bool { t.Error("a server that is too slow was found"); return true }))
	})
}

// A store that was restored from a backup makes lists that agents take.
func TestRestoredStore(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a := c.join(room(2))
		list, err := c.Orders(t.Context(), a.id)
		c.must("Orders", err)
		follows := func(epoch, revision int64) error {
			return a.report(func(r *vm.Report) { r.Follows = vm.Version{Epoch: epoch, Revision: revision} })
		}
		c.must("the list there is", follows(list.Epoch, list.Revision))
		same, err := c.Orders(t.Context(), a.id)
		c.must("Orders", err)
		want(t, "epoch", same.Epoch, list.Epoch)
		c.must("a newer one than there is", follows(list.Epoch, list.Revision+7))
		newer, err := c.Orders(t.Context(), a.id)
		c.must("Orders", err)
		want(t, "epoch when the store is old", newer.Epoch, list.Epoch+1)
		if newer.Older(vm.List{Epoch: list.Epoch, Revision: list.Revision + 7}) {
			t.Errorf("an agent would refuse %+v", newer)
		}
		a.tells("the store was restored from a backup")
		wantFault(t, "a list that was never made", follows(1<<40, 0), fault.Invalid)
		wantFault(t, "a negative one", follows(-1, 0), fault.Invalid)
	})
}

// A report that comes again is refused, and told once an hour.
func TestReplayedReport(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a := c.join(room(2))
		c.must("Observe", a.sees())
		for range 3 {
			a.sequence--
			wantFault(t, "again", a.sees(), fault.Conflict)
		}
		if _, story := a.server(); strings.Count(story, "report 1 was refused") != 1 {
			t.Errorf("the timeline:\n%s", story)
		}
	})
}
