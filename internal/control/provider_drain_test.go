package control_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/store/storetest"
	"github.com/cpucloud/cpucloud/internal/vm"
)

func (k shop) drain(server string, within time.Duration) control.Server {
	k.t.Helper()
	s, err := k.Drain(k.t.Context(), k.who, k.name, server, within, "the rack moves")
	k.must("Drain", err)
	return s
}

func (c *cloud) endDrains(n int) {
	c.t.Helper()
	got, err := c.EndDrains(c.t.Context())
	c.must("EndDrains", err)
	want(c.t, "drains that ended", got, n)
}

func (c *cloud) story(who account.Actor, id string) control.VM {
	c.t.Helper()
	v, err := c.VM(c.t.Context(), who, id)
	c.must("VM", err)
	return v
}

// Customers are told when a server is drained, and what is left then is ended
// by its provider.
func TestDrain(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		nord, anna, bert := c.shop("Nord", 1), c.account("Anna", 8*price), c.account("Bert", 2*price)
		a := nord.join(4)
		active, fresh, deleted, late := c.deploy(anna), c.deploy(anna), c.deploy(anna), c.deploy(bert)
		a.reports(vm.Ready, active, late)
		c.remove(anna, deleted)
		s := nord.drain(a.id, 6*time.Hour)
		deadline := start.Add(6 * time.Hour)
		want(t, "server", []any{s.State, s.DrainDeadline}, []any{market.ServerDraining, deadline})
		for _, id := range []string{active, fresh} {
			v := c.story(anna, id)
			want(t, "drained at", v.DrainedAt, deadline)
			wantTold(t, "VM", v.Timeline, "its provider will end it at 2026-03-01T18:00:00Z, with all that is on its server (the rack moves). What is not "+
				"delivered of the epoch then is returned with its reserve, and its disk is purged: save what you need and deploy anew elsewhere before")
		}
		_, err := c.Deploy(t.Context(), anna, wish(1))
		wantFault(t, "deploy on a draining server", err, fault.Unsatisfiable)
		_, err = c.Cordon(t.Context(), nord.who, "Nord", a.id)
		c.must("Cordon", err)
		want(t, "it is drained all the same", nord.look(a.id).State, market.ServerDraining)

		c.clock.advance(6*time.Hour - 1)
		c.endDrains(0)
		want(t, "VM", purse(c.stored(active)), sum(vm.Active, price, price))
		c.remove(bert, late)
		c.clock.advance(1)
		c.endDrains(1)
		part := price.Share(3, 4)
		want(t, "VM", purse(c.stored(active)), sum(vm.Terminated, price+part, price-part))
		want(t, "VM that never ran", purse(c.stored(fresh)), sum(vm.Terminated, 2*price, 0))
		want(t, "VMs that were deleted", []vm.State{c.stored(deleted).State, c.stored(late).State}, []vm.State{vm.Stopped, vm.Stopped})
		want(t, "reason", c.stored(active).Reason, "ended by its provider: its server was drained")
		for _, o := range a.orders() {
			want(t, "goal", o.Goal, vm.Remove)
		}
		s = nord.look(a.id)
		want(t, "server", []any{s.State, s.DrainDeadline, s.VMs}, []any{market.ServerCordoned, time.Time{}, 4})
		wantTold(t, "server", s.Timeline, "drained: all its VMs have ended and it stays cordoned; its agent still has to purge 4")
		c.endDrains(0)
		a.reports(vm.Absent, active, fresh, deleted, late)
		want(t, "used", c.used(), room(0))
		_, err = c.Remove(t.Context(), nord.who, "Nord", a.id)
		c.must("Remove", err)
		c.remove(anna, active, fresh)
		want(t, "balance", c.free(anna), 7*price+part)
		want(t, "income", c.income(nord.providerID()), 2*price-part)
		c.audit()
	})
}

