package control_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// outcome returns what has come of an operation, and why it failed.
func (c *cloud) outcome(who account.Actor, opID string) string {
	c.t.Helper()
	o, err := c.Operation(c.t.Context(), who, opID)
	c.must("Operation", err)
	if o.Error != "" {
		return fmt.Sprintf("%s: %s", o.Outcome(), o.Error)
	}
	return string(o.Outcome())
}

// tells reports whether a line of a VM's timeline says so.
func (c *cloud) tells(who account.Actor, vmID, text string) bool {
	c.t.Helper()
	v, err := c.VM(c.t.Context(), who, vmID)
	c.must("VM", err)
	return slices.ContainsFunc(v.Timeline, func(e vm.Event) bool { return e.Text == text })
}

// A reboot is ordered once, goes on until its VM answers again, and is told.
func TestReboot(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a := c.join(room(2))
		anna := c.account("Anna", 4*price)
		id := c.deploy(anna)
		a.reports(vm.Ready, id)
		o, err := c.Operate(t.Context(), anna, id, vm.Reboot, "", control.Restart(false))
		c.must("Operate", err)
		order := a.orders()[0]
		want(t, "order", []any{order.Goal, order.Generation, order.Restart, order.Abrupt}, []any{vm.Run, int64(2), int64(2), false})
		want(t, "at first", c.outcome(anna, o.ID), "running")

		before := vm.Sighting{ID: id, Generation: 1, Phase: vm.Ready}
		c.must("a report of before", a.sees(before))
		want(t, "before its agent does it", c.outcome(anna, o.ID), "running")
		c.must("a report on the way", a.sees(vm.Sighting{ID: id, Generation: 2, Phase: vm.Booting}))
		want(t, "while it boots", c.outcome(anna, o.ID), "running")
		want(t, "state while it boots", c.stored(id).State, vm.Active)
		c.clock.advance(3 * time.Second)
		a.reports(vm.Ready, id)
		want(t, "in the end", c.outcome(anna, o.ID), "succeeded")
		want(t, "told", c.tells(anna, id, "reboot done after 3s"), true)

		o, err = c.Operate(t.Context(), anna, id, vm.Reset, "", control.Restart(true))
		c.must("Operate", err)
		order = a.orders()[0]
		want(t, "order to reset", []any{order.Generation, order.Restart, order.Abrupt}, []any{int64(3), int64(3), true})
		a.reports(vm.Ready, id)
		want(t, "reset", c.outcome(anna, o.ID), "succeeded")
		all, err := c.Operations(t.Context(), anna, id)
		c.must("Operations", err)
		want(t, "all of them, newest first", []vm.Action{all[0].Action, all[1].Action}, []vm.Action{vm.Reset, vm.Reboot})
		c.audit()
	})
}

// One at a time; what is refused says what goes on; a request is answered as the
// first time.
func TestOneOperationAtATime(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a := c.join(room(2))
		anna, bert := c.account("Anna", 8*price), c.account("Bert", 4*price)
		id, other := c.deploy(anna), c.deploy(anna)
		_, err := c.Operate(t.Context(), anna, id, vm.Reboot, "", control.Restart(false))
		wantFault(t, "of a VM that is launched", err, fault.Conflict)
		a.reports(vm.Ready, id, other)
		first, err := c.Operate(t.Context(), anna, id, vm.Reboot, "one", control.Restart(false))
		c.must("Operate", err)
		_, err = c.Operate(t.Context(), anna, id, vm.Reset, "two", control.Restart(true))
		wantFault(t, "a second one", err, fault.Conflict)
		want(t, "says what goes on", fault.Message(err), "another operation goes on: reboot, "+first.ID+", since 12:00:00; wait until it is over")
		again, err := c.Operate(t.Context(), anna, id, vm.Reboot, "one", control.Restart(false))
		c.must("the same request", err)
		want(t, "its answer", again, first)
		want(t, "generation", c.stored(id).Generation, int64(2))
		_, err = c.Operate(t.Context(), anna, other, vm.Reboot, "one", control.Restart(false))
		wantFault(t, "the request for another VM", err, fault.Conflict)
		_, err = c.Operate(t.Context(), anna, id, vm.Reset, "one", control.Restart(true))
		wantFault(t, "the request for another action", err, fault.Conflict)
		_, err = c.Operate(t.Context(), bert, id, vm.Reboot, "", control.Restart(false))
		wantFault(t, "of a stranger's VM", err, fault.NotFound)
		_, err = c.Operation(t.Context(), bert, first.ID)
		wantFault(t, "a stranger's operation", err, fault.NotFound)
		_, err = c.Operations(t.Context(), bert, id)
		wantFault(t, "operations of a stranger's VM", err, fault.NotFound)
		a.reports(vm.Ready, id, other)
		again, err = c.Operate(t.Context(), anna, id, vm.Reboot, "one", control.Restart(false))
		c.must("the same request, later", err)
		want(t, "its outcome", again.Outcome(), vm.Succeeded)
		want(t, "generation", c.stored(id).Generation, int64(2))
	})
}

// An operation that comes to nothing ends, says why, and leaves the VM as it is.
func TestHopelessOperations(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a := c.join(room(3))
		anna := c.account("Anna", 20*price)
		deaf, silent, gone := c.deploy(anna), c.deploy(anna), c.deploy(anna)
		a.reports(vm.Ready, deaf, silent, gone)
		ops := map[string]string{}
		for _, id := range []string{deaf, silent, gone} {
			o, err := c.Operate(t.Context(), anna, id, vm.Reboot, "", control.Restart(false))
			c.must("Operate", err)
			ops[id] = o.ID
		}
		c.must("Observe", a.sees(vm.Sighting{ID: deaf, Generation: 2, Phase: vm.Booting}, vm.Sighting{ID: silent, Generation: 1, Phase: vm.Ready}))
		c.remove(anna, gone)
		c.must("EndOperations", second(c.EndOperations(t.Context())))
		want(t, "of a VM that was deleted", c.outcome(anna, ops[gone]), "failed: the VM is Stopped")
		want(t, "of one that boots", c.outcome(anna, ops[deaf]), "running")
		c.clock.advance(15 * time.Minute)
		c.must("EndOperations", second(c.EndOperations(t.Context())))
		want(t, "of one that does not answer", c.outcome(anna, ops[deaf]),
			"failed: the VM did not answer within 15m0s; reset starts it anew without asking its guest")
		want(t, "of one whose server did nothing", c.outcome(anna, ops[silent]),
			"failed: its server did not do it within 15m0s; it does so as soon as it can")
		want(t, "state", c.stored(deaf).State, vm.Active)
		_, err := c.Operate(t.Context(), anna, deaf, vm.Reset, "", control.Restart(true))
		c.must("another one after it", err)
	})
}
