package control_test

import (
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// The money of a VM from its deploy to its end.
func TestLife(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a, anna := c.join(room(2)), c.account("Anna", 3*price)
		id := c.deploy(anna)
		want(t, "deployed", purse(c.stored(id)), sum(vm.New, 2*price, 0))
		want(t, "balance", c.free(anna), price)
		want(t, "used", c.used(), room(1))

		c.clock.advance(time.Minute)
		a.reports(vm.Preparing, id)
		want(t, "preparing", purse(c.stored(id)), sum(vm.Launching, 2*price, 0))
		want(t, "since", c.stored(id).Since, start.Add(time.Minute))
		a.reports(vm.Booting, id)
		want(t, "booting", purse(c.stored(id)), sum(vm.Launching, 2*price, 0))

		c.clock.advance(time.Minute)
		a.reports(vm.Ready, id)
		v := c.stored(id)
		want(t, "ready", purse(v), sum(vm.Active, price, price))
		want(t, "activation", v.ActivatedAt, start.Add(2*time.Minute))
		want(t, "next billing", v.NextBilling, start.Add(2*time.Minute+epoch))
		want(t, "deadline", v.Deadline, time.Time{})
		want(t, "earned", c.holds(ledger.Pending(v.ProviderID)), price)

		a.reports(vm.Ready, id) // told again, it is not charged again
		a.reports(vm.Broken, id)
		want(t, "an active VM that breaks", purse(c.stored(id)), sum(vm.Active, price, price))

		c.remove(anna, id)
		want(t, "deleted", purse(c.stored(id)), sum(vm.Stopped, 0, price))
		want(t, "balance", c.free(anna), 2*price)
		want(t, "used until the agent has removed it", c.used(), room(1))
		want(t, "order", a.orders()[0].Goal, vm.Remove)
		a.reports(vm.Absent, id)
		want(t, "used", c.used(), capacity.Vector{})
		want(t, "orders", a.orders(), []vm.Order{})
		c.audit()
	})
}

// A delete returns the whole reserve in every state, once.
func TestDelete(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a := c.join(room(1))
		for _, run := range []struct {
			name   string
			phases []vm.Phase
			kept   int // epochs that stay paid
		}{
			{"New", nil, 0},
			{"Launching", []vm.Phase{vm.Preparing}, 0},
			{"Active", []vm.Phase{vm.Preparing, vm.Ready}, 1},
			{"Active at once", []vm.Phase{vm.Ready}, 1},
			{"Failed", []vm.Phase{vm.Broken}, 0},
			{"Failed and gone", []vm.Phase{vm.Broken, vm.Absent}, 0},
		} {
			who := c.account(run.name, 5*price)
			id := c.deploy(who)
			for _, p := range run.phases {
				a.reports(p, id)
			}
			left := 5*price - money.Amount(run.kept)*price
			for n := range 3 {
				c.remove(who, id)
				want(t, run.name+": balance", c.free(who), left)
				want(t, run.name+": state", c.stored(id).State, vm.Stopped)
				if n == 0 {
					a.reports(vm.Absent, id)
				}
			}
			list, err := c.VMs(t.Context(), who, control.VMFilter{})
			c.must("VMs", err)
			want(t, run.name+": list", len(list), 0)
			_, err = c.VM(t.Context(), who, id)
			wantFault(t, run.name+": VM", err, fault.NotFound)
		}
		want(t, "used", c.used(), capacity.Vector{})
		c.audit()
	})
}

// A VM that never became active costs nothing.
func TestFailure(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a, anna := c.join(room(1)), c.account("Anna", 2*price)
		id := c.deploy(anna)
		a.reports(vm.Preparing, id)
		a.reports(vm.Broken, id)
		v, err := c.VM(t.Context(), anna, id)
		c.must("VM", err)
		want(t, "failed", purse(v.VM), sum(vm.Failed, 0, 0))
		want(t, "reason", v.Reason, "could not be launched: so it is")
		want(t, "ended", v.EndedAt, start)
		want(t, "balance", c.free(anna), 2*price)
		want(t, "order", a.orders()[0].Goal, vm.Remove)
		a.reports(vm.Ready, id) // too late
		want(t, "ready after its failure", purse(c.stored(id)), sum(vm.Failed, 0, 0))
		a.reports(vm.Absent, id)
		want(t, "used", c.used(), capacity.Vector{})
		c.audit()
	})
}

