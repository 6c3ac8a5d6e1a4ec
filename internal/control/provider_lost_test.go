package control_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// silence lets a time pass, and notes which servers were not heard in it.
func (c *cloud) silence(d time.Duration) {
	c.t.Helper()
	c.clock.advance(d)
	c.must("NoteSilence", second(c.NoteSilence(c.t.Context())))
}

func (k shop) lose(server, reason string) control.Server {
	k.t.Helper()
	s, err := k.RemoveLost(k.t.Context(), k.who, k.name, server, reason)
	k.must("RemoveLost", err)
	return s
}

// A server that died with its VMs is removed: what was not delivered goes back,
// the customers read why, and nothing waits for an agent that will never speak.
func TestRemoveLost(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		nord, anna := c.shop("Nord", 1), c.account("Anna", 10*price)
		a := nord.join(5)
		active, fresh, failed, deleted, ended := c.deploy(anna), c.deploy(anna), c.deploy(anna), c.deploy(anna), c.deploy(anna)
		a.reports(vm.Ready, active, deleted, ended)
		a.reports(vm.Broken, failed)
		c.remove(anna, deleted)
		c.silence(epoch / 4)
		part := price.Share(3, 4)
		want(t, "returned before it is lost", nord.terminate(ended), part)
		nord.drain(a.id, epoch)

		s := nord.lose(a.id, "it burnt down")
		want(t, "server", []any{s.State, s.DrainDeadline, s.VMs, s.Used}, []any{market.ServerRemoved, time.Time{}, 0, capacity.Vector{}})
		wantTold(t, "server", nord.look(a.id).Timeline, "removed from the marketplace with 5 VMs: its server is lost: it burnt down")
		want(t, "VM", purse(c.stored(active)), sum(vm.Terminated, price+part, price-part))
		want(t, "VM that never ran", purse(c.stored(fresh)), sum(vm.Terminated, 2*price, 0))
		want(t, "VM that was ended before", purse(c.stored(ended)), sum(vm.Terminated, price+part, price-part))
		want(t, "others", []vm.State{c.stored(failed).State, c.stored(deleted).State}, []vm.State{vm.Failed, vm.Stopped})
		for _, id := range []string{active, fresh, failed, deleted, ended} {
			want(t, "gone", c.stored(id).Gone, true)
		}
		want(t, "reached, which its agent alone says", c.stored(active).Reached, int64(1))
		v := c.story(anna, active)
		want(t, "reason", v.Reason, "ended by its provider: its server is lost: it burnt down; its server was heard last at 2026-03-01T12:00:00Z")
		wantTold(t, "VM", v.Timeline, "ended by its provider: its server is lost: it burnt down; its server was heard last at 2026-03-01T12:00:00Z; "+
			"its disk is lost with the server; "+part.String()+" USDC for the part of the epoch")
		for _, e := range v.Timeline {
			if strings.Contains(e.Text, "heard again") {
				t.Errorf("the timeline promises what will not be: %s", e.Text)
			}
		}
		wantTold(t, "VM that was ended before", c.story(anna, ended).Timeline, "its server was removed from the marketplace, and its disk is lost with it")

		c.silence(epoch)
		c.endDrains(0)
		c.must("Sweep", second(c.Sweep(t.Context())))
		want(t, "used", c.used(), room(0))
		c.remove(anna, active, fresh, failed, ended)
		want(t, "balance", c.free(anna), 10*price-price-2*(price-part))
		want(t, "income", c.income(nord.providerID()), price+2*(price-part))
		want(t, "returns and refunds", []int{len(c.entries(ledger.Reserve(active), ledger.Return)), len(c.entries(ledger.Reserve(active), ledger.Refund))}, []int{1, 1})
		c.audit()
	})
}

// What is heard is not lost; who is removed stays so.
func TestRemoveLostRefused(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		nord, anna := c.shop("Nord", 1), c.account("Anna", 2*price)
		a := nord.join(1)
		id := c.deploy(anna)
		a.reports(vm.Ready, id)
		lose := func(who account.Actor, reason string) error {
			_, err := c.RemoveLost(t.Context(), who, "Nord", a.id, reason)
			return err
		}
		err := lose(nord.who, "")
		wantFault(t, "a server that is heard", err, fault.Conflict)
		want(t, "what is said", fault.Message(err), "server "+a.id+" is not lost: its agent was heard at 2026-03-01T12:00:00Z; "+
			"drain it, and remove it once that has purged its VMs")
		c.silence(time.Hour)
		a.reports(vm.Ready, id)
		wantFault(t, "one that is heard again", lose(nord.who, ""), fault.Conflict)
		c.silence(time.Hour)
		wantFault(t, "a reason of two lines", lose(nord.who, "a\nb"), fault.Invalid)
		wantFault(t, "a stranger's wish", lose(anna, ""), fault.NotFound)
		want(t, "VM", purse(c.stored(id)), sum(vm.Active, price, price))
		want(t, "server", nord.look(a.id).State, market.ServerOpen)

		c.must("RemoveLost", lose(nord.who, ""))
		want(t, "reason", strings.HasPrefix(c.stored(id).Reason, "ended by its provider: its server is lost; its server was heard last at "), true)
		wantFault(t, "once more", lose(nord.who, ""), fault.Conflict)
		_, err = c.AgentKey(t.Context(), a.id)
		wantFault(t, "its agent, back again", err, fault.Denied)
		wantFault(t, "its report, which was on the way", a.sees(), fault.Denied)
		want(t, "server that was heard too late", nord.look(a.id).SilentSince.IsZero(), false)
		again := nord.join(1) // as the machine does that joins anew
		want(t, "sells again", c.sells(), true)
		want(t, "orders of the new server", len(again.orders()), 0)
		c.audit()
	})
}

// A quote for a place on a lost server can't be used, and expires as ever.
func TestRemoveLostQuoted(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		nord, anna := c.shop("Nord", 1), c.account("Anna", 8*price)
		a := nord.join(3)
		c.deploy(anna)
		c.silence(time.Hour)
		a.reports(vm.Ready)
		quote, err := c.Quote(t.Context(), anna, wish(2), control.LongestQuote)
		c.must("Quote", err)
		c.silence(2 * time.Minute)
		want(t, "what quotes hold", nord.lose(a.id, "").Used, room(2))
		take := wish(2)
		take.QuoteID = quote.ID
		for _, then := range []func(){func() {}, c.restart} {
			then()
			_, err = c.Deploy(t.Context(), anna, take)
			wantFault(t, "a place on a lost server", err, fault.Conflict)
		}
		c.clock.advance(control.LongestQuote)
		n, err := c.ExpireQuotes(t.Context())
		c.must("ExpireQuotes", err)
		want(t, "quotes that expired", n, 1)
		want(t, "used", nord.look(a.id).Used, capacity.Vector{})
		want(t, "balance", c.free(anna), 6*price)
		c.audit()
	})
}
