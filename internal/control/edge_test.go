package control_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// At the edge of an epoch it is to the microsecond whether the next one is paid:
// one that began before DELETE is, one that did not is not, whether or not the
// loop came by in between, and whatever the clock did before.
func TestEpochEdge(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a := c.join(room(1))
		for _, run := range []struct {
			age    time.Duration // at DELETE
			epochs money.Amount  // that are paid
		}{
			{0, 1},
			{time.Microsecond, 1},
			{epoch - time.Microsecond, 1},
			{epoch, 1},
			{epoch + time.Microsecond, 2},
			{2 * epoch, 2},
			{2*epoch + time.Microsecond, 3},
			{7*epoch + time.Hour, 8},
		} {
			for _, billed := range []time.Duration{0, time.Microsecond, time.Hour} {
				name := fmt.Sprintf("deleted after %s, looked at %s before", run.age, billed)
				who := c.account(name, 20*price)
				id := c.deploy(who)
				a.reports(vm.Ready, id)
				since := c.clock.Now()
				if seen := run.age - billed; billed > 0 && seen > 0 {
					c.clock.advance(seen)
					c.must("Bill", second(c.Bill(t.Context())))
					c.must("Replenish", second(c.Replenish(t.Context())))
				}
				c.clock.advance(since.Add(run.age).Sub(c.clock.Now()))
				c.remove(who, id)
				want(t, name+": paid", 20*price-c.free(who), run.epochs*price)
				a.reports(vm.Absent, id)
			}
		}
		c.audit()
		c.sound()
	})
}

// A provider is paid for what was delivered, also of epochs that nobody had come
// to charge yet.
func TestTerminationAfterDowntime(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		nord, anna := c.shop("Nord", 1), c.account("Anna", 20*price)
		a := nord.join(1)
		id := c.deploy(anna)
		a.reports(vm.Ready, id)
		c.clock.advance(3*epoch + epoch/4)
		part := price.Share(3, 4)
		want(t, "returned", nord.terminate(id), part)
		want(t, "VM", purse(c.stored(id)), sum(vm.Terminated, price+part, 4*price-part))
		c.remove(anna, id)
		want(t, "paid", 20*price-c.free(anna), 4*price-part)
		c.sound()
	})
}

// A clock that is set back charges nothing twice and nothing early; one that is
// ten years ahead ends what can't be paid, and no amount overflows.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a, anna := c.join(room(2)), c.account("Anna", 10*price)
		id := c.deploy(anna)
		a.reports(vm.Ready, id)
		c.pass(epoch)
		before := c.stored(id)
		want(t, "after an epoch", purse(before), sum(vm.Active, price, 2*price))
		c.clock.advance(-300 * epoch)
		c.pass(time.Hour)
		c.must("Bill", second(c.Bill(t.Context())))
		want(t, "set back", purse(c.stored(id)), purse(before))
		want(t, "next billing", c.stored(id).NextBilling, before.NextBilling)
		early := c.deploy(anna)
		a.reports(vm.Ready, early)
		want(t, "a VM of then", purse(c.stored(early)), sum(vm.Active, price, price))
		c.remove(anna, early)
		c.clock.advance(300*epoch - time.Hour)
		c.must("Bill", second(c.Bill(t.Context())))
		want(t, "the time is back", c.stored(id).Spent >= 2*price, true)

		c.clock.advance(10 * 365 * epoch)
		c.must("Bill", second(c.Bill(t.Context())))
		c.must("Sweep", second(c.Sweep(t.Context())))
		paid := c.stored(id).Spent + c.stored(early).Spent
		want(t, "all that there was is paid, and no more", []any{paid, c.free(anna)}, []any{10 * price, money.Amount(0)})
		want(t, "state", c.stored(id).State, vm.InsufficientFunds)
		c.pass(retention)
		want(t, "state", c.stored(id).State, vm.Terminated)
		c.sound()
	})
}
