package market_test

import (
	"cmp"
	"fmt"
	"slices"
	"testing"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/money"
)

// stand is one server with an offer of its own. The smallest VM costs 100 times
// its price: 25 GiB of storage for 1 each, and the rest for the address.
type stand struct {
	price    money.Amount
	country  string
	tier     int64
	certs    []string
	cpu      capacity.CPU
	gib      int64
	vms      int64
	measured *capacity.Measured
	closed   bool
}

// indexOf returns an index of stands; what they leave out is as with all.
func indexOf(stands ...stand) *market.Index {
	var c market.Changes
	for i, s := range stands {
		id := fmt.Sprint("off_", i+1)
		s.country, s.tier, s.vms, s.gib = cmp.Or(s.country, "US"), cmp.Or(s.tier, 1), cmp.Or(s.vms, 1), cmp.Or(s.gib, 75)
		c.Offers = append(c.Offers, market.Offer{
			ID: id, Provider: fmt.Sprint("P", i+1), ProviderID: fmt.Sprint("prv_", i+1),
			Datacenter: market.Datacenter{ID: fmt.Sprint("dc_", i+1), Country: s.country, City: "AAA", Index: int64(i + 1), Tier: s.tier, Certifications: s.certs},
			Prices:     market.Prices{Storage: 1, Address: 100*s.price - 25},
		})
		c.Servers = append(c.Servers, market.Server{
			Number: uint32(i + 1), OfferID: id, Open: !s.closed, Measured: s.measured,
			Capacity: capacity.Vector{VCPU: 2 * s.vms, RAMGiB: 4 * s.vms, StorageGiB: s.gib * s.vms, Addresses: s.vms},
			Hardware: capacity.Hardware{CPU: s.cpu, Memory: capacity.Memory{Type: "DDR", Generation: "5"}, Storage: capacity.Storage{Type: "SSD"}},
		})
	}
	x := market.NewIndex()
	x.Apply(c)
	return x
}

func limit(n money.Amount) *money.Amount { return new(n) }

func single(c market.Constraints) market.Request { return market.Request{Constraints: c, Instances: 1} }

func many(c market.Constraints, n int) market.Request {
	return market.Request{Constraints: c, Instances: n}
}

