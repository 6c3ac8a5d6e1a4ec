package market_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/money"
)

func TestConfigurations(t *testing.T) {
	t.Parallel()
	list := market.Configurations()
	if got := list[0].Slug(); got != "cpu-2-ram-4gb-storage-25gb" {
		t.Errorf("the smallest is %s", got)
	}
	for i, c := range list {
		if c.RAMGiB != 2*c.VCPU || c.VCPU%2 != 0 || c.StorageGiB < 25 {
			t.Errorf("%s is no multiple of the compute unit", c.Slug())
		}
		if !c.Demand(0).Fits(list[0].Demand(0)) {
			t.Errorf("%s has less of something than the first", c.Slug())
		}
		if i > 0 && slices.Compare([]int64{list[i-1].VCPU, list[i-1].RAMGiB, list[i-1].StorageGiB}, []int64{c.VCPU, c.RAMGiB, c.StorageGiB}) >= 0 {
			t.Errorf("%s stands behind %s", c.Slug(), list[i-1].Slug())
		}
	}
	list[0].VCPU = 99
	if market.Configurations()[0].VCPU == 99 {
		t.Error("a caller changed the catalogue")
	}
	if got := (market.Configuration{VCPU: 3, RAMGiB: 5, StorageGiB: 7}).Slug(); got != "cpu-3-ram-5gb-storage-7gb" {
		t.Errorf("another size is named %s", got)
	}
}

// A price is the sum of its parts, and the highest that is allowed overflows nothing.
func TestPrices(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		unit := func(name string) money.Amount {
			return money.Amount(rapid.Int64Range(0, int64(market.MaxUnitPrice)).Draw(t, name))
		}
		p := market.Prices{VCPU: unit("vcpu"), RAM: unit("ram"), Storage: unit("storage"), Address: unit("address")}
		n := func(name string) int64 { return rapid.Int64Range(0, 1<<20).Draw(t, name) }
		v := capacity.Vector{VCPU: n("vcpus"), RAMGiB: n("GiB of RAM"), StorageGiB: n("GiB of storage"), Addresses: n("addresses")}
		if got := p.Of(v); got != cost(p, v) || got < 0 {
			t.Errorf("got %s, want %s", got, cost(p, v))
		}
		if err := p.Check(); err != nil {
			t.Errorf("%+v: %v", p, err)
		}
	})
	for _, p := range []market.Prices{
		{VCPU: -1},
		{RAM: -1},
		{Storage: market.MaxUnitPrice + 1},
		{Address: money.Max},
	} {
		if err := p.Check(); !fault.Is(err, fault.Invalid) {
			t.Errorf("%+v: got %v, want a fault of kind invalid", p, err)
		}
		x := market.NewIndex()
		room := capacity.Vector{VCPU: 9, RAMGiB: 9, StorageGiB: 99, Addresses: 1}
		x.Apply(market.Changes{Offers: []market.Offer{{ID: "off", Prices: p}}, Servers: []market.Server{{Number: 1, OfferID: "off", Open: true, Capacity: room}}})
		if _, err := x.Place(market.Request{Instances: 1}); !fault.Is(err, fault.Unsatisfiable) {
			t.Errorf("%+v is sold for: %v", p, err)
		}
		if got := x.Catalogue().Configurations; len(got) > 0 {
			t.Errorf("%v are listed at %+v", got, p)
		}
	}
}

// Of the offers that list a server it goes into the most precise one.
func TestForHardware(t *testing.T) {
	t.Parallel()
	zen := capacity.Hardware{CPU: capacity.CPU{Manufacturer: "AMD", Brand: "EPYC", Architecture: "Zen", Generation: "4"}, Memory: capacity.Memory{Type: "DDR", Generation: "5"}, Storage: capacity.Storage{Type: "NVMe"}}
	amd := capacity.Hardware{CPU: capacity.CPU{Manufacturer: "amd"}}
	intel := capacity.Hardware{CPU: capacity.CPU{Manufacturer: "Intel"}}
	offer := func(name string, hw capacity.Hardware) market.Offer { return market.Offer{Name: name, Hardware: hw} }
	gone := market.Offer{Name: "gone", Hardware: zen, Withdrawn: true}
	for name, c := range map[string]struct {
		offers []market.Offer
		want   string
	}{
		"none":                 {nil, ""},
		"of another maker":     {[]market.Offer{offer("a", intel)}, ""},
		"anything":             {[]market.Offer{offer("a", capacity.Hardware{})}, "a"},
		"the more precise":     {[]market.Offer{offer("a", capacity.Hardware{}), offer("b", amd), offer("c", intel)}, "b"},
		"all named":            {[]market.Offer{offer("b", amd), offer("z", zen)}, "z"},
		"the first by name":    {[]market.Offer{offer("b", amd), offer("a", amd), offer("c", amd)}, "a"},
		"not a withdrawn one":  {[]market.Offer{gone, offer("b", amd)}, "b"},
		"only a withdrawn one": {[]market.Offer{gone}, ""},
	} {
		got := ""
		if o := market.ForHardware(c.offers, zen); o != nil {
			got = o.Name
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
	for _, spoil := range []func(*capacity.Hardware){
		func(h *capacity.Hardware) { h.CPU.Brand = "x" }, func(h *capacity.Hardware) { h.CPU.Architecture = "x" },
		func(h *capacity.Hardware) { h.CPU.Generation = "x" }, func(h *capacity.Hardware) { h.Memory.Type = "x" },
		func(h *capacity.Hardware) { h.Memory.Generation = "x" }, func(h *capacity.Hardware) { h.Storage.Type = "x" },
	} {
		other := zen
		spoil(&other)
		if offer("a", other).Lists(zen) {
			t.Errorf("%+v is listed as %+v", zen, other)
		}
	}
}

func TestStrategyCheck(t *testing.T) {
	t.Parallel()
	for _, s := range []market.Strategy{market.Tightest, market.Spread, market.Pack} {
		if err := s.Check(); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
	if _, err := market.NewIndex().Place(market.Request{Instances: 1, Strategy: "best"}); !fault.Is(err, fault.Invalid) {
		t.Errorf("got %v, want a fault of kind invalid", err)
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
		x := market.NewIndex()
		search := x.Search(c.c, func(*market.Match) bool { return true })
		_, place := x.Place(market.Request{Constraints: c.c, Instances: 1})
		if c.good != (search == nil) || c.good != fault.Is(place, fault.Unsatisfiable) || c.good == fault.Is(place, fault.Invalid) {
			t.Errorf("%s: Search %v, Place %v", name, search, place)
		}
	}
}
