package control_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// shop is a provider with one offer in a datacenter of its own.
type shop struct {
	*cloud
	who  account.Actor
	name string
	slug string
}

// shop opens one; index is that of its datacenter in New York.
func (c *cloud) shop(name string, index int64) shop {
	c.t.Helper()
	k := shop{cloud: c, who: c.account(name, 0), name: name, slug: fmt.Sprintf("us-nyc-%d", index)}
	_, err := c.CreateProvider(c.t.Context(), k.who, name)
	c.must("CreateProvider", err)
	k.apply(declared(index))
	return k
}

// declared is a listing of one datacenter and one offer for everything.
func declared(index int64) control.Declared {
	return control.Declared{
		Datacenters: []market.Datacenter{{Country: "US", City: "NYC", Index: index, Tier: 3}},
		Offers:      []control.DeclaredOffer{listedAt(fmt.Sprintf("us-nyc-%d", index), "standard", capacity.Hardware{})},
	}
}

// listedAt is an offer at the prices of this package's tests.
func listedAt(slug, name string, hw capacity.Hardware) control.DeclaredOffer {
	return control.DeclaredOffer{
		ListedOffer: control.ListedOffer{Name: name, Datacenter: slug, Hardware: hw},
		VCPU:        prices.VCPU.String(), RAM: prices.RAM.String(), Storage: prices.Storage.String(), Address: prices.Address.String(),
	}
}

func (k shop) apply(d control.Declared) []control.Change {
	k.t.Helper()
	changes, err := k.ApplyListing(k.t.Context(), k.who, k.name, d)
	k.must("ApplyListing", err)
	return changes
}

// enroll lets a server join with a token of the provider's.
func (k shop) enroll(in control.ServerInvitation, inv capacity.Inventory) *agent {
	k.t.Helper()
	a, err := k.tryEnroll(in, inv)
	k.must("Enroll", err)
	return a
}

func (k shop) tryEnroll(in control.ServerInvitation, inv capacity.Inventory) (*agent, error) {
	k.t.Helper()
	in.Datacenter, in.Valid = k.slug, time.Hour
	token, _, err := k.InviteServer(k.t.Context(), k.who, k.name, in)
	k.must("InviteServer", err)
	key, _, err := ed25519.GenerateKey(rand.Reader)
	k.must("GenerateKey", err)
	a := &agent{c: k.cloud, key: key, inv: inv}
	a.id, err = k.Enroll(k.t.Context(), token, key, inv)
	return a, err
}

// join adds a server with room for n small VMs.
func (k shop) join(n int64) *agent {
	k.t.Helper()
	return k.enroll(control.ServerInvitation{}, inventory(room(n)))
}

// look returns a server as its provider sees it.
func (k shop) look(server string) control.Server {
	k.t.Helper()
	s, err := k.Server(k.t.Context(), k.who, k.name, server)
	k.must("Server", err)
	return s
}

func told(timeline []vm.Event, says string) bool {
	for _, e := range timeline {
		if strings.Contains(e.Text, says) {
			return true
		}
	}
	return false
}

func wantTold(t tb, what string, timeline []vm.Event, says string) {
	t.Helper()
	if !told(timeline, says) {
		t.Errorf("%s: the timeline does not say %q:\n%+v", what, says, timeline)
	}
}

