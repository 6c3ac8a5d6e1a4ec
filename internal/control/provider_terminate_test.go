package control_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

func (k shop) providerID() string {
	k.t.Helper()
	own, err := k.Providers(k.t.Context(), k.who)
	k.must("Providers", err)
	return own[0].ID
}

func (k shop) terminate(id string) money.Amount {
	k.t.Helper()
	ended, err := k.TerminateVM(k.t.Context(), k.who, k.name, id, "it sends spam")
	k.must("TerminateVM", err)
	want(k.t, "answer", []any{ended.ID, ended.State}, []any{id, vm.Terminated})
	return ended.Returned
}

// A provider ends a VM: what is not delivered goes back to its reserve, its
// agent purges it, and its customer gets the reserve by deleting it, once.
func TestTerminate(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		nord, anna := c.shop("Nord", 1), c.account("Anna", 2*price)
		a := nord.join(1)
		id := c.deploy(anna)
		a.reports(vm.Ready, id)
		c.clock.advance(epoch / 4)
		before, err := c.Orders(t.Context(), a.id)
		c.must("Orders", err)
		news, cancel := c.Changes(a.id)
		defer cancel()
		part := price.Share(3, 4)
		want(t, "returned", nord.terminate(id), part)
		select {
		case <-news:
		default:
			t.Error("the agent was not told")
		}
		after, err := c.Orders(t.Context(), a.id)
		c.must("Orders", err)
		want(t, "list is newer", before.Older(after), true)
		v := c.stored(id)
		want(t, "VM", purse(v), sum(vm.Terminated, price+part, price-part))
		want(t, "order", []any{a.orders()[0].Goal, a.orders()[0].Generation}, []any{vm.Remove, int64(2)})
		want(t, "ended", []any{v.EndedAt, v.State.Addressed()}, []any{c.clock.Now(), false})
		want(t, "reason", v.Reason, "ended by its provider: it sends spam")
		want(t, "earned", c.holds(ledger.Earned(nord.providerID())), price-part)
		shown, err := c.VM(t.Context(), anna, id)
		c.must("VM", err)
		wantTold(t, "VM", shown.Timeline, "ended by its provider: it sends spam; its disk is purged; "+part.String()+
			" USDC for the part of the epoch that was not delivered went back to its reserve. Delete it to get back its reserve of "+(price+part).String()+" USDC")

		c.clock.advance(time.Hour)
		want(t, "returned as before", nord.terminate(id), part)
		want(t, "VM", purse(c.stored(id)), sum(vm.Terminated, price+part, price-part))
		_, err = c.Deploy(t.Context(), c.account("Bert", 2*price), wish(1))
		wantFault(t, "deploy before the place is free", err, fault.Unsatisfiable)
		a.reports(vm.Absent, id)
		want(t, "used", c.used(), room(0))
		want(t, "VM", purse(c.stored(id)), sum(vm.Terminated, price+part, price-part))

		c.remove(anna, id)
		c.remove(anna, id)
		want(t, "balance", c.free(anna), price+part)
		want(t, "VM", purse(c.stored(id)), sum(vm.Stopped, 0, price-part))
		want(t, "returns", len(c.entries(ledger.Reserve(id), ledger.Return)), 1)
		want(t, "refunds", len(c.entries(ledger.Reserve(id), ledger.Refund)), 1)
		c.audit()
	})
}

// The record and the whole deposit of a VM that never became Active stay until
// its customer deletes it; an epoch that is over was delivered.
func TestTerminateAtTheEdges(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		nord := c.shop("Nord", 1)
		a := nord.join(9)
		for name, row := range map[string]struct {
			after  time.Duration
			phase  vm.Phase
			part   money.Amount
			epochs money.Amount // that had begun; two are paid for
		}{
			"new":                 {0, "", 0, 0},
			"launching":           {0, vm.Booting, 0, 0},
			"at once":             {0, vm.Ready, price, 1},
			"after half an epoch": {epoch / 2, vm.Ready, price / 2, 1},
			"a moment before":     {epoch - time.Microsecond, vm.Ready, 0, 1},
			"at the end":          {epoch, vm.Ready, 0, 1},
			"long after":          {5 * epoch, vm.Ready, 0, 2},
			"clock set back":      {-time.Hour, vm.Ready, price, 1},
		} {
			anna := c.account(name, 2*price)
			id := c.deploy(anna)
			if row.phase != "" {
				a.reports(row.phase, id)
			}
			c.clock.advance(row.after)
			want(t, name+": returned", nord.terminate(id), row.part)
			spent := row.epochs*price - row.part
			want(t, name, purse(c.stored(id)), sum(vm.Terminated, 2*price-spent, spent))
			want(t, name+": deadline", c.stored(id).Deadline, time.Time{})
			c.remove(anna, id)
			want(t, name+": balance", c.free(anna), 2*price-spent)
			a.reports(vm.Absent, id)
		}
		c.audit()
	})
}

