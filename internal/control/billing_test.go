package control_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// pass lets time go by, with all that falls due on the way.
func (c *cloud) pass(d time.Duration) {
	c.t.Helper()
	_, err := c.AdvanceClock(c.t.Context(), operator, d)
	c.must("AdvanceClock", err)
}

// gift is a credit of an amount.
func gift(amount money.Amount) control.Credit {
	return control.Credit{Amount: amount, Note: "a gift"}
}

func (c *cloud) pay(name string, accountID string, amount money.Amount) {
	c.t.Helper()
	_, err := c.Credit(c.t.Context(), operator, accountID, gift(amount))
	c.must(name, err)
}

// A VM is charged at the end of each epoch and its reserve filled again, until
// the money is gone: it runs on what is paid, is powered off with its disk, and
// starts again when its customer pays.
func TestBilling(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a, anna := c.join(room(2)), c.account("Anna", 4*price)
		id := c.deploy(anna)
		a.reports(vm.Ready, id)
		active := c.clock.Now()
		provider := c.stored(id).ProviderID
		earned := func() []money.Amount {
			return []money.Amount{c.holds(ledger.Pending(provider)), c.holds(ledger.Earned(provider))}
		}
		want(t, "free", c.free(anna), 2*price)

		c.pass(epoch - time.Microsecond)
		want(t, "just before the epoch's end", purse(c.stored(id)), sum(vm.Active, price, price))
		c.pass(time.Microsecond)
		want(t, "second epoch", purse(c.stored(id)), sum(vm.Active, price, 2*price))
		want(t, "free", c.free(anna), price)
		want(t, "next billing", c.stored(id).NextBilling, active.Add(2*epoch).UTC())
		want(t, "earned", earned(), []money.Amount{price, price})
		c.pass(epoch)
		want(t, "third epoch", purse(c.stored(id)), sum(vm.Active, price, 3*price))
		want(t, "free", c.free(anna), 0*price)
		c.pass(epoch)
		v := c.stored(id)
		want(t, "fourth epoch, the last that is paid", purse(v), sum(vm.SmallBalance, 0, 4*price))
		want(t, "it says until when", strings.Contains(v.Reason, v.NextBilling.Format(time.RFC3339)), true)
		want(t, "wanted", a.orders()[0].Goal, vm.Run)

		c.pass(epoch)
		v = c.stored(id)
		want(t, "nothing is paid", purse(v), sum(vm.InsufficientFunds, 0, 4*price))
		want(t, "reason and time", []any{v.Reason, v.Deadline, v.NextBilling}, []any{vm.PaymentDue, c.clock.Now().Add(retention).UTC(), time.Time{}})
		want(t, "wanted", a.orders()[0].Goal, vm.Halt)
		a.reports(vm.Booting, id) // it is about to obey
		want(t, "reason while it runs on", c.stored(id).Reason, vm.PaymentDue)
		want(t, "place and address are kept", c.used(), room(1))
		want(t, "earned", earned(), []money.Amount{0, 4 * price})
		a.reports(vm.Halted, id)
		c.pass(3 * epoch)
		want(t, "later", purse(c.stored(id)), sum(vm.InsufficientFunds, 0, 4*price))

		c.pay("less than it needs", anna.AccountID, 2*price-1)
		want(t, "less than it needs", purse(c.stored(id)), sum(vm.InsufficientFunds, 0, 4*price))
		c.pay("enough", anna.AccountID, 1)
		v = c.stored(id)
		want(t, "paid", purse(v), sum(vm.Launching, 2*price, 4*price))
		want(t, "deadline", v.Deadline, time.Time{})
		want(t, "wanted", []any{a.orders()[0].Goal, a.orders()[0].Address}, []any{vm.Run, v.Address})
		a.reports(vm.Broken, id)
		want(t, "it can't be started at once", purse(c.stored(id)), sum(vm.Launching, 2*price, 4*price))
		c.pass(time.Hour)
		a.reports(vm.Ready, id)
		v = c.stored(id)
		want(t, "active again", purse(v), sum(vm.Active, price, 5*price))
		want(t, "a new epoch", v.NextBilling, c.clock.Now().Add(epoch).UTC())

		c.remove(anna, id)
		want(t, "free", c.free(anna), price)
		want(t, "earned", earned(), []money.Amount{0, 5 * price})
		c.audit()
	})
}

// A VM that is not paid for is ended when its retention is over: its disk is
// purged, and what is left of its reserve stays until its customer deletes it.
func TestRetention(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a, anna := c.join(room(1)), c.account("Anna", 2*price)
		id := c.deploy(anna)
		a.reports(vm.Ready, id)
		c.pass(epoch)
		want(t, "one epoch is paid", purse(c.stored(id)), sum(vm.SmallBalance, 0, 2*price))
		c.pass(epoch)
		want(t, "none is", purse(c.stored(id)), sum(vm.InsufficientFunds, 0, 2*price))
		c.pass(retention - time.Second)
		want(t, "kept", c.stored(id).State, vm.InsufficientFunds)
		c.pass(time.Second)
		want(t, "ended", purse(c.stored(id)), sum(vm.Terminated, 0, 2*price))
		want(t, "wanted", a.orders()[0].Goal, vm.Remove)
		c.pay("too late", anna.AccountID, 9*price)
		want(t, "nothing is taken any more", []any{c.stored(id).State, c.free(anna)}, []any{vm.Terminated, 9 * price})
		a.reports(vm.Absent, id)
		want(t, "used", c.used(), room(0))
		c.remove(anna, id)
		c.audit()
	})
}

