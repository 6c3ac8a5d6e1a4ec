package control_test

import (
	"testing"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// A protected VM is not deleted, alone or among others; the wish for it moves nothing.
func TestProtect(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a := c.join(room(2))
		anna, bert := c.account("Anna", 8*price), c.account("Bert", price)
		id, other := c.deploy(anna), c.deploy(anna)
		a.reports(vm.Ready, id, other)
		for range 2 {
			c.must("Protect", c.Protect(t.Context(), anna, id, true))
		}
		before := c.free(anna)
		_, err := c.DeleteVMs(t.Context(), anna, []string{other, id})
		wantFault(t, "deletion with others", err, fault.Conflict)
		want(t, "state", c.stored(id).State, vm.Active)
		want(t, "state of the other", c.stored(other).State, vm.Active)
		want(t, "balance", c.free(anna), before)
		want(t, "told once", c.tells(anna, id, "protected: it can't be deleted until it is unprotected"), true)
		wantFault(t, "by a stranger", c.Protect(t.Context(), bert, id, false), fault.NotFound)

		c.must("Protect", c.Protect(t.Context(), anna, id, false))
		c.remove(anna, id)
		want(t, "state", c.stored(id).State, vm.Stopped)
		wantFault(t, "of a VM that is gone", c.Protect(t.Context(), anna, id, true), fault.NotFound)
		c.audit()
	})
}
