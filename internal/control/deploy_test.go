package control_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/store/storetest"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// untouched checks that nothing was taken and nothing was made.
func (c *cloud) untouched(what string, who account.Actor, balance money.Amount) {
	c.t.Helper()
	want(c.t, what+": balance", c.free(who), balance)
	want(c.t, what+": used", c.used(), capacity.Vector{})
	list, err := c.VMs(c.t.Context(), who, control.VMFilter{})
	c.must("VMs", err)
	want(c.t, what+": VMs", len(list), 0)
	c.audit()
}

// A refused request leaves nothing behind.
func TestDeployRefused(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		c.join(room(3))
		c.join(room(2))
		anna := c.account("Anna", 8*price-1)
		for name, r := range map[string]struct {
			change func(*control.Deployment)
			kind   fault.Kind
			text   string
		}{
			"no offer":        {func(d *control.Deployment) { d.Constraints.Countries = []string{"DE"} }, fault.Unsatisfiable, "No suitable offer found"},
			"unknown size":    {func(d *control.Deployment) { d.Constraints.Configuration = "cpu-3" }, fault.Unsatisfiable, "No suitable offer found"},
			"too many":        {func(d *control.Deployment) { d.Instances = 6 }, fault.Unsatisfiable, "Not enough offers found"},
			"far too many":    {func(d *control.Deployment) { d.Instances = 1 << 62 }, fault.Unsatisfiable, "Not enough offers found"},
			"too dear":        {func(d *control.Deployment) { d.Instances = 4 }, fault.Unaffordable, "0.000001 USDC are missing"},
			"none":            {func(d *control.Deployment) { d.Instances = 0 }, fault.Invalid, "instances"},
			"fewer than none": {func(d *control.Deployment) { d.Instances = -1 }, fault.Invalid, "instances"},
			"no name":         {func(d *control.Deployment) { d.Name = "" }, fault.Invalid, "name"},
			"bad name":        {func(d *control.Deployment) { d.Name = "a b" }, fault.Invalid, "name"},
			"bad hostname":    {func(d *control.Deployment) { d.Hostname = "a\nb" }, fault.Invalid, "hostname"},
			"file as image":   {func(d *control.Deployment) { d.Image = "file:///etc/shadow.img" }, fault.Invalid, "osImage"},
			"no key":          {func(d *control.Deployment) { d.SSHKeys = nil }, fault.Invalid, "sshKeys"},
			"unknown key":     {func(d *control.Deployment) { d.SSHKeys = []string{sshKey, "laptop"} }, fault.Invalid, "laptop"},
			"empty key":       {func(d *control.Deployment) { d.SSHKeys = []string{""} }, fault.Invalid, "SSH key"},
			"a port twice": {func(d *control.Deployment) {
				d.Ports = []vm.Port{{Number: 80, Protocol: vm.TCP}, {Number: 80, Protocol: vm.TCP}}
			}, fault.Invalid, "twice"},
			"contradiction":       {func(d *control.Deployment) { d.Constraints.Extra = []market.ExtraStorage{{GiB: 0}} }, fault.Invalid, "storage"},
			"long request id":     {func(d *control.Deployment) { d.RequestID = strings.Repeat("x", 256) }, fault.Invalid, "requestId"},
			"unreadable id":       {func(d *control.Deployment) { d.RequestID = "a\x00b" }, fault.Invalid, "UTF-8"},
			"request id no text":  {func(d *control.Deployment) { d.RequestID = "a\xff" }, fault.Invalid, "UTF-8"},
			"price just too high": {func(d *control.Deployment) { d.Constraints.MaxPrice = new(price - 1) }, fault.Unsatisfiable, "No suitable offer found"},
		} {
			d := wish(1)
			r.change(&d)
			made, err := c.Deploy(t.Context(), anna, d)
			wantFault(t, name, err, r.kind)
			if !strings.Contains(fault.Message(err), r.text) {
				t.Errorf("%s: got %q, want something with %q", name, fault.Message(err), r.text)
			}
			want(t, name+": made", len(made), 0)
			c.untouched(name, anna, 8*price-1)
		}
	})
}

// Many instances are spread over servers, each with an address of its own.
func TestDeployMany(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a, b, anna := c.join(room(2)), c.join(room(3)), c.account("Anna", 10*price)
		made, err := c.Deploy(t.Context(), anna, wish(5))
		c.must("Deploy", err)
		want(t, "made", len(made), 5)
		want(t, "orders", []int{len(a.orders()), len(b.orders())}, []int{2, 3})
		want(t, "balance", c.free(anna), 0*price)
		seen := map[string]bool{}
		for _, m := range made {
			v := c.stored(m.ID)
			want(t, "VM", purse(v), sum(vm.New, 2*price, 0))
			want(t, "ports", v.Spec.Ports, []vm.Port{{Number: 22, Protocol: vm.TCP}})
			want(t, "hostname", v.Spec.Hostname, "web")
			if key := v.ServerID + v.Address.String(); seen[key] {
				t.Errorf("address %s is given twice", v.Address)
			} else {
				seen[key] = true
			}
		}
		c.audit()
	})
}

