package control_test

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/store/storetest"
)

var (
	amd   = capacity.Hardware{CPU: capacity.CPU{Manufacturer: "AMD"}}
	intel = capacity.Hardware{CPU: capacity.CPU{Manufacturer: "Intel"}}
)

// listings draws listings of few places, names and prices, so that two of them
// have much in common. Each is well formed.
func listings(t *rapid.T, label string) control.Declared {
	d := control.Declared{Datacenters: []market.Datacenter{}, Offers: []control.DeclaredOffer{}}
	for _, place := range []market.Datacenter{{Country: "US", City: "NYC", Index: 1}, {Country: "US", City: "NYC", Index: 2}, {Country: "DE", City: "FRA", Index: 1}} {
		if place.Tier = rapid.Int64Range(0, 4).Draw(t, label+" tier"); place.Tier > 0 {
			place.Certifications = rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"ISO 27001", "SOC 2", "a, b"}), 0, 2, rapid.ID[string]).Draw(t, label+" certifications")
			d.Datacenters = append(d.Datacenters, place)
		}
	}
	amounts := rapid.SampledFrom([]string{"0", "0.000001", "0.5", ".25", "1000000"})
	for _, name := range []string{"a", "b", "c"} {
		if len(d.Datacenters) == 0 || !rapid.Bool().Draw(t, label+" lists "+name) {
			continue
		}
		d.Offers = append(d.Offers, control.DeclaredOffer{
			ListedOffer: control.ListedOffer{
				Name: name, Datacenter: rapid.SampledFrom(d.Datacenters).Draw(t, label+" datacenter").Slug(),
				Hardware:        rapid.SampledFrom([]capacity.Hardware{{}, amd, intel, hardware}).Draw(t, label+" hardware"),
				MaxExtraStorage: rapid.SampledFrom([]int64{0, 10, 1 << 20}).Draw(t, label+" extra"),
			},
			VCPU: amounts.Draw(t, label+" vcpu"), RAM: amounts.Draw(t, label+" ram"), Storage: amounts.Draw(t, label+" storage"), Address: amounts.Draw(t, label+" address"),
		})
	}
	return d
}

// read returns a listing whose prices were read.
func read(t tb, d control.Declared) control.Listing {
	t.Helper()
	l := control.Listing{Datacenters: d.Datacenters, Offers: []control.ListedOffer{}}
	for _, o := range d.Offers {
		for to, text := range map[*money.Amount]string{&o.Prices.VCPU: o.VCPU, &o.Prices.RAM: o.RAM, &o.Prices.Storage: o.Storage, &o.Prices.Address: o.Address} {
			amount, err := money.Parse(text)
			if err != nil {
				t.Fatalf("price %s: %v", text, err)
			}
			*to = amount
		}
		l.Offers = append(l.Offers, o.ListedOffer)
	}
	return l
}

// write returns a listing as it is declared.
func write(l control.Listing) control.Declared {
	d := control.Declared{Datacenters: l.Datacenters, Offers: []control.DeclaredOffer{}}
	for _, o := range l.Offers {
		d.Offers = append(d.Offers, control.DeclaredOffer{
			ListedOffer: o, VCPU: o.Prices.VCPU.String(), RAM: o.Prices.RAM.String(), Storage: o.Prices.Storage.String(), Address: o.Prices.Address.String(),
		})
	}
	return d
}

// What is alike differs in nothing, what differs is told, and there and back is
// the same.
func TestCompare(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b := read(t, listings(t, "a")), read(t, listings(t, "b"))
		want(t, "with itself", control.Compare(a, a), []control.Change{})
		shuffled := control.Listing{Datacenters: slices.Clone(a.Datacenters), Offers: slices.Clone(a.Offers)}
		slices.Reverse(shuffled.Datacenters)
		slices.Reverse(shuffled.Offers)
		want(t, "in another order", control.Compare(a, shuffled), []control.Change{})
		there, back := control.Compare(a, b), control.Compare(b, a)
		want(t, "how many changes there and back", len(there), len(back))
		same := reflect.DeepEqual(a, b)
		if same != (len(there) == 0) {
			t.Errorf("%+v\nand %+v\nare the same: %v, but differ in %+v", a, b, same, there)
		}
		for _, c := range there {
			if c.Path == "" || c.Text == "" || c.Before == c.After || (c.Action == control.Added) != (c.Before == "" && !strings.Contains(c.Path, "hardware")) {
				t.Errorf("change %+v", c)
			}
		}
	})
}