// A batch with a VM of someone else deletes nothing.
func TestDeleteAllOrNothing(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		c.join(room(3))
		anna, bert := c.account("Anna", 4*price), c.account("Bert", 2*price)
		mine, also, foreign := c.deploy(anna), c.deploy(anna), c.deploy(bert)
		for name, ids := range map[string][]string{
			"foreign":  {mine, also, foreign},
			"unknown":  {mine, "0x0000000000000000000000000000000000000001"},
			"nonsense": {mine, "x"},
			"empty":    {mine, ""},
		} {
			_, err := c.DeleteVMs(t.Context(), anna, ids)
			wantFault(t, name, err, fault.NotFound)
		}
		want(t, "still there", purse(c.stored(mine)), sum(vm.New, 2*price, 0))
		removed, err := c.DeleteVMs(t.Context(), anna, []string{mine, mine, also})
		c.must("DeleteVMs", err)
		want(t, "removed", removed, []string{mine, also})
		want(t, "balances", []any{c.free(anna), c.free(bert)}, []any{4 * price, 0 * price})
		removed, err = c.DeleteVMs(t.Context(), anna, nil)
		c.must("DeleteVMs of none", err)
		want(t, "removed", removed, []string{})
		_, err = c.DeleteVMs(t.Context(), anna, make([]string, 10_001))
		wantFault(t, "too many", err, fault.Invalid)
		c.audit()
	})
}

// What waits too long is given up and paid back.
func TestSweep(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a, anna := c.join(room(4)), c.account("Anna", 8*price)
		waiting, launching, active, deleted := c.deploy(anna), c.deploy(anna), c.deploy(anna), c.deploy(anna)
		c.clock.advance(launch / 2)
		a.reports(vm.Preparing, launching)
		a.reports(vm.Ready, active)
		c.remove(anna, deleted)
		swept := func(count int) {
			t.Helper()
			n, err := c.Sweep(t.Context())
			c.must("Sweep", err)
			want(t, "swept", n, count)
		}
		c.clock.advance(launch/2 - 1*time.Microsecond)
		swept(0)
		c.clock.advance(time.Microsecond)
		swept(1)
		v := c.stored(waiting)
		want(t, "waiting", purse(v), sum(vm.Failed, 0, 0))
		want(t, "reason", v.Reason, "could not be launched within 10m0s: waiting for its server")
		c.clock.advance(launch)
		swept(1)
		want(t, "launching", purse(c.stored(launching)), sum(vm.Failed, 0, 0))
		c.clock.advance(1000 * launch)
		swept(0)
		want(t, "active", purse(c.stored(active)), sum(vm.Active, price, price))
		want(t, "balance", c.free(anna), 6*price)
		want(t, "used until the agent has removed them", c.used(), room(4))
		a.reports(vm.Absent, waiting, launching, deleted)
		want(t, "used", c.used(), room(1))
		c.audit()
	})
}

// A free VM needs no hold.
func TestFree(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a := c.join(room(1))
		c.must("Reprice", c.Reprice(t.Context(), operator, "Nord", market.Prices{}))
		anna := c.account("Anna", 0)
		id := c.deploy(anna)
		a.reports(vm.Ready, id)
		want(t, "ready", purse(c.stored(id)), sum(vm.Active, 0, 0))
		c.remove(anna, id)
		want(t, "deleted", purse(c.stored(id)), sum(vm.Stopped, 0, 0))
		c.audit()
	})
}

// The timeline tells the whole story in its order.
func TestTimeline(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a, anna := c.join(room(1)), c.account("Anna", 2*price)
		id := c.deploy(anna)
		tell := func(key, text string) vm.Step {
			c.clock.advance(time.Second)
			return vm.Step{Key: key, At: c.clock.Now(), Text: text}
		}
		fetch := tell("fetch", "fetching 1 %")
		c.must("Observe", a.sees(vm.Sighting{ID: id, Generation: 1, Phase: vm.Preparing, Steps: []vm.Step{fetch}}))
		fetch.Text = "fetched\n\x1b[31m\u202e!" // a stranger's text is made harmless
		c.must("Observe", a.sees(vm.Sighting{ID: id, Generation: 1, Phase: vm.Ready, Steps: []vm.Step{fetch, tell("boot", "booted")}}))
		c.clock.advance(time.Second)
		c.remove(anna, id)
		var events []vm.Event
		c.must("Events", c.db.Read(t.Context(), func(tx *store.Tx) (err error) {
			events, err = tx.Events(t.Context(), id)
			return err
		}))
		want(t, "timeline", events, []vm.Event{
			{At: start, Key: "accepted", Text: "accepted at 0.133442 USDC per epoch and placed in us-nyc-1; a deposit of 0.266884 USDC is reserved"},
			{At: start.Add(time.Second), Key: "agent:fetch", Text: "fetched  [31m !"},
			{At: start.Add(2 * time.Second), Key: "agent:boot", Text: "booted"},
			{At: start.Add(2 * time.Second), Key: "active", Text: "active at 10.1.0.1 after 2s; the first epoch was charged: 0.133442 USDC"},
			{At: start.Add(3 * time.Second), Key: "Stopped:1772366403000000", Text: "deleted by its customer; 0.133442 USDC were returned"},
		})
	})
}