// operations are all that a provider may do.
var operations = map[string]func(c *cloud, who account.Actor, provider, server, vmID string) error{
	"Listing": func(c *cloud, who account.Actor, provider, _, _ string) error {
		_, err := c.Listing(c.t.Context(), who, provider)
		return err
	},
	"ApplyListing": func(c *cloud, who account.Actor, provider, _, _ string) error {
		_, err := c.ApplyListing(c.t.Context(), who, provider, control.Declared{
			Datacenters: []market.Datacenter{}, Offers: []control.DeclaredOffer{},
		})
		return err
	},
	"ApplyListing dry": func(c *cloud, who account.Actor, provider, _, _ string) error {
		_, err := c.ApplyListing(control.Rehearse(c.t.Context()), who, provider, control.Declared{
			Datacenters: []market.Datacenter{}, Offers: []control.DeclaredOffer{},
		})
		return err
	},
	"InviteServer": func(c *cloud, who account.Actor, provider, server, _ string) error {
		one, err := c.Server(c.t.Context(), operator, provider, server)
		if err != nil {
			one.Datacenter = place
		}
		_, _, err = c.InviteServer(c.t.Context(), who, provider, control.ServerInvitation{Datacenter: one.Datacenter.Slug(), Valid: time.Hour})
		return err
	},
	"Servers": func(c *cloud, who account.Actor, provider, _, _ string) error {
		_, err := c.Servers(c.t.Context(), who, provider)
		return err
	},
	"Server": func(c *cloud, who account.Actor, provider, server, _ string) error {
		_, err := c.Server(c.t.Context(), who, provider, server)
		return err
	},
	"Cordon": func(c *cloud, who account.Actor, provider, server, _ string) error {
		_, err := c.Cordon(c.t.Context(), who, provider, server)
		return err
	},
	"Uncordon": func(c *cloud, who account.Actor, provider, server, _ string) error {
		_, err := c.Uncordon(c.t.Context(), who, provider, server)
		return err
	},
	"Drain": func(c *cloud, who account.Actor, provider, server, _ string) error {
		_, err := c.Drain(c.t.Context(), who, provider, server, time.Hour, "")
		return err
	},
	"Benchmark": func(c *cloud, who account.Actor, provider, server, _ string) error {
		_, err := c.Benchmark(c.t.Context(), who, provider, server)
		return err
	},
	"Remove": func(c *cloud, who account.Actor, provider, server, _ string) error {
		_, err := c.Remove(c.t.Context(), who, provider, server)
		if fault.Is(err, fault.Conflict) { // its VM is there: who gets so far may remove
			return nil
		}
		return err
	},
	"TerminateVM": func(c *cloud, who account.Actor, provider, _, vmID string) error {
		_, err := c.TerminateVM(c.t.Context(), who, provider, vmID, "abuse")
		return err
	},
	"Earnings": func(c *cloud, who account.Actor, provider, _, _ string) error {
		_, err := c.Earnings(c.t.Context(), who, provider, control.EarningsByVM, time.Time{})
		return err
	},
}

// onServer are those that name a server or a VM of the provider.
var onServer = []string{"Server", "Cordon", "Uncordon", "Drain", "Benchmark", "Remove", "TerminateVM"}

// A provider is its owner's and the operator's; for everyone else it is as if it
// weren't there, and so are its servers and VMs for other providers.
func TestProviderAuthorisation(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		nord, sued, anna := c.shop("Nord", 1), c.shop("Sued", 2), c.account("Anna", 8*price)
		mine := nord.join(1)
		vmID := c.deploy(anna)
		other := sued.join(1)
		foreign := c.deploy(anna)
		before := []control.Server{nord.look(mine.id), sued.look(other.id)}
		for name, do := range operations {
			for who, actor := range map[string]account.Actor{"another account": anna, "another provider": sued.who, "nobody": {}} {
				err := do(c, actor, "Nord", mine.id, vmID)
				wantFault(t, name+" by "+who, err, fault.NotFound)
				want(t, name+" by "+who, fault.Message(err), `no provider "Nord"`)
			}
			for who, actor := range map[string]account.Actor{"its owner": nord.who, "an operator": operator} {
				err := do(c, actor, "Nobody", mine.id, vmID)
				wantFault(t, name+" of an unknown provider by "+who, err, fault.NotFound)
				want(t, name+" of an unknown provider", fault.Message(err), `no provider "Nobody"`)
			}
		}
		for _, name := range onServer {
			for what, ids := range map[string][2]string{"foreign": {other.id, foreign}, "unknown": {"srv_none", "0x0000000000000000000000000000000000000001"}} {
				wantFault(t, name+" of a "+what+" one", operations[name](c, nord.who, "Nord", ids[0], ids[1]), fault.NotFound)
				wantFault(t, name+" of a "+what+" one by an operator", operations[name](c, operator, "Nord", ids[0], ids[1]), fault.NotFound)
			}
		}
		want(t, "servers", []control.Server{nord.look(mine.id), sued.look(other.id)}, before)
		want(t, "VMs", []vm.State{c.stored(vmID).State, c.stored(foreign).State}, []vm.State{vm.New, vm.New})

		for _, actor := range []account.Actor{nord.who, operator} {
			for _, name := range []string{
				"Listing", "ApplyListing dry", "InviteServer", "Servers", "Server", "Cordon", "Uncordon", "Drain", "Benchmark", "Remove", "Earnings",
				"TerminateVM", "ApplyListing",
			} {
				c.must(name, operations[name](c, actor, "Nord", mine.id, vmID))
				c.must(name+" by id", operations[name](c, actor, nord.look(mine.id).Offer.ProviderID, mine.id, vmID))
			}
		}
		want(t, "how many operations were tried", len(operations), 13)
	})
}