// An address rests as long as possible before it is given again.
func TestAddressRotation(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a, anna := c.join(room(2)), c.account("Anna", 100*price)
		a.inv.Pool = netip.MustParsePrefix("192.0.2.0/29") // .1 to .6
		c.must("Observe", a.sees())
		keeper := c.deploy(anna)
		got := []string{c.stored(keeper).Address.String()}
		for range 7 {
			id := c.deploy(anna)
			got = append(got, c.stored(id).Address.String())
			c.remove(anna, id)
			a.reports(vm.Absent, id)
		}
		want(t, "addresses", got, []string{
			"192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5", "192.0.2.6", "192.0.2.2", "192.0.2.3",
		})
	})
}

// A repeated request gets the first answer and makes nothing new.
func TestRepeatedRequest(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		c.join(room(3))
		anna, bert := c.account("Anna", 4*price), c.account("Bert", 2*price)
		d := wish(2)
		d.RequestID = "7"
		first, err := c.Deploy(t.Context(), anna, d)
		c.must("Deploy", err)
		for range 3 { // though there is neither money nor room for more
			again, err := c.Deploy(t.Context(), anna, d)
			c.must("Deploy again", err)
			want(t, "answer", again, first)
		}
		other := d
		other.Instances = 1
		_, err = c.Deploy(t.Context(), anna, other)
		wantFault(t, "another request under the same id", err, fault.Conflict)
		_, err = c.Deploy(t.Context(), bert, other)
		c.must("the same id of another account", err)
		want(t, "balances", []any{c.free(anna), c.free(bert)}, []any{0 * price, 0 * price})

		c.remove(anna, first[0].ID, first[1].ID)
		c.restart()
		again, err := c.Deploy(t.Context(), anna, d)
		c.must("Deploy after a delete and a restart", err)
		want(t, "answer", again, first)
		want(t, "balance", c.free(anna), 4*price)
		c.audit()
	})
}

// A request that was refused may be repeated with success.
func TestRepeatedAfterRefusal(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		c.join(room(1))
		anna := c.account("Anna", 0)
		d := wish(1)
		d.RequestID = "7"
		_, err := c.Deploy(t.Context(), anna, d)
		wantFault(t, "without money", err, fault.Unaffordable)
		_, err = c.Credit(t.Context(), operator, anna.AccountID, gift(2*price))
		c.must("Credit", err)
		made, err := c.Deploy(t.Context(), anna, d)
		c.must("Deploy", err)
		want(t, "made", len(made), 1)
	})
}

// Many repetitions at once make one VM, though there is just enough for one.
func TestRepeatedAtOnce(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		c.join(room(1))
		anna := c.account("Anna", 2*price)
		d := wish(1)
		d.RequestID = "7"
		answers := make([][]control.Deployed, 20)
		errs := together(len(answers), func(i int) (err error) {
			answers[i], err = c.Deploy(t.Context(), anna, d)
			return err
		})
		want(t, "outcomes", tally(errs), map[fault.Kind]int{"": 20})
		for _, a := range answers {
			want(t, "answer", a, answers[0])
		}
		want(t, "used", c.used(), room(1))
		c.audit()
	})
}

// Keys that are registered may be named.
func TestDeployNamedKeys(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		c.join(room(2))
		anna, bert := c.account("Anna", 4*price), c.account("Bert", 4*price)
		key, added, err := c.AddSSHKey(t.Context(), anna, "laptop", sshKey)
		c.must("AddSSHKey", err)
		want(t, "added", added, true)
		d := wish(1)
		d.SSHKeys = []string{"laptop", key.Fingerprint, sshKey}
		made, err := c.Deploy(t.Context(), anna, d)
		c.must("Deploy", err)
		want(t, "keys", c.stored(made[0].ID).Spec.SSHKeys, []string{sshKey})
		_, err = c.Deploy(t.Context(), bert, d)
		wantFault(t, "the name of someone else's key", err, fault.Invalid)
		c.must("DeleteSSHKey", c.DeleteSSHKey(t.Context(), anna, key.Fingerprint))
		want(t, "keys after the delete", c.stored(made[0].ID).Spec.SSHKeys, []string{sshKey})
		wantFault(t, "DeleteSSHKey again", c.DeleteSSHKey(t.Context(), anna, key.Fingerprint), fault.NotFound)
		wantFault(t, "DeleteSSHKey of none", c.DeleteSSHKey(t.Context(), anna, ""), fault.Invalid)
	})
}