// Each way of relaxing says what is to be changed, and finds the smallest.
func TestRelaxations(t *testing.T) {
	t.Parallel()
	zen, xeon, bare := capacity.CPU{Manufacturer: "AMD", Architecture: "Zen"}, capacity.CPU{Manufacturer: "Intel", Architecture: "Xeon"}, capacity.CPU{Manufacturer: "Intel"}
	figures := func(single, fsync float64) *capacity.Measured {
		return &capacity.Measured{CPUSingle: single, DiskFsync: fsync}
	}
	where := func(w market.Where) market.Constraints { return market.Constraints{Where: w} }
	countries := []stand{{price: 1, country: "FR"}, {price: 2, country: "DE", vms: 3}, {price: 3, country: "IT", vms: 2}}
	for name, c := range map[string]struct {
		stands []stand
		r      market.Request
		want   []string // changes with their prices
	}{
		"price":                {[]stand{{price: 7}, {price: 9}}, single(market.Constraints{MaxPrice: limit(300)}), []string{"raise maxTotalPricePerEpochUsd from 0.0003 to 0.0007: 700"}},
		"price of two":         {[]stand{{price: 9}, {price: 7}, {price: 8}}, many(market.Constraints{MaxPrice: limit(300)}, 2), []string{"raise maxTotalPricePerEpochUsd from 0.0003 to 0.0008: 700"}},
		"country":              {countries, single(market.Constraints{Countries: []string{"us"}}), []string{"accept country FR: 100"}},
		"large country":        {countries, many(market.Constraints{Countries: []string{"us"}}, 2), []string{"accept country DE: 200"}},
		"two countries":        {countries, many(market.Constraints{Countries: []string{"us"}}, 5), []string{"accept country DE and IT: 200"}},
		"too many for all":     {countries, many(market.Constraints{Countries: []string{"us"}}, 7), nil},
		"provider":             {countries, single(where(market.Where{Providers: []string{"P9"}})), []string{"accept provider P1: 100"}},
		"excluded":             {countries, single(where(market.Where{ExcludeProviders: []string{"p1", "prv_1", "P2", "P3"}})), []string{"stop excluding provider P1: 100"}},
		"datacenter":           {countries, single(where(market.Where{Datacenters: []string{"us-aaa-1"}})), []string{"accept datacenter fr-aaa-1: 100"}},
		"excluded datacenters": {countries[:1], single(where(market.Where{ExcludeDatacenters: []string{"FR-AAA-1", "dc_1"}})), []string{"stop excluding datacenter fr-aaa-1: 100"}},
		"tier":                 {[]stand{{price: 1, tier: 1}, {price: 3, tier: 3}, {price: 2, tier: 2}}, single(market.Constraints{MinTier: 4}), []string{"accept tier 3 instead of 4: 300"}},
		"tier for two":         {[]stand{{price: 1, tier: 1}, {price: 3, tier: 3}, {price: 2, tier: 2}}, many(market.Constraints{MinTier: 4}, 2), []string{"accept tier 2 instead of 4: 200"}},
		"certification": {
			[]stand{{price: 1}, {price: 3, certs: []string{"SOC"}}, {price: 2, certs: []string{"iso"}}},
			single(market.Constraints{Certifications: []string{"ISO", "SOC"}}),
			[]string{"do without certification SOC: 200"},
		},
		"certification for two": {
			[]stand{{price: 1}, {price: 3, certs: []string{"SOC"}}},
			many(market.Constraints{Certifications: []string{"ISO", "SOC", "iso"}}, 2),
			[]string{"do without certification ISO and SOC: 100"},
		},
		"all certifications": {
			[]stand{{price: 2, certs: []string{"A"}}, {price: 3, certs: []string{"B"}}},
			many(market.Constraints{Certifications: []string{"A", "B"}}, 2),
			[]string{"do without certification A and B: 200"},
		},
		"two of three certifications": {
			[]stand{{price: 1, certs: []string{"B", "C"}}, {price: 3, certs: []string{"A", "B"}}, {price: 2, certs: []string{"C", "A"}}},
			many(market.Constraints{Certifications: []string{"A", "B", "C"}}, 2),
			[]string{"do without certification A and B: 100"},
		},
		"four certifications": {
			[]stand{{price: 1, certs: []string{"C", "D"}}, {price: 2, certs: []string{"A", "B"}}},
			many(market.Constraints{Certifications: []string{"A", "B", "C", "D"}}, 2),
			[]string{"do without certification A and B and C and D: 100"},
		},
		"extra storage of two types": {
			[]stand{{price: 1}},
			single(market.Constraints{Extra: []market.ExtraStorage{{GiB: 40, Type: "NVMe"}, {GiB: 30}, {GiB: 40, Type: "SSD"}}}),
			[]string{"ask for 50 GiB of additional storage instead of 110: 150"},
		},
		"extra storage of another type": {
			[]stand{{price: 1}},
			single(market.Constraints{Extra: []market.ExtraStorage{{GiB: 40, Type: "NVMe"}, {GiB: 30}}}),
			[]string{"ask for 30 GiB of additional storage instead of 70: 130"},
		},
		"CPU":                      {[]stand{{price: 2, cpu: zen}, {price: 1, cpu: xeon}}, single(market.Constraints{CPU: []capacity.CPU{{Manufacturer: "Arm"}}}), []string{"accept CPU Intel Xeon: 100"}},
		"CPU of a manufacturer":    {[]stand{{price: 2, cpu: bare}, {price: 3, cpu: xeon}, {price: 1, cpu: zen}}, many(market.Constraints{CPU: []capacity.CPU{{Manufacturer: "Arm"}}}, 2), []string{"accept CPU Intel: 200"}},
		"memory":                   {countries, single(market.Constraints{Memory: []capacity.Memory{{Generation: "4"}}}), []string{"accept memory DDR 5: 100"}},
		"storage":                  {countries, single(market.Constraints{Storage: []capacity.Storage{{Type: "HDD"}}}), []string{"accept storage SSD: 100"}},
		"extra storage":            {countries, single(market.Constraints{Extra: []market.ExtraStorage{{GiB: 900}}}), []string{"ask for 200 GiB of additional storage instead of 900: 400"}},
		"extra storage of two":     {[]stand{{price: 1, gib: 45}, {price: 1}}, many(market.Constraints{Extra: []market.ExtraStorage{{GiB: 15}, {GiB: 30}}}, 2), []string{"ask for 20 GiB of additional storage instead of 45: 120", "ask for 1 instance instead of 2: 145"}},
		"dear extra storage":       {[]stand{{price: 1}}, single(market.Constraints{Extra: []market.ExtraStorage{{GiB: 40}}, MaxPrice: limit(110)}), []string{"ask for 10 GiB of additional storage instead of 40: 110", "raise maxTotalPricePerEpochUsd from 0.00011 to 0.00014: 140"}},
		"extra storage of a type":  {[]stand{{price: 1}}, single(market.Constraints{Extra: []market.ExtraStorage{{GiB: 40, Type: "NVMe"}}}), []string{"ask for no additional storage instead of 40 GiB: 100"}},
		"configuration":            {[]stand{{price: 1, vms: 4}}, single(market.Constraints{Configuration: slugs()[7]}), []string{"ask for cpu-8-ram-16gb-storage-25gb instead of cpu-16-ram-32gb-storage-25gb: 100"}},
		"no configuration":         {[]stand{{price: 1}}, single(market.Constraints{Configuration: "huge"}), []string{"ask for cpu-2-ram-4gb-storage-25gb instead of huge: 100"}},
		"a figure":                 {[]stand{{price: 1, measured: figures(500, 1)}, {price: 2, measured: figures(700, 1)}}, single(market.Constraints{MinMeasured: capacity.Measured{CPUSingle: 900, DiskFsync: 2}}), []string{"accept cpuSingle of 700 instead of 900: 200"}},
		"a figure from above":      {[]stand{{price: 1, measured: figures(500, 9)}, {price: 2, measured: figures(500, 5)}, {price: 3, measured: figures(500, 0)}}, single(market.Constraints{MinMeasured: capacity.Measured{DiskFsync: 2}}), []string{"accept diskFsync of 5 instead of 2: 200"}},
		"a figure that is unknown": {[]stand{{price: 1, measured: figures(500, 0)}}, single(market.Constraints{MinMeasured: capacity.Measured{CPUSingle: 400, DiskFsync: 2}}), []string{"do without diskFsync of 2: 100"}},
		"no figures":               {[]stand{{price: 1}}, single(market.Constraints{MinMeasured: capacity.Measured{CPUSingle: 900}}), []string{"ask for no measured figures: 100"}},
		"instances":                {countries, many(market.Constraints{}, 9), []string{"ask for 6 instances instead of 9: 100"}},
		"one instance":             {countries[:1], many(market.Constraints{}, 9), []string{"ask for 1 instance instead of 9: 100"}},
		"instances or a price":     {[]stand{{price: 1}, {price: 2}}, many(market.Constraints{MaxPrice: limit(100)}, 2), []string{"raise maxTotalPricePerEpochUsd from 0.0001 to 0.0002: 100", "ask for 1 instance instead of 2: 100"}},
		"the cheapest first": {
			[]stand{{price: 5, country: "FR", tier: 4}, {price: 1, tier: 2}},
			single(market.Constraints{Countries: []string{"US"}, MinTier: 4}),
			[]string{"accept tier 2 instead of 4: 100", "accept country FR: 500"},
		},
		"two in the way": {countries, single(market.Constraints{MaxPrice: limit(1), Countries: []string{"US"}}), nil},
		"closed":         {[]stand{{price: 1, closed: true}}, single(market.Constraints{}), nil},
	} {
		e, err := indexOf(c.stands...).Explain(c.r)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var got []string
		for _, r := range e.Relaxations {
			got = append(got, fmt.Sprintf("%s: %d", r.Change, int64(r.Price)))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

// Extra storage may cost more where the rest costs less.
func TestSearchDearExtraStorage(t *testing.T) {
	t.Parallel()
	x := market.NewIndex()
	room := capacity.Vector{VCPU: 2, RAMGiB: 4, StorageGiB: 45, Addresses: 1}
	x.Apply(market.Changes{
		Offers:  []market.Offer{{ID: "a", Prices: market.Prices{Storage: 2}}, {ID: "b", Prices: market.Prices{Storage: 1, Address: 30}}},
		Servers: []market.Server{{Number: 1, OfferID: "a", Capacity: room, Open: true}, {Number: 2, OfferID: "b", Capacity: room, Open: true}},
	})
	c := market.Constraints{Extra: []market.ExtraStorage{{GiB: 20}}, MaxPrice: limit(75)}
	hits, err := hitsOf(x, c)
	if err != nil || len(hits) != 1 || hits[0].offer != "b" {
		t.Errorf("Search: got %+v, %v, want b", hits, err)
	}
	c.MaxPrice = nil
	if placed, err := x.Place(single(c)); err != nil || placed[0].Server != 2 || placed[0].Price != 75 {
		t.Errorf("Place: got %+v, %v, want server 2 for 75", placed, err)
	}
}

// The wanted texts are those of the request.
func TestReasonsWanted(t *testing.T) {
	t.Parallel()
	e, err := indexOf(stand{price: 1}).Explain(market.Request{Instances: 2, Avoid: map[uint32]bool{9: true}, Constraints: market.Constraints{
		Configuration: slugs()[1], Countries: []string{"US", "DE"}, CPU: []capacity.CPU{{Manufacturer: "AMD", Architecture: "Zen"}, {}},
		Memory: []capacity.Memory{{Type: "DDR", Generation: "5"}}, Storage: []capacity.Storage{{Type: "NVMe"}},
		Extra: []market.ExtraStorage{{GiB: 5}, {GiB: 7, Type: "NVMe"}}, MaxPrice: limit(2 * money.USDC), MinTier: 3, Certifications: []string{"ISO"},
		Where:       market.Where{Providers: []string{"P1"}, ExcludeProviders: []string{"P2"}, Datacenters: []string{"us-aaa-1"}, ExcludeDatacenters: []string{"dc_2"}},
		MinMeasured: capacity.Measured{CPUSingle: 900, Network: 20},
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		slugs()[1], "US, DE", "P1", "P2", "us-aaa-1", "dc_2", "3", "ISO", "AMD Zen, any", "DDR 5", "NVMe", "5 GiB, 7 GiB NVMe", "2",
		"cpuSingle at least 900, network at most 20", "a server without VMs of the group", "a server that takes new VMs",
		"2 vCPU, 4 GiB RAM, 50 GiB storage, 1 address", "2",
	}
	for i, r := range e.Reasons {
		if r.Constraint != order[i] || r.Wanted != want[i] {
			t.Errorf("got %s of %q, want %s of %q", r.Constraint, r.Wanted, order[i], want[i])
		}
	}
}
