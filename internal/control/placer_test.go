package control_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/store"
)

// queue sends orders while the store is busy with something else, so that the
// first is a group of its own and the others are one, and returns what came of
// them.
func (c *cloud) queue(orders ...func() error) []error {
	c.t.Helper()
	busy, done := make(chan struct{}), make(chan struct{})
	var blocker sync.WaitGroup
	blocker.Go(func() {
		c.must("Write", c.db.Write(c.t.Context(), func(*store.Tx) error {
			close(busy)
			<-done
			return nil
		}))
	})
	<-busy
	errs := make([]error, len(orders))
	var wg sync.WaitGroup
	for i, order := range orders {
		wg.Go(func() { errs[i] = order() })
		c.await("an order waits", func() bool { n, busy := c.Waiting(); return busy && n == i })
	}
	close(done)
	wg.Wait()
	blocker.Wait()
	return errs
}

func (c *cloud) await(what string, cond func() bool) {
	c.t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline.C:
			c.t.Fatalf("not in time: %s", what)
		}
	}
}

func (c *cloud) revision() (revision int64) {
	c.t.Helper()
	c.must("MarketRevision", c.db.Read(c.t.Context(), func(tx *store.Tx) (err error) {
		revision, err = tx.MarketRevision(c.t.Context())
		return err
	}))
	return revision
}

// Orders that wait together are stored together; what one of them is refused
// for is nobody else's.
func TestGroups(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		c.join(room(20))
		rich, poor := c.account("Rich", 40*price), c.account("Poor", 3*price)
		var made [6][]control.Deployed
		order := func(i int, who account.Actor, change func(*control.Deployment)) func() error {
			return func() (err error) {
				d := wish(1)
				change(&d)
				made[i], err = c.Deploy(t.Context(), who, d)
				return err
			}
		}
		before := c.revision()
		errs := c.queue(
			order(0, rich, func(*control.Deployment) {}),
			order(1, poor, func(*control.Deployment) {}),
			order(2, poor, func(*control.Deployment) {}), // its balance is gone by then
			order(3, rich, func(d *control.Deployment) { d.Constraints.Countries = []string{"FR"} }),
			order(4, rich, func(d *control.Deployment) { d.RequestID, d.Instances = "r", 2 }),
			order(5, rich, func(d *control.Deployment) { d.RequestID, d.Instances = "r", 2 }), // again, before the first is answered
		)
		want(t, "outcomes", tally(errs), map[fault.Kind]int{"": 4, fault.Unaffordable: 1, fault.Unsatisfiable: 1})
		wantFault(t, "the second of the poor", errs[2], fault.Unaffordable)
		wantFault(t, "the wrong country", errs[3], fault.Unsatisfiable)
		want(t, "a request that came twice", made[5], made[4])
		want(t, "transactions that changed the marketplace", c.revision()-before, int64(2))
		want(t, "used", c.used(), room(4))
		want(t, "balance of the rich", c.free(rich), 40*price-6*price)
		want(t, "balance of the poor", c.free(poor), price)
		c.audit()
	})
}

// A client that hangs up changes nothing for those who wait with it.
func TestGroupOutlivesItsClients(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		c.join(room(3))
		anna := c.account("Anna", 6*price)
		ctx, hangUp := context.WithCancel(t.Context())
		errs := c.queue(
			func() error { _, err := c.Deploy(ctx, anna, wish(1)); return err },
			func() error { hangUp(); _, err := c.Deploy(t.Context(), anna, wish(1)); return err },
		)
		c.must("the second", errs[1])
		c.await("both are stored", func() bool { return c.used() == room(2) })
		c.audit()
	})
}

// Replicas share the last places: none is sold twice, none is left.
func TestReplicasShareServers(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		for range 5 {
			c.join(room(2))
		}
		first := c.Service
		c.restart()
		anna := c.account("Anna", 100*price)
		errs := together(24, func(i int) error {
			replica := []*control.Service{first, c.Service}[i%2]
			_, err := replica.Deploy(t.Context(), anna, wish(1))
			return err
		})
		want(t, "outcomes", tally(errs), map[fault.Kind]int{"": 10, fault.Unsatisfiable: 14})
		want(t, "used", c.used(), room(10))
		c.audit()
	})
}

// Should the index be wrong, the store refuses and another place is chosen.
func TestLostRace(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		dear := invitation()
		dear.Prices.VCPU += 5
		c.join(room(1))
		other := c.joinUnder(dear, room(1))
		anna := c.account("Anna", 10*price)
		c.deploy(anna)
		c.Shelf().GiveBack([]market.Placement{{Server: 1, Configuration: small, StorageGiB: small.StorageGiB}}) // it looks free again
		id := c.deploy(anna)
		want(t, "server of the second", c.stored(id).ServerID, other.id)
		want(t, "used", c.used(), room(2))
		_, err := c.Deploy(t.Context(), anna, wish(1))
		wantFault(t, "a third", err, fault.Unsatisfiable)
		c.audit()
	})
}

