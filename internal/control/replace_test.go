package control_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// fails tells that VMs can't be launched here.
func (a *agent) fails(ids ...string) {
	a.c.t.Helper()
	list := make([]vm.Sighting, len(ids))
	for i, id := range ids {
		list[i] = vm.Sighting{ID: id, Generation: 0, Phase: vm.Broken, Reason: "no such accelerator", Elsewhere: true}
	}
	a.c.must("Observe", a.sees(list...))
}

// at returns an invitation of a provider at prices at which a small VM costs that
// much more.
func at(provider string, index int64, more money.Amount) control.Invitation {
	in := invitation()
	in.Provider, in.Datacenter.Index = provider, index
	in.Prices.Address += more
	return in
}

func (c *cloud) list(who account.Actor) []control.VM {
	c.t.Helper()
	list, err := c.VMs(c.t.Context(), who, control.VMFilter{})
	c.must("VMs", err)
	return list
}

// on returns which of the agents a VM is placed on.
func on(v vm.VM, agents []*agent) *agent {
	i := slices.IndexFunc(agents, func(a *agent) bool { return a.id == v.ServerID })
	return agents[i]
}

// A VM that could not be launched is placed on other servers, by the deposit that
// it has, three times; then its customer gets the deposit back. What it leaves
// behind is removed, and holds its place until that is done.
func TestReplacement(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		agents := []*agent{c.join(room(2)), c.join(room(2)), c.join(room(2)), c.join(room(2)), c.join(room(2))}
		anna := c.account("Anna", 2*price)
		id := c.deploy(anna)
		var seen []*agent
		for n := range 3 {
			before := c.stored(id)
			a := on(before, agents)
			seen = append(seen, a)
			a.reports(vm.Preparing, id)
			a.fails(id)
			v := c.stored(id)
			want(t, "state", purse(v), sum(vm.New, 2*price, 0))
			want(t, "reason", v.Reason, "waiting for its server")
			want(t, "deadline", v.Deadline, c.clock.Now().Add(launch))
			want(t, "generation", v.Generation, before.Generation+1)
			want(t, "balance", c.free(anna), money.Amount(0))
			want(t, "on a server that was not tried", slices.Contains(seen, on(v, agents)), false)
			want(t, "wanted there", goals(on(v, agents)), []string{fmt.Sprintf("%s %d: run", id, v.Generation)})
			want(t, "wanted on the old one", goals(a), []string{fmt.Sprintf("%s %d: remove", id, v.Generation)})
			want(t, "taken", c.used(), room(int64(n)+2))
			wantTold(t, "VM", c.story(anna, id).Timeline, fmt.Sprintf(
				"could not be launched within 0s: no such accelerator; placed on another server in us-nyc-1 at %s USDC per epoch, by the same deposit (%d of 3)", price, n+1))
			c.clock.advance(launch / 2)
		}
		on(c.stored(id), agents).fails(id)
		v := c.stored(id)
		want(t, "given up", purse(v), sum(vm.Failed, 0, 0))
		want(t, "reason", v.Reason, "could not be launched within 5m0s: no such accelerator")
		want(t, "balance", c.free(anna), 2*price)
		want(t, "one server was never tried", len(seen), 3)
		want(t, "taken until all is removed", c.used(), room(4))
		for _, a := range agents {
			for _, o := range a.orders() {
				c.must("Observe", a.sees(vm.Sighting{ID: id, Generation: o.Generation, Phase: vm.Absent}))
			}
			want(t, "nothing is wanted any more", len(a.orders()), 0)
		}
		want(t, "taken", c.used(), capacity.Vector{})
		c.sound()
	})
}

// goals returns what an agent is asked for.
func goals(a *agent) (list []string) {
	for _, o := range a.orders() {
		list = append(list, fmt.Sprintf("%s %d: %s", o.ID, o.Generation, o.Goal))
	}
	return list
}