// Whatever is applied after whatever: it is what is listed then, applying it
// again changes nothing, nor does applying what is exported; a dry run says the
// same and does nothing. Servers stay where they are and are sold by the offer
// that lists them; VMs keep their price.
func TestApply(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, e storetest.Engine) {
		property(t, e, func(rt *rapid.T) {
			db := e.Open(t)
			defer func() { _ = db.Close() }() // rather than hundreds of them at the end of the test
			c := newCloud(rt, db)
			k := c.shop("Nord", 1)
			k.apply(control.Declared{
				Datacenters: []market.Datacenter{{Country: "US", City: "NYC", Index: 1, Tier: 3}, {Country: "DE", City: "FRA", Index: 1, Tier: 3}},
				Offers:      []control.DeclaredOffer{listedAt("us-nyc-1", "a", capacity.Hardware{}), listedAt("de-fra-1", "b", capacity.Hardware{})},
			})
			west := k.join(1)
			id := c.deploy(c.account("Anna", 2*price))
			east := inventory(room(1))
			east.Hardware.CPU.Manufacturer = "Intel"
			k.slug = "de-fra-1"
			k.enroll(control.ServerInvitation{}, east)
			for range rapid.IntRange(1, 4).Draw(rt, "times") {
				k.applied(rt, listings(rt, "listing"))
			}
			want(rt, "price of the VM", c.stored(id).Price, price)
			want(rt, "where its server is", k.look(west.id).Datacenter.Slug(), "us-nyc-1")
			c.audit()
		})
	})
}

// applied applies a listing and checks what came of it.
func (k shop) applied(t tb, d control.Declared) {
	t.Helper()
	ctx := t.Context()
	was, err := k.Listing(ctx, k.who, k.name)
	k.must("Listing", err)
	told, dryErr := k.ApplyListing(control.Rehearse(ctx), k.who, k.name, d)
	now, err := k.Listing(ctx, k.who, k.name)
	k.must("Listing", err)
	want(t, "listing after a dry run", now, was)
	changes, err := k.ApplyListing(ctx, k.who, k.name, d)
	want(t, "changes that the dry run told", told, changes)
	if err != nil {
		want(t, "fault that the dry run told", fault.Message(dryErr), fault.Message(err))
		wantFault(t, "ApplyListing", err, fault.Invalid)
		if !strings.Contains(err.Error(), "which do not move") && !strings.Contains(err.Error(), "no offer would list server") {
			t.Errorf("ApplyListing: %v", err)
		}
		return
	}
	if now, err = k.Listing(ctx, k.who, k.name); err != nil {
		t.Fatalf("Listing: %v", err)
	}
	wanted := read(t, d)
	for _, c := range control.Compare(now, wanted) {
		if c.Action != control.Removed || !strings.HasPrefix(c.Path, "datacenters[") { // which is kept
			t.Errorf("not listed though it was declared: %+v", c)
		}
	}
	again, err := k.ApplyListing(ctx, k.who, k.name, d)
	k.must("ApplyListing again", err)
	for _, c := range again {
		if !strings.HasPrefix(c.Text, "kept: ") || c.Before != c.After {
			t.Errorf("applied again it changes %+v", c)
		}
	}
	exported, err := k.ApplyListing(ctx, k.who, k.name, write(now))
	k.must("ApplyListing of what was exported", err)
	want(t, "changes by what was exported", exported, []control.Change{})
	k.shelved(t, now)
}