// Places, as the index and the preferences choose them.
func TestPreferences(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		nord, sud := invitation(), invitation()
		sud.Provider, sud.Datacenter = "Sud", market.Datacenter{Country: "IT", City: "MIL", Index: 1, Tier: 4, Certifications: []string{"ISO 27001"}}
		for range 3 {
			c.joinUnder(nord, room(4))
		}
		far := c.joinUnder(sud, room(4))
		anna := c.account("Anna", 100*price)
		servers := func(change func(*control.Deployment)) map[string]int {
			t.Helper()
			d := wish(1)
			change(&d)
			made, err := c.Deploy(t.Context(), anna, d)
			c.must("Deploy", err)
			out := map[string]int{}
			for _, m := range made {
				out[c.stored(m.ID).ServerID]++
			}
			return out
		}
		want(t, "servers of three", len(servers(func(d *control.Deployment) { d.Instances = 3 })), 3)
		want(t, "servers of two that are packed", len(servers(func(d *control.Deployment) { d.Instances, d.Strategy = 2, market.Pack })), 1)
		for what, ask := range map[string]func(*market.Constraints){
			"a provider":          func(w *market.Constraints) { w.Providers = []string{"sud"} },
			"not the other":       func(w *market.Constraints) { w.ExcludeProviders = []string{"Nord"} },
			"a datacenter":        func(w *market.Constraints) { w.Datacenters = []string{"it-mil-1"} },
			"not the other place": func(w *market.Constraints) { w.ExcludeDatacenters = []string{"us-nyc-1"} },
		} {
			want(t, what, servers(func(d *control.Deployment) { ask(&d.Constraints) }), map[string]int{far.id: 1})
		}
		_, err := c.Deploy(t.Context(), anna, func() control.Deployment {
			d := wish(1)
			d.Constraints.Certifications = []string{"ISO 27001"}
			return d
		}())
		wantFault(t, "a certified place, which is full", err, fault.Unsatisfiable)

		group := func(n int64) error {
			d := wish(n)
			d.AffinityGroup = "db"
			_, err := c.Deploy(t.Context(), anna, d)
			return err
		}
		c.must("the first of a group", group(1))
		c.must("the second", group(1))
		wantFault(t, "two more, with one server left", group(2), fault.Unsatisfiable)
		c.must("the third", group(1))
		wantFault(t, "a fourth", group(1), fault.Unsatisfiable)
		_, err = c.Deploy(t.Context(), anna, control.Deployment{Name: "x", Instances: 1, Image: "https://example.com/a.img", SSHKeys: []string{sshKey}, Strategy: "odd"})
		wantFault(t, "an unknown strategy", err, fault.Invalid)
		c.audit()
	})
}

// An address of the pool is given again only when all others were.
func TestAddressesGoRound(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a := c.join(capacity.Vector{VCPU: 64, RAMGiB: 128, StorageGiB: 1000, Addresses: 6})
		a.inv.Pool = mustPrefix("10.9.0.0/29")
		c.must("Observe", a.sees())
		anna := c.account("Anna", 100*price)
		seen := map[string]int{}
		var ids []string
		for i := range 20 {
			id := c.deploy(anna)
			seen[c.stored(id).Address.String()]++
			ids = append(ids, id)
			if i >= 3 {
				c.remove(anna, ids[i-3])
				c.clear(ids[i-3 : i-2])
				a.sequence++
			}
		}
		want(t, "addresses that were given", len(seen), 6)
		for address, n := range seen {
			if n < 3 || n > 4 {
				t.Errorf("address %s was given %d times", address, n)
			}
		}
		made, err := c.Deploy(t.Context(), anna, wish(3))
		c.must("Deploy", err)
		left := map[string]bool{}
		for _, m := range append(made, control.Deployed{ID: ids[17]}, control.Deployed{ID: ids[18]}, control.Deployed{ID: ids[19]}) {
			left[c.stored(m.ID).Address.String()] = true
		}
		want(t, "addresses of six VMs", len(left), 6)
		_, err = c.Deploy(t.Context(), anna, wish(1))
		wantFault(t, "a seventh", err, fault.Unsatisfiable)
		c.audit()
	})
}

// Many VMs at once have an id and an address each.
func TestThousandAtOnce(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		for range 10 {
			c.join(room(60))
		}
		anna := c.account("Anna", 2000*price)
		made, err := c.Deploy(t.Context(), anna, wish(500))
		c.must("Deploy", err)
		addresses, perServer := map[string]bool{}, map[string]int{}
		list, err := c.VMs(t.Context(), anna, control.VMFilter{})
		c.must("VMs", err)
		for _, v := range list {
			addresses[fmt.Sprint(v.ServerID, v.Address)] = true
			perServer[v.ServerID]++
		}
		want(t, "VMs", len(list), 500)
		want(t, "ids", len(made), 500)
		want(t, "addresses", len(addresses), 500)
		for server, n := range perServer {
			want(t, "VMs on "+server, n, 50)
		}
		c.audit()
	})
}
