package market_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/money"
)

// one draws one of the values, each as often as the others.
func one[T any](t *rapid.T, name string, values ...T) T {
	return values[rapid.Uint16().Draw(t, name)%uint16(len(values))]
}

// fleet draws offers that differ little, so that they compete.
func fleet() *rapid.Generator[[]market.Offer] {
	return rapid.Custom(func(t *rapid.T) []market.Offer {
		offers := make([]market.Offer, one(t, "offers", 0, 1, 2, 3, 4, 5))
		for i := range offers {
			unit := func(name string) money.Amount { return one[money.Amount](t, name, 0, 1, 1, 2) }
			o := market.Offer{
				ID: fmt.Sprint("off_", 9-i), Datacenter: market.Datacenter{Country: one(t, "country", "US", "DE")},
				Hardware:        hardware(t),
				Prices:          market.Prices{VCPU: unit("vcpu"), RAM: unit("ram"), Storage: unit("storage"), Address: unit("address")},
				MaxExtraStorage: one[int64](t, "most extra", 0, 0, 20),
			}
			for n := range one(t, "servers", 0, 1, 2, 3) {
				total := vector(t, "total", 2, 8, 16, 64)
				o.Servers = append(o.Servers, market.Server{ID: fmt.Sprintf("srv_%d_%d", i, n), Capacity: total, Used: vector(t, "used", 0, 0, 2, 6)})
			}
			offers[i] = o
		}
		return offers
	})
}

// vector draws room for some VMs, of a few vCPU each.
func vector(t *rapid.T, name string, vcpus ...int64) capacity.Vector {
	n := one(t, name, vcpus...)
	return capacity.Vector{VCPU: n, RAMGiB: 2 * n, StorageGiB: 15 * n, Addresses: one(t, name+" addresses", n/2, n/2, 1)}
}

func hardware(t *rapid.T) capacity.Hardware {
	return capacity.Hardware{
		CPU: one(t, "CPU", capacity.CPU{Manufacturer: "AMD", Architecture: "Zen"}, capacity.CPU{Manufacturer: "AMD", Architecture: "Zen"},
			capacity.CPU{Manufacturer: "Intel", Architecture: "Xeon"}),
		Memory:  capacity.Memory{Type: "DDR", Generation: one(t, "generation", "4", "5")},
		Storage: capacity.Storage{Type: one(t, "disk", "SSD", "NVMe")},
	}
}

// wishes draws constraints that often can be met.
func wishes(offers []market.Offer) *rapid.Generator[market.Constraints] {
	return rapid.Custom(func(t *rapid.T) market.Constraints {
		c := market.Constraints{Configuration: one(t, "size", append(slugs()[:4], "", "", "", "cpu-3")...)}
		c.Countries = one(t, "countries", nil, nil, []string{"us"}, []string{"FR", "DE"}, []string{"FR"})
		c.CPU = one(t, "CPU", nil, nil, []capacity.CPU{{Manufacturer: "amd"}}, []capacity.CPU{{Architecture: "Zen"}, {Manufacturer: "Intel"}}, []capacity.CPU{{}})
		c.Memory = one(t, "memory", nil, nil, []capacity.Memory{{Type: "DDR", Generation: "4"}}, []capacity.Memory{{Type: "DDR3"}, {Generation: "5"}})
		c.Extra = one(t, "extra", nil, nil, []market.ExtraStorage{{GiB: 5}}, []market.ExtraStorage{{GiB: 20, Type: "nvme"}, {GiB: 1}}, []market.ExtraStorage{{GiB: 100, Type: "SSD"}})
		c.Storage = one(t, "storage", nil, nil, []capacity.Storage{{Type: "NVMe"}, {Type: "SSD"}})
		if len(offers) > 0 && one(t, "limited", true, false) { // just at the price of something, or beside it
			o, conf := one(t, "offer", offers...), one(t, "size", market.Configurations()[:5]...)
			limit := cost(o.Prices, demand(conf, c)) + one[money.Amount](t, "beside", -1, 0, 1)
			c.MaxPrice = &limit
		}
		return c
	})
}