// An account makes up to ten providers, each of another name.
func TestCreateProvider(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		anna, bert := c.account("Anna", 0), c.account("Bert", 0)
		for _, name := range []string{"", strings.Repeat("n", 101), "a\nb", "prv_06abk5", " Nord", "Nord ", "..", "\x00"} {
			_, err := c.CreateProvider(t.Context(), anna, name)
			wantFault(t, "a provider named "+name, err, fault.Invalid)
		}
		made, err := c.CreateProvider(t.Context(), anna, "Nord")
		c.must("CreateProvider", err)
		for _, who := range []account.Actor{anna, bert, operator} {
			_, err = c.CreateProvider(t.Context(), who, "Nord")
			wantFault(t, "a name that is taken", err, fault.Conflict)
		}
		for i := range 9 {
			_, err := c.CreateProvider(t.Context(), anna, fmt.Sprint("Nord ", i))
			c.must("CreateProvider", err)
		}
		_, err = c.CreateProvider(t.Context(), anna, "one too many")
		wantFault(t, "an eleventh", err, fault.Exhausted)
		_, err = c.CreateProvider(t.Context(), bert, "Sued")
		c.must("CreateProvider", err)

		own, err := c.Providers(t.Context(), anna)
		c.must("Providers", err)
		want(t, "own ones", len(own), 10)
		want(t, "the first", own[0], made)
		all, err := c.Providers(t.Context(), operator)
		c.must("Providers", err)
		want(t, "all", len(all), 11)
		for _, who := range []account.Actor{c.account("Carl", 0), {}} {
			none, err := c.Providers(t.Context(), who)
			c.must("Providers", err)
			want(t, "those of nobody", none, []control.Provider{})
		}
	})
}

// A list of providers says how many servers each has and what it holds.
func TestProviders(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		nord, sued := c.shop("Nord", 1), c.shop("Sued", 2)
		a := nord.join(1)
		gone := nord.join(1)
		_, err := c.Remove(t.Context(), nord.who, "Nord", gone.id)
		c.must("Remove", err)
		id := c.deploy(c.account("Anna", 2*price))
		a.reports(vm.Ready, id)
		list, err := c.Providers(t.Context(), operator)
		c.must("Providers", err)
		want(t, "Nord", []any{list[0].Name, list[0].Servers, list[0].Pending, list[0].Earned}, []any{"Nord", 1, price, 0 * price})
		want(t, "Sued", []any{list[1].Name, list[1].Servers, list[1].Pending}, []any{"Sued", 0, 0 * price})
		own, err := c.Providers(t.Context(), sued.who)
		c.must("Providers", err)
		want(t, "own ones", len(own), 1)
	})
}

