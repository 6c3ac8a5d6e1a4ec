package control_test

import (
	"strings"
	"testing"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// checksum is one of an image.
func checksum(digit string) string { return "sha256:" + strings.Repeat(digit, 64) }

// What the first server made of an image's address is what the VM is made of
// wherever it is placed from then on.
func TestImageIsPinnedByTheFirstServer(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		agents := []*agent{c.join(room(2)), c.join(room(2)), c.join(room(2))}
		anna := c.account("Anna", 2*price)
		id := c.deploy(anna)
		for n, sight := range []struct{ image, want string }{{"sha256:rubbish", ""}, {checksum("a"), checksum("a")}, {checksum("b"), checksum("a")}} {
			a := on(c.stored(id), agents)
			c.must("Observe", a.sees(vm.Sighting{ID: id, Phase: vm.Preparing, Image: sight.image}))
			want(t, "pinned", c.stored(id).Spec.ImagePin, sight.want)
			if n == 1 {
				a.fails(id)
				o := on(c.stored(id), agents).orders()
				want(t, "ordered elsewhere", o[0].ImagePin, checksum("a"))
			}
		}
		want(t, "what the customer asked for", c.stored(id).Spec.ImageChecksum, "")
		c.sound()
	})
}

// A bad checksum is refused before anything is paid; a good one reaches the agent
// in one spelling.
func TestImageChecksumIsOrdered(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a := c.join(room(2))
		anna := c.account("Anna", 2*price)
		w := wish(1)
		for _, bad := range []string{"sha256:", "sha512:" + strings.Repeat("a", 64), strings.Repeat("a", 64), checksum("g"), checksum("a") + "a", "sha256:" + strings.Repeat("a", 63)} {
			w.ImageChecksum = bad
			_, err := c.Deploy(t.Context(), anna, w)
			wantFault(t, bad, err, fault.Invalid)
		}
		want(t, "balance", c.free(anna), 2*price)
		w.ImageChecksum = checksum("A")
		_, err := c.Deploy(t.Context(), anna, w)
		c.must("Deploy", err)
		want(t, "ordered", a.orders()[0].ImageChecksum, checksum("a"))
		c.sound()
	})
}

// An agent can tell VMs of one account from those of another, and no more: not who
// it is, nor that the same one has VMs on another server.
func TestTenants(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a := c.join(room(3))
		anna, ben := c.account("Anna", 8*price), c.account("Ben", 2*price)
		c.deploy(anna)
		c.deploy(anna)
		c.deploy(ben)
		b := c.join(room(1))
		c.deploy(anna)
		count := map[string]int{}
		for _, o := range append(a.orders(), b.orders()...) {
			if len(o.Tenant) != 32 || strings.Contains(o.Tenant, anna.AccountID) {
				t.Errorf("tenant %q, want 32 digits that tell nothing", o.Tenant)
			}
			count[o.Tenant]++
		}
		want(t, "tenants", len(count), 3)
		want(t, "VMs of the first", count[a.orders()[0].Tenant]+count[a.orders()[1].Tenant]+count[a.orders()[2].Tenant], 5)
		c.sound()
	})
}