// The launch of a VM whose server is silent is given up when its time is over.
// Whatever that server says later of it changes nothing.
func TestReplacementOfASilentServer(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		agents := []*agent{c.join(room(1)), c.join(room(1))}
		anna := c.account("Anna", 2*price)
		id := c.deploy(anna)
		silent := on(c.stored(id), agents)
		c.pass(launch)
		v := c.stored(id)
		want(t, "placed anew", purse(v), sum(vm.New, 2*price, 0))
		next := on(v, agents)
		want(t, "elsewhere", next == silent, false)
		silent.reports(vm.Ready, id)
		want(t, "late news", purse(c.stored(id)), sum(vm.New, 2*price, 0))
		next.reports(vm.Ready, id)
		v = c.stored(id)
		want(t, "active", purse(v), sum(vm.Active, price, price))
		want(t, "what was asked is forgotten", v.Wish, "")
		silent.reports(vm.Ready, id)
		silent.fails(id)
		silent.reports(vm.Absent, id)
		want(t, "later news", purse(c.stored(id)), sum(vm.Active, price, price))
		want(t, "taken", c.used(), room(1))
		want(t, "list of VMs", len(c.list(anna)), 1)
		c.sound()
	})
}

// Another server is one that the customer would have taken, for at most the price
// that was agreed on: what it costs less goes back at once.
func TestReplacementKeepsToTheWish(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		first := c.joinUnder(at("Nord", 1, 0), room(1))
		anna, bert := c.account("Anna", 2*price), c.account("Bert", 20*price)
		d := wish(1)
		d.Constraints.ExcludeProviders = []string{"Ost"}
		made, err := c.Deploy(t.Context(), anna, d)
		c.must("Deploy", err)
		id := made[0].ID

		c.joinUnder(at("Ost", 2, 0), room(1))
		c.joinUnder(at("Süd", 3, 1), room(1))
		cheap := c.joinUnder(at("West", 4, -5), room(1))
		first.fails(id)
		v := c.stored(id)
		want(t, "cheapest that is wanted", v.ServerID, cheap.id)
		want(t, "what the price is for", v.Parts, vm.Parts{22, 920, 42_500, 90_000 - 5})
		want(t, "price and reserve", []money.Amount{v.Price, v.Reserved, c.free(anna)}, []money.Amount{price - 5, 2 * (price - 5), 10})
		cheap.fails(id)
		want(t, "the others cost more, or are not wanted", purse(c.stored(id)), sum(vm.Failed, 0, 0))
		want(t, "balance", c.free(anna), 2*price)

		// VMs of an affinity group stay apart, and what a quote was made for holds.
		group := wish(1)
		group.AffinityGroup = "web"
		group.Constraints.Datacenters = []string{"us-nyc-5", "us-nyc-6"}
		_, err = c.Quote(t.Context(), bert, group, control.ShortestQuote)
		wantFault(t, "nobody is there yet", err, fault.Unsatisfiable)
		nordost, south := c.joinUnder(at("Nordost", 5, 0), room(5)), c.joinUnder(at("Südost", 6, 1), room(5))
		q, err := c.Quote(t.Context(), bert, group, control.ShortestQuote)
		c.must("Quote", err)
		taking := control.Deployment{Instances: 1, Name: "web", Image: group.Image, SSHKeys: group.SSHKeys, QuoteID: q.ID, AffinityGroup: "web"}
		made, err = c.Deploy(t.Context(), bert, taking)
		c.must("Deploy by quote", err)
		quoted := made[0].ID
		want(t, "quoted", c.stored(quoted).ServerID, nordost.id)
		made, err = c.Deploy(t.Context(), bert, group)
		c.must("Deploy", err)
		want(t, "apart", c.stored(made[0].ID).ServerID, south.id)
		nordost.fails(quoted)
		want(t, "the only other one is taken by its group, and costs more", c.stored(quoted).State, vm.Failed)
		c.sound()
	})
}

// What a customer asked for and no server can do is not tried again and again.
func TestNoReplacementForABadImage(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		agents := []*agent{c.join(room(1)), c.join(room(1))}
		anna := c.account("Anna", 2*price)
		id := c.deploy(anna)
		on(c.stored(id), agents).reports(vm.Broken, id)
		want(t, "failed", purse(c.stored(id)), sum(vm.Failed, 0, 0))
		want(t, "balance", c.free(anna), 2*price)
	})
}