func slugs() (list []string) {
	for _, c := range market.Configurations() {
		list = append(list, c.Slug())
	}
	return list
}

// wanted says in the plainest words whether an offer is.
func wanted(o market.Offer, c market.Constraints) bool {
	is := func(want, have string) bool { return want == "" || strings.EqualFold(want, have) }
	ok := len(c.Countries) == 0
	for _, country := range c.Countries {
		ok = ok || is(country, o.Datacenter.Country)
	}
	cpu := len(c.CPU) == 0
	for _, w := range c.CPU {
		cpu = cpu || is(w.Manufacturer, o.Hardware.CPU.Manufacturer) && is(w.Architecture, o.Hardware.CPU.Architecture)
	}
	memory := len(c.Memory) == 0
	for _, w := range c.Memory {
		memory = memory || is(w.Type, o.Hardware.Memory.Type) && is(w.Generation, o.Hardware.Memory.Generation)
	}
	storage := len(c.Storage) == 0
	for _, w := range c.Storage {
		storage = storage || is(w.Type, o.Hardware.Storage.Type)
	}
	extra := int64(0)
	for _, x := range c.Extra {
		extra += x.GiB
		ok = ok && is(x.Type, o.Hardware.Storage.Type)
	}
	return ok && cpu && memory && storage && (o.MaxExtraStorage == 0 || extra <= o.MaxExtraStorage)
}

func demand(conf market.Configuration, c market.Constraints) capacity.Vector {
	v := capacity.Vector{VCPU: conf.VCPU, RAMGiB: conf.RAMGiB, StorageGiB: conf.StorageGiB, Addresses: 1}
	for _, x := range c.Extra {
		v.StorageGiB += x.GiB
	}
	return v
}

func cost(p market.Prices, v capacity.Vector) money.Amount {
	return p.VCPU*money.Amount(v.VCPU) + p.RAM*money.Amount(v.RAMGiB) + p.Storage*money.Amount(v.StorageGiB) + p.Address*money.Amount(v.Addresses)
}

func sizes(c market.Constraints) []market.Configuration {
	return slices.DeleteFunc(market.Configurations(), func(conf market.Configuration) bool {
		return c.Configuration != "" && conf.Slug() != c.Configuration
	})
}