// A provider's token lets one server in: once, in time, where it says and under
// the name it says. Only its hash is kept.
func TestServerToken(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		nord := c.shop("Nord", 1)
		c.shop("Sued", 2)
		d := declared(1)
		d.Offers = append(d.Offers, listedAt("us-nyc-1", "amd", capacity.Hardware{CPU: capacity.CPU{Manufacturer: "amd"}}))
		nord.apply(d)
		invite := func(in control.ServerInvitation) (string, error) {
			if in.Valid == 0 {
				in.Valid = time.Hour
			}
			token, _, err := c.InviteServer(t.Context(), nord.who, "Nord", in)
			return token, err
		}
		for what, row := range map[string]struct {
			in   control.ServerInvitation
			kind fault.Kind
		}{
			"an unknown datacenter":      {control.ServerInvitation{Datacenter: "us-nyc-9"}, fault.NotFound},
			"another's datacenter":       {control.ServerInvitation{Datacenter: "us-nyc-2"}, fault.NotFound},
			"an unknown offer":           {control.ServerInvitation{Datacenter: "us-nyc-1", Offer: "gold"}, fault.NotFound},
			"a bad name":                 {control.ServerInvitation{Datacenter: "us-nyc-1", Name: "a b"}, fault.Invalid},
			"a token that is never good": {control.ServerInvitation{Datacenter: "us-nyc-1", Valid: time.Minute}, fault.Invalid},
			"a token that is ever good":  {control.ServerInvitation{Datacenter: "us-nyc-1", Valid: 366 * 24 * time.Hour}, fault.Invalid},
		} {
			_, err := invite(row.in)
			wantFault(t, what, err, row.kind)
		}
		key := func() ed25519.PublicKey {
			key, _, err := ed25519.GenerateKey(rand.Reader)
			c.must("GenerateKey", err)
			return key
		}
		token, err := invite(control.ServerInvitation{Datacenter: "US-NYC-1", Name: "one"})
		c.must("InviteServer", err)
		rival, err := invite(control.ServerInvitation{Datacenter: "us-nyc-1", Name: "one"})
		c.must("InviteServer", err)
		id, err := c.Enroll(t.Context(), token, key(), inventory(room(1)))
		c.must("Enroll", err)
		one := nord.look("one")
		want(t, "server", []any{one.ID, one.Name, one.Offer.Name, one.Datacenter.Slug()}, []any{id, "one", "amd", "us-nyc-1"})
		_, err = c.Enroll(t.Context(), token, key(), inventory(room(1)))
		wantFault(t, "used", err, fault.Denied)
		_, err = c.Enroll(t.Context(), rival, key(), inventory(room(1)))
		wantFault(t, "a name that was taken meanwhile", err, fault.Conflict)
		_, err = invite(control.ServerInvitation{Datacenter: "us-nyc-1", Name: "one"})
		wantFault(t, "a name that is taken", err, fault.Conflict)
		_, err = c.Remove(t.Context(), nord.who, "Nord", "one")
		c.must("Remove", err)
		id, err = c.Enroll(t.Context(), rival, key(), inventory(room(1)))
		c.must("Enroll under a name that is free again", err)
		want(t, "the server of that name", nord.look("one").ID, id)

		plain, err := invite(control.ServerInvitation{Datacenter: "us-nyc-1", Offer: "standard"})
		c.must("InviteServer", err)
		id, err = c.Enroll(t.Context(), plain, key(), inventory(room(1)))
		c.must("Enroll", err)
		want(t, "the offer that was named", nord.look(id).Offer.Name, "standard")
		d.Datacenters = append(d.Datacenters, market.Datacenter{Country: "US", City: "NYC", Index: 3, Tier: 3})
		d.Offers[0] = listedAt("us-nyc-3", "elsewhere", capacity.Hardware{})
		nord.apply(d)
		for _, offer := range []string{"standard", "elsewhere"} {
			_, err = invite(control.ServerInvitation{Datacenter: "us-nyc-1", Offer: offer})
			wantFault(t, "an offer that is withdrawn, or elsewhere", err, fault.NotFound)
		}
		late, err := invite(control.ServerInvitation{Datacenter: "us-nyc-1"})
		c.must("InviteServer", err)
		c.clock.advance(time.Hour)
		_, err = c.Enroll(t.Context(), late, key(), inventory(room(1)))
		wantFault(t, "expired", err, fault.Denied)
		c.must("look for the token", c.db.Write(t.Context(), func(tx *store.Tx) error {
			_, err := tx.UseToken(t.Context(), late, start)
			wantFault(t, "the token itself is kept", err, fault.Denied)
			_, err = tx.UseToken(t.Context(), account.HashKey(late), start)
			return err
		}))
	})
}