// What ended otherwise is not ended by its provider, and a reason is needed.
func TestTerminateRefused(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		nord, anna := c.shop("Nord", 1), c.account("Anna", 8*price)
		a := nord.join(3)
		deleted, failed, id := c.deploy(anna), c.deploy(anna), c.deploy(anna)
		c.remove(anna, deleted)
		a.reports(vm.Broken, failed)
		before := c.free(anna)
		for vmID, says := range map[string]string{deleted: "it is Stopped", failed: "it is Failed"} {
			_, err := c.TerminateVM(t.Context(), nord.who, "Nord", vmID, "why not")
			wantFault(t, says, err, fault.Conflict)
			want(t, "what is said", fault.Message(err), "VM "+vmID+" has ended already: "+says)
		}
		for _, reason := range []string{"", " ", "a\nb", "a\u202eb", "\x00", "\xff", strings.Repeat("x", 501)} {
			_, err := c.TerminateVM(t.Context(), nord.who, "Nord", id, reason)
			wantFault(t, "reason "+reason, err, fault.Invalid)
		}
		want(t, "VM", purse(c.stored(id)), sum(vm.New, 2*price, 0))
		want(t, "balance", c.free(anna), before)
		_, err := c.TerminateVM(t.Context(), nord.who, "Nord", id, strings.Repeat("ü", 500))
		c.must("TerminateVM", err)
	})
}

// A VM that costs nothing is ended all the same.
func TestTerminateForFree(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		nord, anna := c.shop("Nord", 1), c.account("Anna", 0)
		d := declared(1)
		d.Offers[0].VCPU, d.Offers[0].RAM, d.Offers[0].Storage, d.Offers[0].Address = "0", "0", "0", "0"
		nord.apply(d)
		a := nord.join(1)
		id := c.deploy(anna)
		a.reports(vm.Ready, id)
		want(t, "returned", nord.terminate(id), money.Amount(0))
		c.remove(anna, id)
		want(t, "VM", purse(c.stored(id)), sum(vm.Stopped, 0, 0))
		c.audit()
	})
}

// Earnings are summed up by VM, server or day, with the newest first.
func TestEarnings(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		nord, sued, anna := c.shop("Nord", 1), c.shop("Sued", 2), c.account("Anna", 80*price)
		a := nord.enroll(control.ServerInvitation{Name: "one"}, inventory(room(2)))
		first, second := c.deploy(anna), c.deploy(anna)
		b := nord.join(1)
		third := c.deploy(anna)
		other := sued.join(1)
		foreign := c.deploy(anna)
		a.reports(vm.Ready, first)
		c.clock.advance(6 * time.Hour)
		a.reports(vm.Ready, second)
		b.reports(vm.Ready, third)
		other.reports(vm.Ready, foreign)
		c.clock.advance(12 * time.Hour) // on the next day
		half := nord.terminate(second)
		want(t, "half of an epoch", half, price/2)

		earnings := func(by control.EarningsBy, since time.Time) []store.Earning {
			e, err := c.Earnings(t.Context(), nord.who, "Nord", by, since)
			c.must("Earnings", err)
			want(t, "pending", []money.Amount{e.Pending, e.Earned}, []money.Amount{2 * price, price - half})
			return e.Rows
		}
		byVM := earnings(control.EarningsByVM, time.Time{})
		want(t, "the newest VM", byVM[0], store.Earning{Key: second, Charged: price, Returned: half, Epochs: 1})
		want(t, "the others", byVM[1:], []store.Earning{{Key: third, Charged: price, Epochs: 1}, {Key: first, Charged: price, Epochs: 1}})
		want(t, "by server", earnings(control.EarningsByServer, time.Time{}), []store.Earning{
			{Key: a.id, ServerName: "one", Charged: 2 * price, Returned: half, Epochs: 2}, {Key: b.id, Charged: price, Epochs: 1},
		})
		want(t, "by day", earnings(control.EarningsByDay, time.Time{}), []store.Earning{
			{Key: "2026-03-02", Returned: half}, {Key: "2026-03-01", Charged: 3 * price, Epochs: 3},
		})
		want(t, "since", earnings(control.EarningsByDay, start.Add(6*time.Hour)), []store.Earning{
			{Key: "2026-03-02", Returned: half}, {Key: "2026-03-01", Charged: 2 * price, Epochs: 2},
		})
		want(t, "in time to come", earnings(control.EarningsByVM, start.Add(19*time.Hour)), []store.Earning{})
		_, err := c.Earnings(t.Context(), nord.who, "Nord", "year", time.Time{})
		wantFault(t, "by year", err, fault.Invalid)
		want(t, "state of a server", nord.look(a.id).State, market.ServerOpen)
	})
}
