package control_test

import (
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// A cordoned server sells nothing and keeps what it has; uncordoned it sells
// again.
func TestCordon(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		nord, anna := c.shop("Nord", 1), c.account("Anna", 8*price)
		a := nord.join(3)
		id := c.deploy(anna)
		for range 2 { // twice is as good as once
			s, err := c.Cordon(t.Context(), nord.who, "Nord", a.id)
			c.must("Cordon", err)
			want(t, "server", []any{s.State, s.VMs}, []any{market.ServerCordoned, 1})
		}
		_, err := c.Estimate(market.Constraints{}, 1)
		wantFault(t, "estimate of a cordoned server", err, fault.Unsatisfiable)
		_, err = c.Deploy(t.Context(), anna, wish(1))
		wantFault(t, "deploy on a cordoned server", err, fault.Unsatisfiable)
		a.reports(vm.Ready, id)
		want(t, "VM", purse(c.stored(id)), sum(vm.Active, price, price))
		_, err = c.Uncordon(t.Context(), nord.who, "Nord", a.id)
		c.must("Uncordon", err)
		c.deploy(anna)
		one := nord.look(a.id)
		want(t, "VMs there", len(one.There), 2)
		want(t, "timeline", len(one.Timeline), 3)
		wantTold(t, "server", one.Timeline, "cordoned: nothing more is placed on it")
		wantTold(t, "server", one.Timeline, "uncordoned: open for new VMs")
	})
}

// Which of two machines is the server is for its provider to say.
func TestUncordonCopied(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		nord, anna := c.shop("Nord", 1), c.account("Anna", 8*price)
		a := nord.join(3)
		speaks := func(instance string) error {
			a.sequence++
			return c.Observe(t.Context(), a.id, vm.Report{Sequence: a.sequence, Instance: instance, Inventory: a.inv})
		}
		c.must("first", speaks("one"))
		c.must("second", speaks("two"))
		wantFault(t, "the copy", speaks("one"), fault.Conflict)
		_, err := c.Deploy(t.Context(), anna, wish(1))
		wantFault(t, "deploy on a server that two machines are", err, fault.Unsatisfiable)
		s, err := c.Uncordon(t.Context(), nord.who, "Nord", a.id)
		c.must("Uncordon", err)
		want(t, "problem", s.Problem, "")
		c.deploy(anna)
		c.must("the one that is left", speaks("one"))
		c.must("and again", speaks("one"))
	})
}

// Other hardware is sold once its provider says so, by the offer that names it
// and not before it was reported.
func TestUncordonHardware(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		nord, anna := c.shop("Nord", 1), c.account("Anna", 80*price)
		d := declared(1)
		d.Offers[0].Hardware = amd
		d.Offers = append(d.Offers, listedAt("us-nyc-1", "blue", intel))
		nord.apply(d)
		a := nord.join(3)
		want(t, "offer", nord.look(a.id).Offer.Name, "standard")
		other := a.inv
		other.Hardware.CPU.Manufacturer = "Intel"
		a.inv = other
		c.must("Observe", a.sees())
		for range 2 {
			s, err := c.Uncordon(t.Context(), nord.who, "Nord", a.id)
			c.must("Uncordon", err)
			want(t, "state", s.State, market.ServerOpen)
			want(t, "problem", s.Problem, "hardware: it is listed as what its next report says")
		}
		nord.apply(d) // which doesn't know the hardware either
		_, err := c.Deploy(t.Context(), anna, wish(1))
		wantFault(t, "deploy on hardware that is not known", err, fault.Unsatisfiable)
		c.must("Observe", a.sees())
		s := nord.look(a.id)
		want(t, "server", []any{s.Problem, s.Offer.Name, s.Inventory.Hardware}, []any{"", "blue", other.Hardware})
		c.deploy(anna)
	})
}

// Too little capacity for what is taken goes by itself, and by no word.
func TestUncordonInventory(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		nord, anna := c.shop("Nord", 1), c.account("Anna", 8*price)
		a := nord.join(2)
		made, err := c.Deploy(t.Context(), anna, wish(2))
		c.must("Deploy", err)
		a.inv = inventory(room(1))
		c.must("Observe", a.sees())
		before := nord.look(a.id)
		s, err := c.Uncordon(t.Context(), nord.who, "Nord", a.id)
		c.must("Uncordon", err)
		want(t, "problem", []any{s.Problem != "", s.Problem}, []any{true, before.Problem})
		c.remove(anna, made[0].ID)
		a.reports(vm.Absent, made[0].ID)
		c.must("Observe", a.sees())
		want(t, "problem", nord.look(a.id).Problem, "")
	})
}