// shelved checks that servers are in the offers that list their hardware.
func (k shop) shelved(t tb, l control.Listing) {
	t.Helper()
	servers, err := k.Servers(t.Context(), k.who, k.name)
	k.must("Servers", err)
	want(t, "servers", []string{servers[0].Datacenter.Slug(), servers[1].Datacenter.Slug()}, []string{"us-nyc-1", "de-fra-1"})
	for _, s := range servers {
		var here []market.Offer
		for _, o := range l.Offers {
			if o.Datacenter == s.Datacenter.Slug() {
				here = append(here, market.Offer{Name: o.Name, Hardware: o.Hardware})
			}
		}
		best := market.ForHardware(here, s.Inventory.Hardware)
		switch {
		case best == nil && !s.Offer.Withdrawn:
			t.Errorf("a server of %v is sold by offer %s, which does not list it", s.Inventory.Hardware.CPU, s.Offer.Name)
		case best != nil && (s.Offer.Name != best.Name || s.Offer.Withdrawn):
			t.Errorf("a server of %v is in offer %s (withdrawn: %v), not %s", s.Inventory.Hardware.CPU, s.Offer.Name, s.Offer.Withdrawn, best.Name)
		}
	}
}

// All that is wrong with a listing is told at once, and where; nothing of it is
// applied.
func TestListingFaults(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		nord := c.shop("Nord", 1)
		c.shop("Sued", 2)
		bad := listedAt("us-nyc-1", "a", capacity.Hardware{CPU: capacity.CPU{Brand: "a\nb"}, Storage: capacity.Storage{Type: "tape"}})
		bad.VCPU, bad.RAM, bad.Storage, bad.Address, bad.MaxExtraStorage = "0.0000001", "-1", "", "1000000.000001", -1
		d := control.Declared{
			Datacenters: []market.Datacenter{
				{Country: "US", City: "NYC", Index: 1, Tier: 3},
				{Country: "usa", City: "N", Index: 0, Tier: 9, Certifications: []string{"", "a\tb"}},
				{Country: "US", City: "NYC", Index: 1, Tier: 3},
				{Country: "US", City: "NYC", Index: 2, Tier: 3},
				{Country: "US", City: "NYC", Index: 3, Tier: 3},
			},
			Offers: []control.DeclaredOffer{bad, listedAt("us-nyc-1", "a", amd), listedAt("us-lax-1", "", amd)},
		}
		before, err := nord.Listing(t.Context(), nord.who, "Nord")
		c.must("Listing", err)
		_, err = c.ApplyListing(t.Context(), nord.who, "Nord", d)
		wantFault(t, "ApplyListing", err, fault.Invalid)
		wrong, ok := errors.AsType[*control.ListingError](err)
		if !ok {
			t.Fatalf("ApplyListing: %v is no ListingError", err)
		}
		said := map[string]string{}
		for _, f := range wrong.Faults {
			said[f.Path] = f.Message
		}
		for path, says := range map[string]string{
			"datacenters[1].country": "ISO 3166-1", "datacenters[1].city": "UN/LOCODE", "datacenters[1].index": "1 to 9999", "datacenters[1].tier": "1 to 4",
			"datacenters[1].certifications": "1 to 100 characters", "datacenters[1].certifications[1]": "printable", "datacenters[2]": "listed twice",
			"datacenters[3].index":         "the next free index there is 4",
			"offers[0].hardware.cpu.brand": "printable", "offers[0].hardware.storage.type": "HDD, SSD and NVMe", "offers[0].prices.vcpu": "more than 6 decimals",
			"offers[0].prices.ram": "not a decimal", "offers[0].prices.storage": "missing", "offers[0].prices.address": "not within",
			"offers[0].maxExtraStorageGib": "not within", "offers[1].name": "listed twice", "offers[2].name": "1 to 100 printable",
			"offers[2].datacenter": "not among",
		} {
			if !strings.Contains(said[path], says) {
				t.Errorf("%s: got %q, want what says %q", path, said[path], says)
			}
			delete(said, path)
		}
		want(t, "other faults", said, map[string]string{})
		want(t, "text", strings.HasPrefix(err.Error(), "18 faults: datacenters[1].country: "), true)
		_, err = c.ApplyListing(t.Context(), nord.who, "Nord", control.Declared{})
		want(t, "a listing of nothing at all", err.Error(),
			"2 faults: datacenters: datacenters is missing; write [] for none; offers: offers is missing; write [] to withdraw all")
		d = declared(1)
		d.Offers[0].RAM = "x"
		_, err = c.ApplyListing(t.Context(), nord.who, "Nord", d)
		want(t, "one fault", err.Error(), `1 fault: offers[0].prices.ram: amount "x" is not a decimal number`)
		d.Datacenters = make([]market.Datacenter, 1001)
		_, err = c.ApplyListing(t.Context(), nord.who, "Nord", d)
		want(t, "a listing without end", fault.Message(err), "1 fault: datacenters: 1001 datacenters are more than 1000")
		now, err := nord.Listing(t.Context(), nord.who, "Nord")
		c.must("Listing", err)
		want(t, "listing", now, before)
	})
}