// Search finds what a plain search finds, in its order.
func TestSearch(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		offers := fleet().Draw(t, "offers")
		c := wishes(offers).Draw(t, "wishes")
		type hit struct {
			price money.Amount
			conf  market.Configuration
			offer string
		}
		var want []hit
		for _, o := range offers {
			for _, conf := range sizes(c) {
				room := slices.ContainsFunc(o.Servers, func(s market.Server) bool { return s.Capacity.Sub(s.Used).Fits(demand(conf, c)) })
				if full := cost(o.Prices, demand(conf, c)); room && wanted(o, c) && (c.MaxPrice == nil || full <= *c.MaxPrice) {
					want = append(want, hit{cost(o.Prices, conf.Demand(0)), conf, o.ID})
				}
			}
		}
		slices.SortFunc(want, func(a, b hit) int {
			return cmp.Or(cmp.Compare(a.price, b.price), cmp.Compare(slices.Index(slugs(), a.conf.Slug()), slices.Index(slugs(), b.conf.Slug())), cmp.Compare(a.offer, b.offer))
		})
		found, err := market.Search(offers, c)
		if err != nil {
			t.Fatalf("Search: %v", err)
		}
		var got []hit
		for _, m := range found {
			got = append(got, hit{m.Price, m.Configuration, m.Offer.ID})
			checkMatch(t, m)
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

// checkMatch checks that as many VMs as a match says fit, and no more.
func checkMatch(t *rapid.T, m market.Match) {
	best := int64(0)
	for i, s := range m.Offer.Servers {
		free, one := s.Capacity.Sub(s.Used), m.Configuration.Demand(0)
		for range m.Instances[i] {
			if !free.Fits(one) {
				t.Errorf("%d instances don't fit server %s", m.Instances[i], s.ID)
			}
			free = free.Sub(one)
		}
		if free.Fits(one) {
			t.Errorf("more than %d instances fit server %s", m.Instances[i], s.ID)
		}
		free = s.Capacity.Sub(s.Used)
		if extra := m.ExtraGiB[i]; m.Instances[i] > 0 && (!free.Fits(m.Configuration.Demand(extra)) || free.Fits(m.Configuration.Demand(extra+1)) && free.StorageGiB > one.StorageGiB+extra) {
			t.Errorf("a VM can add other than %d GiB on server %s", extra, s.ID)
		}
		best = max(best, m.ExtraGiB[i])
	}
	if m.Offer.MaxExtraStorage > 0 {
		best = min(best, m.Offer.MaxExtraStorage)
	}
	if got := m.MaxExtraGiB(); got != best {
		t.Errorf("MaxExtraGiB: got %d, want %d", got, best)
	}
}

// Place takes the smallest size of which there are enough, and of it the
// cheapest places one after the other; it sells nothing twice.
func TestPlace(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		offers := fleet().Draw(t, "offers")
		c, n := wishes(offers).Draw(t, "wishes"), one(t, "instances", 1, 2, 3, 4, 8, 20)
		some := false
		var want []money.Amount
		for _, conf := range sizes(c) {
			var prices []money.Amount // of all places that there are
			for _, o := range offers {
				full := cost(o.Prices, demand(conf, c))
				if !wanted(o, c) || c.MaxPrice != nil && full > *c.MaxPrice {
					continue
				}
				for _, s := range o.Servers {
					for free := s.Capacity.Sub(s.Used); free.Fits(demand(conf, c)); free = free.Sub(demand(conf, c)) {
						prices = append(prices, full)
					}
				}
			}
			some = some || len(prices) > 0
			if len(prices) >= n {
				slices.Sort(prices)
				want = prices[:n]
				break
			}
		}
		placed, err := market.Place(offers, c, n)
		switch {
		case want == nil && some:
			refused(t, err, "Not enough offers found")
		case want == nil:
			refused(t, err, "No suitable offer found")
		case err != nil:
			t.Fatalf("Place: %v", err)
		}
		var got []money.Amount
		taken := map[string]capacity.Vector{}
		for _, p := range placed {
			got = append(got, p.Price)
			if p.Configuration != placed[0].Configuration || p.StorageGiB != demand(p.Configuration, c).StorageGiB {
				t.Errorf("placed %+v", p)
			}
			taken[p.ServerID] = taken[p.ServerID].Add(demand(p.Configuration, c))
		}
		if !slices.Equal(got, want) {
			t.Errorf("prices: got %v, want %v", got, want)
		}
		for _, o := range offers {
			for _, s := range o.Servers {
				if v := taken[s.ID]; v != (capacity.Vector{}) && !s.Capacity.Sub(s.Used).Fits(v) {
					t.Errorf("server %s: %s was sold of %s", s.ID, v, s.Free())
				}
			}
		}
	})
}

func refused(t *rapid.T, err error, text string) {
	if !fault.Is(err, fault.Unsatisfiable) || fault.Message(err) != text {
		t.Errorf("got %v, want %q", err, text)
	}
}

