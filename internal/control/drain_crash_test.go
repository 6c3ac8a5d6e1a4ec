package control_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/store/storetest"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// mortal is a context that ends in the middle of something.
type mortal struct{ *storetest.Mortal }

func newMortal(ctx context.Context, questions int64) mortal {
	return mortal{storetest.NewMortal(ctx, questions)}
}

func (m mortal) end() { m.End() }

// drained is a server whose time to be drained has come, with VMs that are
// Active for half of their epoch by then.
type drained struct {
	shop
	agent *agent
	anna  account.Actor
	ids   []string
}

func (k shop) drained(vms int64) *drained {
	k.t.Helper()
	d := &drained{shop: k, agent: k.join(vms), anna: k.account("Anna", money.Amount(2*vms)*price)}
	for range vms {
		d.ids = append(d.ids, k.deploy(d.anna))
	}
	d.agent.reports(vm.Ready, d.ids...)
	k.drain(d.agent.id, epoch/2)
	k.clock.advance(epoch / 2)
	return d
}

// ended returns how many VMs have ended, and checks that each is either as it
// was, or ended once with all that belongs to it.
func (d *drained) ended() (n int) {
	d.t.Helper()
	for _, id := range d.ids {
		v := d.stored(id)
		returns := d.entries(ledger.Reserve(id), ledger.Return)
		if v.State == vm.Active {
			want(d.t, "VM", purse(v), sum(vm.Active, price, price))
			want(d.t, "VM is wanted", []any{v.Goal, v.Generation, len(returns)}, []any{vm.Run, int64(1), 0})
			continue
		}
		n++
		part := price.Share(v.ActivatedAt.Add(epoch).Sub(v.EndedAt).Microseconds(), epoch.Microseconds())
		want(d.t, "VM", purse(v), sum(vm.Terminated, price+part, price-part))
		want(d.t, "VM ended", []any{v.Goal, v.Generation, len(returns)}, []any{vm.Remove, int64(2), 1})
		want(d.t, "reserve", d.holds(ledger.Reserve(id)), price+part)
		told := 0
		for _, e := range d.story(d.anna, id).Timeline {
			if strings.HasPrefix(e.Text, "ended by its provider: its server was drained") {
				told++
			}
		}
		want(d.t, "times it was told", told, 1)
	}
	return n
}

// finished checks that all is done, and stays so.
func (d *drained) finished() {
	d.t.Helper()
	for range 2 {
		want(d.t, "VMs that ended", d.ended(), len(d.ids))
		s := d.look(d.agent.id)
		want(d.t, "server", []any{s.State, s.DrainDeadline}, []any{market.ServerCordoned, time.Time{}})
		d.clock.advance(time.Minute)
		d.endDrains(0)
	}
	d.agent.reports(vm.Absent, d.ids...)
	d.remove(d.anna, d.ids...)
	left := money.Amount(0)
	for _, id := range d.ids {
		left += 2*price - d.stored(id).Spent
	}
	want(d.t, "balance", d.free(d.anna), left)
}

// A process that ends between any two VMs leaves the rest to the next one.
func TestDrainRestarted(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		const vms = 3
		nord := c.shop("Nord", 1)
		for steps := range vms + 2 {
			d := nord.drained(vms)
			for step := range steps {
				more, err := d.StepDrain(t.Context(), d.agent.id)
				c.must("StepDrain", err)
				want(t, "there is more to do", more, step < vms)
			}
			want(t, "VMs that ended before", d.ended(), min(steps, vms))
			c.restart()
			c.clock.advance(time.Hour) // so that what is returned twice is not the same twice
			if steps <= vms {
				c.endDrains(1)
			}
			d.finished()
		}
		c.audit()
	})
}

// A store that fails at any statement leaves each VM as it was or ended, and
// trying again ends the rest.
func TestDrainCutOff(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, e storetest.Engine) {
		every := int64(7) // question; each statement asks a few
		if quick && e.Name == storetest.SQLite().Name {
			every = 2
		}
		c := newCloud(t, e.Open(t))
		nord := c.shop("Nord", 1)
		seen := map[int]int{} // how often so many VMs had ended when it was cut off
		for questions := int64(0); ; questions += every {
			d := nord.drained(2)
			ctx := newMortal(t.Context(), questions)
			_, err := c.EndDrains(ctx)
			whole := ctx.Context.Err() == nil
			ctx.end()
			if whole {
				c.must("EndDrains", err)
			}
			seen[d.ended()]++
			c.restart()
			c.clock.advance(time.Hour)
			if d.look(d.agent.id).State == market.ServerDraining {
				c.endDrains(1)
			}
			d.finished()
			if whole {
				break
			}
		}
		c.audit()
		for n := range 3 {
			if seen[n] < 2 {
				t.Errorf("it was cut off %d times when %d VMs had ended: %v", seen[n], n, seen)
			}
		}
	})
}

// Several that end a drain at once end each VM once.
func TestDrainEndedTogether(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		d := c.shop("Nord", 1).drained(6)
		first := c.Service
		c.restart()
		for _, err := range together(4, func(i int) error {
			service := first
			if i%2 == 0 {
				service = c.Service
			}
			_, err := service.EndDrains(t.Context())
			return err
		}) {
			c.must("EndDrains", err)
		}
		d.finished()
		c.audit()
	})
}

// A drain that is put off or lifted after it was found due ends no VM, or no
// more than it had.
func TestDrainPutOff(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		nord := c.shop("Nord", 1)
		for name, putOff := range map[string]struct {
			do    func(d *drained)
			state market.ServerState
		}{
			"put off": {func(d *drained) { nord.drain(d.agent.id, time.Hour) }, market.ServerDraining},
			"lifted": {func(d *drained) {
				_, err := c.Uncordon(t.Context(), nord.who, "Nord", d.agent.id)
				c.must("Uncordon", err)
			}, market.ServerOpen},
		} {
			for steps := range 3 {
				d := nord.drained(3)
				due, err := c.DueDrains(t.Context())
				c.must("DueDrains", err)
				want(t, name+": due", due, []string{d.agent.id})
				for range steps {
					_, err := c.StepDrain(t.Context(), due[0])
					c.must("StepDrain", err)
				}
				putOff.do(d)
				more, err := c.StepDrain(t.Context(), due[0])
				c.must("StepDrain", err)
				want(t, name+": more to do", more, false)
				want(t, name+": VMs that ended", d.ended(), steps)
				want(t, name+": server", nord.look(d.agent.id).State, putOff.state)
				c.endDrains(0)
				want(t, name+": VMs that ended later", d.ended(), steps)
				if putOff.state == market.ServerOpen {
					nord.drain(d.agent.id, time.Hour)
				}
				c.clock.advance(time.Hour)
				c.endDrains(1)
				d.finished()
			}
		}
		c.audit()
	})
}