// A withdrawn offer sells nothing, its VMs run on at their price, and it sells
// again once it is listed; prices count for new VMs alone.
func TestWithdraw(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		nord := c.shop("Nord", 1)
		nord.join(3)
		anna := c.account("Anna", 100*price)
		old := c.deploy(anna)
		d := declared(1)
		d.Offers = []control.DeclaredOffer{}
		changes := nord.apply(d)
		want(t, "how many changes", len(changes), 1)
		want(t, "change", []any{changes[0].Path, changes[0].Action}, []any{"offers[0]", control.Removed})
		_, err := c.Estimate(market.Constraints{}, 1)
		wantFault(t, "estimate of what is withdrawn", err, fault.Unsatisfiable)
		_, err = c.Deploy(t.Context(), anna, wish(1))
		wantFault(t, "deploy of what is withdrawn", err, fault.Unsatisfiable)
		want(t, "VM", purse(c.stored(old)), sum("New", 2*price, 0))

		d.Datacenters = []market.Datacenter{}
		changes = nord.apply(d)
		want(t, "a datacenter with a server", changes, []control.Change{{
			Path: "datacenters[0]", Action: control.Changed, Before: "us-nyc-1", After: "us-nyc-1", Text: "kept: has servers",
		}})

		nord.apply(declared(1))
		want(t, "listed again as it was", nord.look(c.stored(old).ServerID).Offer.Withdrawn, false)
		d = declared(1)
		d.Offers[0].VCPU = "0.00002"
		nord.apply(d)
		c.restart() // and as it is stored
		made := c.deploy(anna)
		want(t, "price of a new VM", c.stored(made).Price, price+2*9)
		want(t, "price of the old one", c.stored(old).Price, price)
		d.Offers[0].Name = "other"
		nord.apply(d)
		want(t, "another offer for the server", nord.look(c.stored(old).ServerID).Offer.Name, "other")
		wantTold(t, "server", nord.look(c.stored(old).ServerID).Timeline, "listed by offer other")
	})
}

// Servers don't move: an offer that has some stays where it is, and it doesn't
// sell hardware that no offer names any more.
func TestServersStay(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		nord := c.shop("Nord", 1)
		nord.join(1)
		d := declared(1)
		d.Datacenters = append(d.Datacenters, market.Datacenter{Country: "US", City: "NYC", Index: 5, Tier: 3})
		d.Offers[0].Datacenter = "us-nyc-5"
		_, err := c.ApplyListing(t.Context(), nord.who, "Nord", d)
		wantFault(t, "an offer that moves", err, fault.Invalid)
		want(t, "what is said", strings.Contains(err.Error(), "1 fault: offers[0].datacenter: offer standard has servers in us-nyc-1, which do not move"), true)
		d.Offers[0].Datacenter = "us-nyc-6"
		_, err = c.ApplyListing(t.Context(), nord.who, "Nord", d)
		want(t, "what is said", strings.Contains(err.Error(), `1 fault: offers[0].datacenter: datacenter "us-nyc-6" is not among`), true)
		d = declared(1)
		d.Offers[0].Hardware = intel
		_, err = c.ApplyListing(t.Context(), nord.who, "Nord", d)
		wantFault(t, "an offer that forgets its server", err, fault.Invalid)
		want(t, "what is said", strings.Contains(err.Error(), "offers[0].hardware: no offer would list server srv_"), true)
		empty := declared(1)
		empty.Offers = []control.DeclaredOffer{}
		nord.apply(empty)
		_, err = c.ApplyListing(t.Context(), nord.who, "Nord", d)
		wantFault(t, "a withdrawn one that comes back without its server", err, fault.Invalid)
		d.Offers[0].Name = "intel"
		nord.apply(d)
		servers, err := c.Servers(t.Context(), nord.who, "Nord")
		c.must("Servers", err)
		want(t, "the server's offer is withdrawn", servers[0].Offer.Withdrawn, true)
	})
}