// One key at once under many names is registered under one of them, and all
// are told which.
func TestAddSSHKeyAtOnce(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		anna := c.account("Anna", 0)
		keys, added := make([]account.SSHKey, 20), make([]bool, 20)
		errs := together(len(keys), func(i int) (err error) {
			keys[i], added[i], err = c.AddSSHKey(t.Context(), anna, strings.Repeat("x", i), sshKey)
			return err
		})
		want(t, "outcomes", tally(errs), map[fault.Kind]int{"": 20})
		kept, err := c.SSHKeys(t.Context(), anna)
		c.must("SSHKeys", err)
		want(t, "how many are kept", len(kept), 1)
		for _, k := range keys {
			want(t, "key", k, kept[0])
		}
		want(t, "how often it was added", len(slices.DeleteFunc(added, func(a bool) bool { return !a })), 1)
	})
}

// An estimate and a deploy of the same request agree to the last micro-USDC,
// and in their refusal.
func TestEstimateIsThePrice(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, e storetest.Engine) {
		c := newCloud(t, e.Open(t))
		anna := c.account("Anna", money.USDC*1_000_000)
		c.join(room(4))
		cheap := invitation()
		cheap.Datacenter.Index, cheap.Prices.VCPU = 2, 3
		c.joinUnder(cheap, room(2))
		property(t, e, func(t *rapid.T) {
			r := *c
			r.t = t
			d := wish(rapid.Int64Range(1, 7).Draw(t, "instances"))
			d.Constraints.Configuration = rapid.SampledFrom([]string{"", small.Slug(), market.Configurations()[2].Slug()}).Draw(t, "configuration")
			if extra := rapid.Int64Range(0, 50).Draw(t, "extra"); extra > 0 {
				d.Constraints.Extra = []market.ExtraStorage{{GiB: extra}}
			}
			if limit := rapid.Int64Range(int64(price)-20, int64(price)+100_000).Draw(t, "limit"); limit%2 == 0 {
				d.Constraints.MaxPrice = new(money.Amount(limit))
			}
			before := r.free(anna)
			cost, refusal := r.Estimate(d.Constraints, d.Instances)
			made, err := r.Deploy(t.Context(), anna, d)
			want(t, "refusal", fault.Message(err), fault.Message(refusal))
			if err != nil {
				want(t, "balance", r.free(anna), before)
				return
			}
			want(t, "taken", before-r.free(anna), cost.Deposit)
			total, dearest := money.Amount(0), money.Amount(0)
			ids := make([]string, len(made))
			for i, m := range made {
				v := r.stored(m.ID)
				total, dearest, ids[i] = total+v.Price, max(dearest, v.Price), m.ID
				want(t, "reserved", v.Reserved, 2*v.Price)
			}
			want(t, "estimate", cost, control.Estimate{Instances: d.Instances, Total: total, Dearest: dearest, Deposit: 2 * total})
			r.remove(anna, ids...)
			r.clear(ids)
		})
	})
}

// A VM keeps the price it was deployed at.
func TestPriceChange(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a, anna := c.join(room(2)), c.account("Anna", 10*price)
		estimated, err := c.Estimate(wish(1).Constraints, 1)
		c.must("Estimate", err)
		want(t, "estimate", estimated.Total, price*1)
		before := c.deploy(anna)
		dearer := prices
		dearer.Address += price
		c.must("Reprice", c.Reprice(t.Context(), operator, "Nord", dearer))
		after := c.deploy(anna)
		a.reports(vm.Ready, before, after)
		want(t, "before", purse(c.stored(before)), sum(vm.Active, price, price))
		want(t, "after", purse(c.stored(after)), sum(vm.Active, 2*price, 2*price))
		want(t, "balance", c.free(anna), 4*price)
		limited := wish(1)
		limited.Constraints.MaxPrice = new(price)
		_, err = c.Deploy(t.Context(), anna, limited)
		wantFault(t, "a limit below the new price", err, fault.Unsatisfiable)
		c.audit()
	})
}

// Of a thousand at once as many succeed as there are places, or as can be paid.
func TestDeployRush(t *testing.T) {
	t.Parallel()
	const rush, fits = 1000, 3
	for name, r := range map[string]struct {
		room    int64
		balance money.Amount
		refused fault.Kind
	}{
		"three places":         {fits, rush * 2 * price, fault.Unsatisfiable},
		"a balance for three":  {rush, fits*2*price + price, fault.Unaffordable},
		"three of both, whole": {fits, fits * 2 * price, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			each(t, func(t *testing.T, c *cloud) {
				c.join(room(r.room))
				anna := c.account("Anna", r.balance)
				outcomes := tally(together(rush, func(int) error {
					_, err := c.Deploy(t.Context(), anna, wish(1))
					return err
				}))
				want(t, "successes", outcomes[""], fits)
				want(t, "refusals", outcomes[fault.Unaffordable]+outcomes[fault.Unsatisfiable], rush-fits)
				if r.refused != "" {
					want(t, "refusals for the expected reason", outcomes[r.refused], rush-fits)
				}
				want(t, "used", c.used(), room(fits))
				b, err := c.Balance(t.Context(), anna, anna.AccountID)
				c.must("Balance", err)
				want(t, "money", []money.Amount{b.Free, b.Reserved}, []money.Amount{r.balance - fits*2*price, fits * 2 * price})
				c.audit()
			})
		})
	}
}
