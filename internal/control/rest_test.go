package control_test

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// The address of a VM that is gone is given to no other account for a while, over
// a restart of the control plane too; its own account may have it at once.
func TestAddressesRest(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		const rest = 10 * time.Minute
		c.rest = rest
		c.restart()
		a := c.join(capacity.Vector{VCPU: 64, RAMGiB: 128, StorageGiB: 1000, Addresses: 6})
		a.inv.Pool = netip.MustParsePrefix("10.9.0.0/29")
		c.must("Observe", a.sees())
		anna, bert := c.account("Anna", 100*price), c.account("Bert", 100*price)
		leave := func(id string) netip.Addr {
			c.remove(anna, id)
			c.clock.advance(time.Hour) // it rests from when it was gone, not from when that was wished
			a.reports(vm.Absent, id)
			return c.stored(id).Address
		}
		gone := c.deploy(anna)
		first := leave(gone)
		for range 5 {
			if got := c.stored(c.deploy(bert)).Address; got == first {
				t.Errorf("%v was given to another account at once", got)
			}
		}
		c.restart()
		_, err := c.Deploy(t.Context(), bert, wish(1))
		wantFault(t, "where all that is free rests", err, fault.Unsatisfiable)
		want(t, "says", fault.Message(err), "No suitable offer found")
		rests, is := errors.AsType[*control.RestingError](err)
		if !is || !rests.Until.Equal(c.stored(gone).GoneAt.Add(rest)) {
			t.Errorf("it rests until %v: %v", rests, err)
		}
		_, err = c.Deploy(t.Context(), bert, wish(100))
		if _, is := errors.AsType[*control.RestingError](err); is {
			t.Errorf("of what would not fit anyhow it says %v", err)
		}
		id := c.deploy(anna)
		want(t, "address for the account that had it", c.stored(id).Address, first)
		leave(id)
		c.clock.advance(rest - time.Second)
		_, err = c.Deploy(t.Context(), bert, wish(1))
		wantFault(t, "a second too early", err, fault.Unsatisfiable)
		c.clock.advance(time.Second)
		want(t, "address after its rest", c.stored(c.deploy(bert)).Address, first)
		c.sound()
	})
}

// A server whose free addresses rest is passed over, for another one.
func TestPlacesWhereAddressesRest(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		c.rest = time.Hour
		c.restart()
		cheap, dear := c.join(room(2)), c.joinUnder(at("Süd", 2, price), room(2))
		for _, a := range []*agent{cheap, dear} {
			a.inv.Pool = netip.MustParsePrefix("10.9.0.0/30")
			c.must("Observe", a.sees())
		}
		anna, bert := c.account("Anna", 100*price), c.account("Bert", 100*price)
		made, err := c.Deploy(t.Context(), anna, wish(2))
		c.must("Deploy", err)
		for _, m := range made {
			c.remove(anna, m.ID)
			cheap.reports(vm.Absent, m.ID)
		}
		want(t, "server", c.stored(c.deploy(bert)).ServerID, dear.id)
		c.sound()
	})
}

// Connections are cut once, by who has not reached the generation that says so.
func TestCut(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a, anna := c.join(room(1)), c.account("Anna", 4*price)
		id := c.deploy(anna)
		update := func(cut bool, ports ...vm.Port) vm.Order {
			t.Helper()
			_, err := c.SetPorts(t.Context(), anna, id, control.PortChange{Ports: append([]vm.Port{}, ports...), Cut: cut})
			c.must("SetPorts", err)
			return a.orders()[0]
		}
		ssh, web := vm.Port{Number: 22, Protocol: vm.TCP}, vm.Port{Number: 80, Protocol: vm.TCP}
		for _, step := range []struct {
			order           vm.Order
			generation, cut int64
		}{
			{a.orders()[0], 1, 0},
			{update(false, ssh, web), 2, 0},
			{update(true, ssh), 3, 3},
			{update(false, ssh, web), 4, 3},
			{update(true, ssh, web), 5, 5}, // the ports are the same: what they were closed for before is cut now
			{update(false, ssh, web), 5, 5},
		} {
			want(t, "generation", step.order.Generation, step.generation)
			want(t, "generation of the cut", step.order.Cut, step.cut)
		}
		wantTold(t, "VM", c.story(anna, id).Timeline, "open ports changed to 22/tcp, 80/tcp; connections through others are to be cut")
	})
}