// The time may be changed, and draining lifted: the customers are told.
func TestDrainChanged(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		nord, anna := c.shop("Nord", 1), c.account("Anna", 8*price)
		a := nord.join(2)
		id := c.deploy(anna)
		for _, within := range []time.Duration{0, time.Hour - 1, 30*24*time.Hour + 1, -time.Hour} {
			_, err := c.Drain(t.Context(), nord.who, "Nord", a.id, within, "")
			wantFault(t, "drained within "+within.String(), err, fault.Invalid)
		}
		_, err := c.Drain(t.Context(), nord.who, "Nord", a.id, time.Hour, "a\nb")
		wantFault(t, "a reason of two lines", err, fault.Invalid)
		want(t, "state", nord.look(a.id).State, market.ServerOpen)
		nord.drain(a.id, time.Hour)
		c.clock.advance(time.Minute)
		_, err = c.Drain(t.Context(), nord.who, "Nord", a.id, 30*24*time.Hour, "")
		c.must("Drain", err)
		wantTold(t, "VM", c.story(anna, id).Timeline, "the time was changed: its provider will end it at 2026-03-31T12:01:00Z, with all that is on its server. What")
		wantTold(t, "server", nord.look(a.id).Timeline, "the time of draining was changed: VMs that are left at 2026-03-31T12:01:00Z are ended")
		c.clock.advance(2 * time.Hour)
		c.endDrains(0)
		c.clock.advance(time.Minute)
		s, err := c.Uncordon(t.Context(), nord.who, "Nord", a.id)
		c.must("Uncordon", err)
		want(t, "server", []any{s.State, s.DrainDeadline}, []any{market.ServerOpen, time.Time{}})
		v := c.story(anna, id)
		wantTold(t, "VM", v.Timeline, "its server is not drained any more: it runs on")
		want(t, "drained at", v.DrainedAt, time.Time{})
		c.clock.advance(31 * 24 * time.Hour)
		c.endDrains(0)
		want(t, "VM", c.stored(id).State, vm.New)
		c.deploy(anna)
	})
}

// A VM of a server that nobody hears is ended in the books: its customer gets the
// money and reads why; its place is free when its agent says so, and not before.
func TestDrainSilent(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		nord, anna := c.shop("Nord", 1), c.account("Anna", 2*price)
		a := nord.join(1)
		id := c.deploy(anna)
		a.reports(vm.Ready, id)
		c.clock.advance(time.Hour)
		_, err := c.NoteSilence(t.Context())
		c.must("NoteSilence", err)
		nord.drain(a.id, 5*time.Hour)
		c.clock.advance(5 * time.Hour)
		c.endDrains(1)
		part := price.Share(3, 4)
		v := c.stored(id)
		want(t, "VM", purse(v), sum(vm.Terminated, price+part, price-part))
		want(t, "reason", v.Reason, "ended by its provider: its server was drained; its server was heard last at 2026-03-01T12:00:00Z")
		wantTold(t, "VM", c.story(anna, id).Timeline, "its disk is purged once its server is heard again")
		want(t, "used", c.used(), room(1))
		want(t, "server", nord.look(a.id).State, market.ServerCordoned)
		_, err = c.Remove(t.Context(), nord.who, "Nord", a.id)
		wantFault(t, "a server that still holds a disk", err, fault.Conflict)
		a.reports(vm.Absent, id)
		want(t, "used", c.used(), room(0))
		c.remove(anna, id)
		want(t, "balance", c.free(anna), price+part)
		c.audit()
	})
}

// An empty server is left cordoned at its time; one that can't be emptied holds
// up no other.
func TestDrainEmpty(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		nord := c.shop("Nord", 1)
		a, b := nord.join(1), nord.join(1)
		nord.drain(a.id, time.Hour)
		nord.drain(b.id, 2*time.Hour)
		c.clock.advance(time.Hour)
		c.endDrains(1)
		s := nord.look(a.id)
		want(t, "server", s.State, market.ServerCordoned)
		wantTold(t, "server", s.Timeline, "drained: it is empty and stays cordoned")
		want(t, "the other one", nord.look(b.id).State, market.ServerDraining)
		want(t, "told once", strings.Count(s.Timeline[len(s.Timeline)-1].Text, "drained"), 1)
	})
}

// A drain ends by itself at its time.
func TestDrainInTheLoop(t *testing.T) {
	t.Parallel()
	url := storetest.SQLite().URL(t)
	synctest.Test(t, func(t *testing.T) {
		db, err := store.Open(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = db.Close() }()
		c := newCloud(t, db)
		nord := c.shop("Nord", 1)
		a := nord.join(1)
		id := c.deploy(c.account("Anna", 2*price))
		a.reports(vm.Ready, id)
		nord.drain(a.id, time.Hour)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			c.Run(ctx)
			close(ended)
		}()
		time.Sleep(time.Minute) // of the bubble's clock
		synctest.Wait()
		want(t, "VM before", c.stored(id).State, vm.Active)
		c.clock.advance(time.Hour)
		time.Sleep(time.Minute)
		synctest.Wait()
		cancel()
		<-ended
		want(t, "VM", c.stored(id).State, vm.Terminated)
		want(t, "server", nord.look(a.id).State, market.ServerCordoned)
	})
}
