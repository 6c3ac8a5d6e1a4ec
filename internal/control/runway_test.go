package control_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/vm"
)

func (c *cloud) outlook(who account.Actor) control.Outlook {
	c.t.Helper()
	o, err := c.Outlook(c.t.Context(), who)
	c.must("Outlook", err)
	return o
}

// What is foreseen comes, to the microsecond: a VM is short of money when the
// funds are used up, and powered off when that was said; and what was said to be
// paid in lasts 30 days longer.
func TestOutlook(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		c.grace = time.Hour
		c.restart()
		a, anna := c.join(room(3)), c.account("Anna", 9*price)
		first := c.deploy(anna)
		a.reports(vm.Ready, first)
		c.pass(5 * time.Hour)
		second := c.deploy(anna)
		a.reports(vm.Ready, second)
		o := c.outlook(anna)
		want(t, "cost", []money.Amount{o.PerEpoch, o.PerDay, o.Per30Days, o.BurnRate}, []money.Amount{2 * price, 2 * price, 60 * price, 2 * price})
		want(t, "next", *o.Next, control.Due{At: c.stored(first).NextBilling, Kind: control.DueCharge, VM: first, Name: "web", Amount: price})
		want(t, "VMs", o.VMs, []control.StateCost{{State: vm.Active, Count: 2, PerEpoch: 2 * price}})
		want(t, "funds last until", o.Until, c.stored(second).NextBilling.Add(2*epoch)) // 5 top-ups
		want(t, "power off", o.Off, o.Until.Add(epoch+time.Hour))

		c.pass(o.Until.Sub(c.clock.Now()) - time.Microsecond)
		want(t, "just before", []vm.State{c.stored(first).State, c.stored(second).State}, []vm.State{vm.Active, vm.Active})
		again := c.outlook(anna)
		want(t, "foreseen just before", []any{again.Until, again.Off, again.For30Days, again.Then}, []any{o.Until, o.Off, o.For30Days, o.Then})
		c.pass(time.Microsecond)
		want(t, "then", []vm.State{c.stored(first).State, c.stored(second).State}, []vm.State{vm.Active, vm.SmallBalance})
		short := c.outlook(anna)
		want(t, "until", []time.Time{short.Until, short.Off}, []time.Time{o.Until, o.Off})
		want(t, "warnings", keysOf(short), []string{"small_balance"})
		want(t, "next", short.Next.Kind, control.DueCharge) // of the first

		c.pass(o.Off.Sub(c.clock.Now()) - time.Microsecond)
		want(t, "next", *c.outlook(anna).Next, control.Due{At: o.Off, Kind: control.DuePowerOff, VM: second, Name: "web", Amount: price})
		c.pass(time.Microsecond)
		want(t, "powered off", []vm.State{c.stored(first).State, c.stored(second).State}, []vm.State{vm.SmallBalance, vm.InsufficientFunds})
		off := c.outlook(anna)
		want(t, "warnings", keysOf(off), []string{"small_balance", "powered_off"})
		want(t, "cost of what runs", off.PerEpoch, 1*price)
		want(t, "VMs", off.VMs, []control.StateCost{{State: vm.SmallBalance, Count: 1, PerEpoch: price}, {State: vm.InsufficientFunds, Count: 1, PerEpoch: price}})

		a.reports(vm.Halted, second)
		then := c.clock.Now().Add(30 * day)
		want(t, "for 30 days", off.Then, then)
		c.pay("For30Days", anna.AccountID, off.For30Days)
		a.reports(vm.Ready, second)
		c.pass(30*day - time.Microsecond)
		want(t, "30 days later", []vm.State{c.stored(first).State, c.stored(second).State}, []vm.State{vm.Active, vm.Active})
		want(t, "what is left", c.free(anna), 0*money.USDC)
		c.audit()
	})
}

const day = 24 * time.Hour

func keysOf(o control.Outlook) (keys []string) {
	for _, w := range o.Warnings {
		keys = append(keys, w.Key)
	}
	return keys
}

// An account without VMs has nothing to foresee, and one of VMs that cost nothing
// lasts for ever.
func TestOutlookOfNothing(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		anna := c.account("Anna", 0)
		in := invitation()
		in.Prices.VCPU, in.Prices.RAM, in.Prices.Storage, in.Prices.Address = 0, 0, 0, 0
		a := c.joinUnder(in, room(1))
		for _, count := range []int{0, 1} {
			o := c.outlook(anna)
			want(t, "runway", []any{o.Until, o.Off, o.PerEpoch, o.For30Days, len(o.Warnings), len(o.Events), len(o.VMs)},
				[]any{time.Time{}, time.Time{}, 0 * money.USDC, 0 * money.USDC, 0, 0, count})
			if count == 0 {
				a.reports(vm.Ready, c.deploy(anna))
			}
		}
	})
}

// A warning says what happens, when, and how much to pay in.
func TestWarningText(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a, anna := c.join(room(1)), c.account("Anna", 4*price)
		a.reports(vm.Ready, c.deploy(anna))
		o := c.outlook(anna)
		want(t, "keys", keysOf(o), []string{"funds_3d"})
		want(t, "text", o.Warnings[0].Text, "The balance of 0.266884 USDC lasts until 2026-03-04 12:00 UTC, 3 days from now. From then on web runs on what is paid; "+
			"unless the balance grows, web is powered off at 2026-03-05 12:00 UTC. Its disk is kept for 7 days. Add 4.00326 USDC to last until 2026-04-03 12:00 UTC.")
		c.pass(3 * epoch)
		text := c.outlook(anna).Warnings[0].Text
		for _, part := range []string{"web runs on what is paid", "It is powered off at 2026-03-05 12:00 UTC", "Add 4.00326 USDC"} {
			want(t, text+": says "+part, strings.Contains(text, part), true)
		}
		c.pass(epoch)
		text = c.outlook(anna).Warnings[0].Text
		for _, part := range []string{"web is powered off", "Its disk is kept until 2026-03-12 12:00 UTC", "to last until 2026-04-04 12:00 UTC"} {
			want(t, text+": says "+part, strings.Contains(text, part), true)
		}
	})
}