// A server leaves for good, and only when nothing is there.
func TestRemoveServer(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		nord, anna := c.shop("Nord", 1), c.account("Anna", 8*price)
		a := nord.enroll(control.ServerInvitation{Name: "one"}, inventory(room(2)))
		remove := func() error {
			_, err := c.Remove(t.Context(), nord.who, "Nord", "one")
			return err
		}
		id := c.deploy(anna)
		c.remove(anna, id)
		err := remove()
		wantFault(t, "a server with a VM that is still to be purged", err, fault.Conflict)
		want(t, "what is said", fault.Message(err), "VMs are on server one: 1; drain it, and remove it once its agent has purged them")
		a.reports(vm.Absent, id)
		_, err = c.Quote(t.Context(), anna, wish(1), time.Minute)
		c.must("Quote", err)
		err = remove()
		wantFault(t, "a server with a quote", err, fault.Conflict)
		want(t, "what is said", fault.Message(err), "quotes hold places on server one; cordon it and try again in 5m0s")
		c.clock.advance(time.Minute)
		_, err = c.ExpireQuotes(t.Context())
		c.must("ExpireQuotes", err)
		c.must("Remove", remove())
		wantFault(t, "one that is gone, by its name", remove(), fault.NotFound)
		for name, do := range operations {
			err := do(c, nord.who, "Nord", a.id, id)
			switch name {
			case "Cordon", "Uncordon", "Drain", "Benchmark":
				wantFault(t, name, err, fault.Conflict)
			case "Remove", "TerminateVM", "ApplyListing", "InviteServer":
			default:
				c.must(name, err)
			}
		}
		_, err = c.Remove(t.Context(), nord.who, "Nord", a.id)
		wantFault(t, "Remove again", err, fault.Conflict)
		s := nord.look(a.id)
		want(t, "state", s.State, market.ServerRemoved)
		wantTold(t, "server", s.Timeline, "removed from the marketplace")
		list, err := c.Servers(t.Context(), nord.who, "Nord")
		c.must("Servers", err)
		want(t, "servers", len(list), 0)
		_, err = c.AgentKey(t.Context(), a.id)
		wantFault(t, "its agent", err, fault.Denied)
		_, err = c.Deploy(t.Context(), anna, wish(1))
		wantFault(t, "deploy on a removed server", err, fault.Unsatisfiable)
	})
}

// A benchmark that is asked for is news to the agent, which is woken.
func TestBenchmark(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		nord := c.shop("Nord", 1)
		a := nord.join(1)
		before, err := c.Orders(t.Context(), a.id)
		c.must("Orders", err)
		news, cancel := c.Changes(a.id)
		defer cancel()
		_, err = c.Benchmark(t.Context(), nord.who, "Nord", a.id)
		c.must("Benchmark", err)
		select {
		case <-news:
		default:
			t.Error("the agent was not woken")
		}
		after, err := c.Orders(t.Context(), a.id)
		c.must("Orders", err)
		want(t, "list is newer", before.Older(after), true)
		want(t, "wish", after.Measure, int64(1))
		wantTold(t, "server", nord.look(a.id).Timeline, "a benchmark was asked for")
	})
}

// Servers are told in the order they joined, with what is taken of each.
func TestServers(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		nord, anna := c.shop("Nord", 1), c.account("Anna", 8*price)
		a := nord.join(1)
		id := c.deploy(anna)
		b := nord.join(1)
		a.reports(vm.Ready, id)
		list, err := c.Servers(t.Context(), nord.who, "Nord")
		c.must("Servers", err)
		want(t, "ids", []string{list[0].ID, list[1].ID}, []string{a.id, b.id})
		want(t, "VMs", []int{list[0].VMs, list[1].VMs}, []int{1, 0})
		want(t, "used", []capacity.Vector{list[0].Used, list[1].Used}, []capacity.Vector{room(1), {}})
		want(t, "offers", []string{list[0].Offer.Name, list[1].Datacenter.Slug()}, []string{"standard", "us-nyc-1"})
		_, err = c.Server(t.Context(), nord.who, "Nord", "")
		wantFault(t, "a server of no name", err, fault.NotFound)
	})
}