// Among places of one price the fullest server is filled first.
func TestPlaceFullest(t *testing.T) {
	t.Parallel()
	two := market.Configurations()[0].Demand(0)
	total := two.Add(two).Add(two)
	offers := []market.Offer{{ID: "off", Servers: []market.Server{
		{ID: "empty", Capacity: total}, {ID: "used", Capacity: total, Used: two}, {ID: "full", Capacity: total, Used: total},
	}}}
	placed, err := market.Place(offers, market.Constraints{}, 3)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range placed {
		got = append(got, p.ServerID)
	}
	if want := []string{"used", "used", "empty"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// Constraints that contradict themselves are refused before anything is looked for.
func TestContradictions(t *testing.T) {
	t.Parallel()
	extra := func(gib int64, kind string) market.ExtraStorage { return market.ExtraStorage{GiB: gib, Type: kind} }
	for name, c := range map[string]struct {
		c    market.Constraints
		good bool
	}{
		"none":               {market.Constraints{}, true},
		"a GiB":              {market.Constraints{Extra: []market.ExtraStorage{extra(1, "")}}, true},
		"no GiB":             {market.Constraints{Extra: []market.ExtraStorage{extra(0, "")}}, false},
		"fewer than none":    {market.Constraints{Extra: []market.ExtraStorage{extra(-1, "")}}, false},
		"a PiB":              {market.Constraints{Extra: []market.ExtraStorage{extra(1<<20, "")}}, true},
		"more than a PiB":    {market.Constraints{Extra: []market.ExtraStorage{extra(1<<20+1, "")}}, false},
		"a PiB and a GiB":    {market.Constraints{Extra: []market.ExtraStorage{extra(1<<20, ""), extra(1, "")}}, false},
		"the type asked for": {market.Constraints{Storage: []capacity.Storage{{Type: "nvme"}}, Extra: []market.ExtraStorage{extra(1, "NVMe")}}, true},
		"any type asked for": {market.Constraints{Storage: []capacity.Storage{{}}, Extra: []market.ExtraStorage{extra(1, "NVMe")}}, true},
		"another type":       {market.Constraints{Storage: []capacity.Storage{{Type: "SSD"}}, Extra: []market.ExtraStorage{extra(1, "NVMe")}}, false},
	} {
		_, search := market.Search(nil, c.c)
		_, place := market.Place(nil, c.c, 1)
		if c.good != (search == nil) || c.good != fault.Is(place, fault.Unsatisfiable) || c.good == fault.Is(place, fault.Invalid) {
			t.Errorf("%s: Search %v, Place %v", name, search, place)
		}
	}
}

// A price is the sum of its parts, and one beyond all money is none.
func TestPrices(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := market.Prices{
			VCPU: money.Amount(rapid.Int64Range(0, 1<<40).Draw(t, "vcpu")), RAM: money.Amount(rapid.Int64Range(0, 1<<40).Draw(t, "ram")),
			Storage: money.Amount(rapid.Int64Range(0, 1<<40).Draw(t, "storage")), Address: money.Amount(rapid.Int64Range(0, 1<<40).Draw(t, "address")),
		}
		n := func(name string) int64 { return rapid.Int64Range(0, 1000).Draw(t, name) }
		v := capacity.Vector{VCPU: n("vcpus"), RAMGiB: n("GiB of RAM"), StorageGiB: n("GiB of storage"), Addresses: n("addresses")}
		if got, err := p.Of(v); err != nil || got != cost(p, v) {
			t.Errorf("got %s, %v, want %s", got, err, cost(p, v))
		}
	})
	for _, p := range []market.Prices{{VCPU: money.Max}, {VCPU: money.Max / 2, RAM: money.Max / 2}} {
		if _, err := p.Of(capacity.Vector{VCPU: 2, RAMGiB: 2}); !fault.Is(err, fault.Invalid) {
			t.Errorf("%+v: got %v, want a fault of kind invalid", p, err)
		}
		offers := []market.Offer{{Prices: p, Servers: []market.Server{{ID: "s", Capacity: capacity.Vector{VCPU: 99, RAMGiB: 99, StorageGiB: 99, Addresses: 9}}}}}
		if found, err := market.Search(offers, market.Constraints{}); err != nil || len(found) != 0 {
			t.Errorf("%+v: Search found %v, %v", p, found, err)
		}
		if _, err := market.Place(offers, market.Constraints{}, 1); !fault.Is(err, fault.Unsatisfiable) {
			t.Errorf("%+v: Place: %v", p, err)
		}
	}
}
