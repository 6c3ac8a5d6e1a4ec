package control_test

import (
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// ports returns what is open of a VM, as it is told.
func (c *cloud) ports(vmID string) string {
	c.t.Helper()
	return control.PortList(c.stored(vmID).Spec.Ports)
}

// A change of ports that nobody confirms is changed back; one that is confirmed
// stays; one that is made over another goes back to what was there before both.
func TestPortsAreChangedBack(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a := c.join(room(1))
		anna := c.account("Anna", 4*price)
		id := c.deploy(anna)
		a.reports(vm.Ready, id)
		before := c.ports(id)
		set := func(confirm time.Duration, numbers ...uint16) control.PortsChanged {
			t.Helper()
			ports := []vm.Port{}
			for _, n := range numbers {
				ports = append(ports, vm.Port{Number: n, Protocol: vm.TCP})
			}
			changed, err := c.SetPorts(t.Context(), anna, id, control.PortChange{Ports: ports, Confirm: confirm})
			c.must("SetPorts", err)
			return changed
		}
		pass := func(d time.Duration) {
			t.Helper()
			c.clock.advance(d)
			c.must("RevertPorts", second(c.RevertPorts(t.Context())))
		}

		changed := set(time.Minute, 443)
		want(t, "closes", control.PortList(changed.Closes), before)
		want(t, "opens", control.PortList(changed.Opens), "443/tcp")
		want(t, "confirmed until", changed.ConfirmedUntil, c.clock.Now().Add(time.Minute))
		want(t, "order", control.PortList(a.orders()[0].Ports), "443/tcp")
		pass(time.Minute - time.Microsecond)
		want(t, "just before", c.ports(id), "443/tcp")
		set(time.Minute, 8443)
		pass(time.Minute)
		want(t, "unconfirmed", c.ports(id), before)
		want(t, "order", control.PortList(a.orders()[0].Ports), before)
		want(t, "told", c.tells(anna, id, "open ports changed back to "+before+": nobody confirmed the change"), true)

		set(time.Minute, 443)
		for range 2 {
			confirmed, err := c.ConfirmPorts(t.Context(), anna, id)
			c.must("ConfirmPorts", err)
			want(t, "confirmed", control.PortList(confirmed.Ports), "443/tcp")
		}
		pass(time.Hour)
		want(t, "confirmed", c.ports(id), "443/tcp")

		set(time.Minute, 22)
		set(0, 80)
		pass(time.Hour)
		want(t, "made for good over one that waited", c.ports(id), "80/tcp")

		set(time.Minute, 22)
		c.remove(anna, id)
		pass(time.Hour)
		want(t, "state", c.stored(id).State, vm.Stopped)
		c.audit()
	})
}

func TestPortsRefused(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a := c.join(room(1))
		anna, bert := c.account("Anna", 4*price), c.account("Bert", price)
		id := c.deploy(anna)
		a.reports(vm.Ready, id)
		open := []vm.Port{{Number: 443, Protocol: vm.TCP}}
		tag := c.stored(id).PortsTag()
		changed, err := c.SetPorts(t.Context(), anna, id, control.PortChange{Ports: open, IfMatch: tag})
		c.must("SetPorts", err)
		_, err = c.SetPorts(t.Context(), anna, id, control.PortChange{Ports: []vm.Port{}, IfMatch: tag})
		wantFault(t, "by the tag of before", err, fault.Conflict)
		want(t, "says what is open", fault.Message(err), "the ports have changed: 443/tcp are open now; look at them and try again")
		want(t, "tag", changed.Tag, c.stored(id).PortsTag())
		for _, confirm := range []time.Duration{control.MinConfirm - 1, control.MaxConfirm + 1, -1} {
			_, err = c.SetPorts(t.Context(), anna, id, control.PortChange{Ports: open, Confirm: confirm})
			wantFault(t, "confirmed within "+confirm.String(), err, fault.Invalid)
		}
		_, err = c.SetPorts(t.Context(), bert, id, control.PortChange{Ports: open})
		wantFault(t, "by a stranger", err, fault.NotFound)
		_, err = c.ConfirmPorts(t.Context(), bert, id)
		wantFault(t, "confirmed by a stranger", err, fault.NotFound)
		generation := c.stored(id).Generation
		_, err = c.SetPorts(t.Context(), anna, id, control.PortChange{Ports: open})
		c.must("SetPorts to what is", err)
		want(t, "generation", c.stored(id).Generation, generation)
	})
}