// A datacenter without offers goes with its place in the listing, and its slug
// is free for others.
func TestRemoveDatacenter(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		nord, sued := c.shop("Nord", 1), c.shop("Sued", 2)
		d := declared(1)
		d.Datacenters = append(d.Datacenters, market.Datacenter{Country: "US", City: "NYC", Index: 3, Tier: 1})
		nord.apply(d)
		theirs := declared(2)
		theirs.Datacenters = append(theirs.Datacenters, d.Datacenters[1])
		_, err := c.ApplyListing(t.Context(), sued.who, "Sued", theirs)
		wantFault(t, "another provider's datacenter", err, fault.Invalid)
		want(t, "change", nord.apply(declared(1)), []control.Change{{
			Path: "datacenters[1]", Action: control.Removed, Before: "us-nyc-3", Text: "datacenter us-nyc-3 is removed",
		}})
		want(t, "how many changes", len(sued.apply(theirs)), 1)

		moved := declared(4) // the offer, which has no servers
		want(t, "how many changes", len(nord.apply(moved)), 3)
		want(t, "a datacenter whose only offer moved away", nord.places(), []string{"us-nyc-4"})
		want(t, "changes", nord.apply(moved), []control.Change{})
	})
}

// places returns the slugs of the datacenters that are listed.
func (k shop) places() (slugs []string) {
	k.t.Helper()
	l, err := k.Listing(k.t.Context(), k.who, k.name)
	k.must("Listing", err)
	for _, d := range l.Datacenters {
		slugs = append(slugs, d.Slug())
	}
	return slugs
}

// Each member of a listing that changes is told by its path.
func TestCompareMembers(t *testing.T) {
	t.Parallel()
	older := read(t, declared(1))
	for path, change := range map[string]func(d *market.Datacenter, o *control.ListedOffer){
		"datacenters[0].tier":                  func(d *market.Datacenter, _ *control.ListedOffer) { d.Tier++ },
		"datacenters[0].certifications":        func(d *market.Datacenter, _ *control.ListedOffer) { d.Certifications = []string{"x"} },
		"offers[0].datacenter":                 func(_ *market.Datacenter, o *control.ListedOffer) { o.Datacenter = "x" },
		"offers[0].hardware.cpu.brand":         func(_ *market.Datacenter, o *control.ListedOffer) { o.Hardware.CPU.Brand = "x" },
		"offers[0].hardware.memory.type":       func(_ *market.Datacenter, o *control.ListedOffer) { o.Hardware.Memory.Type = "x" },
		"offers[0].hardware.storage.type":      func(_ *market.Datacenter, o *control.ListedOffer) { o.Hardware.Storage.Type = "x" },
		"offers[0].prices.vcpu":                func(_ *market.Datacenter, o *control.ListedOffer) { o.Prices.VCPU++ },
		"offers[0].prices.ram":                 func(_ *market.Datacenter, o *control.ListedOffer) { o.Prices.RAM++ },
		"offers[0].prices.storage":             func(_ *market.Datacenter, o *control.ListedOffer) { o.Prices.Storage++ },
		"offers[0].prices.address":             func(_ *market.Datacenter, o *control.ListedOffer) { o.Prices.Address++ },
		"offers[0].maxExtraStorageGib":         func(_ *market.Datacenter, o *control.ListedOffer) { o.MaxExtraStorage++ },
		"offers[0].hardware.cpu.generation":    func(_ *market.Datacenter, o *control.ListedOffer) { o.Hardware.CPU.Generation = "x" },
		"offers[0].hardware.memory.generation": func(_ *market.Datacenter, o *control.ListedOffer) { o.Hardware.Memory.Generation = "x" },
	} {
		newer := read(t, declared(1))
		change(&newer.Datacenters[0], &newer.Offers[0])
		changes := control.Compare(older, newer)
		if len(changes) != 1 || changes[0].Path != path || changes[0].Action != control.Changed {
			t.Errorf("%s: got %+v", path, changes)
		}
	}
}