// With a grace a VM runs on for it with its epoch unpaid, and money that comes
// meanwhile pays from when the epoch began.
func TestGrace(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		c.grace = 6 * time.Hour
		c.restart()
		a, anna := c.join(room(1)), c.account("Anna", 2*price)
		id := c.deploy(anna)
		a.reports(vm.Ready, id)
		due := c.stored(id).NextBilling
		c.pass(2*epoch + 5*time.Hour)
		want(t, "in its grace", purse(c.stored(id)), sum(vm.SmallBalance, 0, 2*price))
		c.pay("two epochs", anna.AccountID, 2*price)
		v := c.stored(id)
		want(t, "paid", purse(v), sum(vm.Active, price, 3*price))
		want(t, "next billing", v.NextBilling, due.Add(2*epoch))
		c.pass(2*epoch + time.Hour)
		want(t, "its grace is over", purse(c.stored(id)), sum(vm.InsufficientFunds, 0, 4*price))
		c.audit()
	})
}

// Epochs that went by while the control plane was away are charged one by one.
func TestBillingAfterDowntime(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a, anna := c.join(room(1)), c.account("Anna", 9*price)
		id := c.deploy(anna)
		a.reports(vm.Ready, id)
		due := c.stored(id).NextBilling
		c.clock.advance(72*time.Hour + time.Minute)
		c.restart()
		n, err := c.Bill(t.Context())
		c.must("Bill", err)
		want(t, "billed", n, 1)
		v := c.stored(id)
		want(t, "money", purse(v), sum(vm.Active, price, 4*price))
		want(t, "no drift", v.NextBilling, due.Add(3*epoch))
		epochs := []int64{}
		for _, e := range c.entries(ledger.Reserve(id), ledger.Charge) {
			epochs = append(epochs, e.Epoch)
		}
		want(t, "epochs", epochs, []int64{1, 2, 3, 4})
		n, err = c.Bill(t.Context())
		c.must("Bill", err)
		want(t, "billed again", n, 0)
		c.audit()
	})
}

// The platform keeps its fee of what providers earn, rounded once for each epoch.
func TestFee(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		c.fee = 25_000 // 2.5 %
		c.restart()
		a, anna := c.join(room(2)), c.account("Anna", 20*price)
		first, second := c.deploy(anna), c.deploy(anna)
		a.reports(vm.Ready, first, second)
		c.pass(epoch)
		provider, fee := c.stored(first).ProviderID, c.fee.Of(price)
		want(t, "fee", c.holds(ledger.Platform), 2*fee)
		want(t, "earned", c.holds(ledger.Earned(provider)), 2*(price-fee))
		want(t, "pending", c.holds(ledger.Pending(provider)), 2*price)
		c.audit()
	})
}

// Several replicas may bill at the same time: each epoch is charged once.
func TestBillingTogether(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		const vms = 30
		a, anna := c.join(room(vms)), c.account("Anna", vms*10*price)
		made, err := c.Deploy(t.Context(), anna, wish(vms))
		c.must("Deploy", err)
		ids := make([]string, vms)
		for i, m := range made {
			ids[i] = m.ID
		}
		a.reports(vm.Ready, ids...)
		first := c.Service
		c.restart()
		c.clock.advance(3 * epoch)
		for _, err := range together(6, func(i int) error {
			s := first
			if i%2 == 1 {
				s = c.Service
			}
			_, err := s.Bill(t.Context())
			return err
		}) {
			c.must("Bill", err)
		}
		for _, id := range ids {
			want(t, "VM", purse(c.stored(id)), sum(vm.Active, price, 4*price))
		}
		want(t, "free", c.free(anna), vms*5*price)
		c.audit()
	})
}

// Of VMs that wait for money the one that waits longest goes first, and each
// takes all that it needs or nothing.
func TestReplenishInOrder(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a, anna := c.join(room(3)), c.account("Anna", 6*price)
		var ids []string
		for range 3 {
			id := c.deploy(anna)
			a.reports(vm.Ready, id)
			ids = append(ids, id)
			c.clock.advance(time.Minute)
		}
		c.pass(epoch)
		states := func() (list []vm.State) {
			for _, id := range ids {
				list = append(list, c.stored(id).State)
			}
			return list
		}
		want(t, "all are short", states(), []vm.State{vm.SmallBalance, vm.SmallBalance, vm.SmallBalance})
		c.pay("for one and a bit", anna.AccountID, price+price/2)
		want(t, "the first is paid", states(), []vm.State{vm.Active, vm.SmallBalance, vm.SmallBalance})
		c.pay("for the next", anna.AccountID, price/2+price%2)
		want(t, "the second is, too", states(), []vm.State{vm.Active, vm.Active, vm.SmallBalance})
		want(t, "free", c.free(anna), 0*price)
		c.audit()
	})
}
