package market_test

import (
	"fmt"
	"slices"

	"pgregory.net/rapid"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/money"
)

// one draws one of the values, each as often as the others.
func one[T any](t *rapid.T, name string, values ...T) T {
	return values[rapid.Uint16().Draw(t, name)%uint16(len(values))]
}

// fleet is a small marketplace of offers that differ little, so that they
// compete.
type fleet struct {
	offers  []market.Offer
	servers []market.Server
}

func drawFleet(t *rapid.T) fleet {
	var f fleet
	for i := range one(t, "offers", 1, 2, 3, 4, 5) {
		f.offers = append(f.offers, drawOffer(t, fmt.Sprint("off_", 9-i)))
	}
	for i := range one(t, "servers", 0, 1, 2, 4, 6, 9, 12) {
		f.servers = append(f.servers, drawServer(t, uint32(i+1), one(t, "offer", f.offers...).ID))
	}
	return f
}

func drawOffer(t *rapid.T, id string) market.Offer {
	unit := func(name string) money.Amount { return one[money.Amount](t, name, 0, 1, 1, 2) }
	provider := one(t, "provider", "Acme", "Blue")
	country := one(t, "country", "US", "DE", "FR")
	return market.Offer{
		ID: id, Name: id, Provider: provider, ProviderID: "prv_" + provider,
		Datacenter: market.Datacenter{
			ID: "dc_" + country, ProviderID: "prv_" + provider, Country: country, City: "AAA", Index: 1, Tier: one[int64](t, "tier", 1, 2, 3, 4),
			Certifications: one(t, "certifications", nil, []string{"ISO"}, []string{"SOC", "iso"}),
		},
		Prices:          market.Prices{VCPU: unit("vcpu"), RAM: unit("ram"), Storage: unit("storage"), Address: one[money.Amount](t, "address", 0, 1, 60)},
		MaxExtraStorage: one[int64](t, "most extra", 0, 0, 20), Withdrawn: one(t, "withdrawn", 0, 0, 0, 0, 0, 0, 0, 1) == 1,
	}
}

func drawServer(t *rapid.T, number uint32, offer string) market.Server {
	return market.Server{
		Number: number, OfferID: offer, Hardware: drawHardware(t), VCPUPerThread: one[int64](t, "per thread", 1, 1, 1, 2),
		Capacity: vector(t, "total", 2, 8, 16, 64), Used: vector(t, "used", 0, 0, 2, 6),
		Open: one(t, "open", 1, 1, 1, 1, 0) == 1, Removed: one(t, "removed", 0, 0, 0, 0, 0, 0, 0, 1) == 1, Measured: drawMeasured(t),
	}
}

func drawMeasured(t *rapid.T) *capacity.Measured {
	if one(t, "measured", true, true, false) {
		return &capacity.Measured{CPUSingle: one(t, "single", 0.0, 500, 1000), DiskFsync: one(t, "fsync", 0.0, 1, 2), Network: one(t, "network", 10.0, 20)}
	}
	return nil
}

// vector draws room for some VMs, of a few vCPU each.
func vector(t *rapid.T, name string, vcpus ...int64) capacity.Vector {
	n := one(t, name, vcpus...)
	return capacity.Vector{VCPU: n, RAMGiB: 2 * n, StorageGiB: one[int64](t, name+" storage", 15, 15, 40) * n, Addresses: one(t, name+" addresses", n/2, n/2, 1)}
}

// drawHardware draws the same most of the time, so that servers are alike.
func drawHardware(t *rapid.T) capacity.Hardware {
	if one(t, "common", true, true, false) {
		return capacity.Hardware{CPU: capacity.CPU{Manufacturer: "AMD", Architecture: "Zen"}, Memory: capacity.Memory{Type: "DDR", Generation: "5"}, Storage: capacity.Storage{Type: "NVMe"}}
	}
	return capacity.Hardware{
		CPU: one(t, "CPU", capacity.CPU{Manufacturer: "AMD", Architecture: "Zen"}, capacity.CPU{Manufacturer: "AMD", Architecture: "Zen", Brand: "Epyc"},
			capacity.CPU{Manufacturer: "Intel", Architecture: "Xeon"}, capacity.CPU{Manufacturer: "AMD"}),
		Memory:  capacity.Memory{Type: "DDR", Generation: one(t, "generation", "4", "5")},
		Storage: capacity.Storage{Type: one(t, "disk", "SSD", "NVMe")},
	}
}

// wishes draws constraints that often can be met, each member given with the
// chance of 1 in rarity.
func (f fleet) wishes(t *rapid.T, rarity int) market.Constraints {
	var c market.Constraints
	give := func(name string) bool { return rapid.IntRange(1, rarity).Draw(t, name+"?") == 1 }
	if give("size") {
		c.Configuration = one(t, "size", append(slugs()[:6], "cpu-3")...)
	}
	if give("countries") {
		c.Countries = one(t, "countries", []string{"us"}, []string{"FR", "DE"}, []string{"FR"}, []string{"IT"})
	}
	if give("CPU") {
		c.CPU = one(t, "CPU", []capacity.CPU{{Manufacturer: "amd"}}, []capacity.CPU{{Architecture: "Zen"}, {Manufacturer: "Intel"}}, []capacity.CPU{{Manufacturer: "Arm"}}, []capacity.CPU{{}})
	}
	if give("memory") {
		c.Memory = one(t, "memory", []capacity.Memory{{Type: "DDR", Generation: "4"}}, []capacity.Memory{{Type: "DDR3"}, {Generation: "5"}})
	}
	if give("extra") {
		c.Extra = one(t, "extra", []market.ExtraStorage{{GiB: 5}}, []market.ExtraStorage{{GiB: 20, Type: "nvme"}, {GiB: 1}}, []market.ExtraStorage{{GiB: 100, Type: "SSD"}},
			[]market.ExtraStorage{{GiB: 600}}, []market.ExtraStorage{{GiB: 90}, {GiB: 30, Type: "NVMe"}})
	}
	if give("storage") && !slices.ContainsFunc(c.Extra, func(x market.ExtraStorage) bool { return x.Type != "" }) {
		c.Storage = one(t, "storage", []capacity.Storage{{Type: "NVMe"}}, []capacity.Storage{{Type: "HDD"}, {Type: "SSD"}})
	}
	if give("limit") { // just at the price of something, or beside it
		o, conf := one(t, "offer", f.offers...), one(t, "size", market.Configurations()[:5]...)
		limit := max(0, cost(o.Prices, demand(conf, c))+one[money.Amount](t, "beside", -1, 0, 1))
		c.MaxPrice = &limit
	}
	f.more(t, &c, give)
	return c
}

// more draws what goes beyond the first API.
func (f fleet) more(t *rapid.T, c *market.Constraints, give func(string) bool) {
	if give("providers") {
		c.Providers = one(t, "providers", []string{"acme"}, []string{"prv_Blue"}, []string{"nobody"})
	}
	if give("excluded providers") {
		c.ExcludeProviders = one(t, "excluded providers", []string{"acme"}, []string{"ACME", "prv_acme"}, []string{"Acme", "Blue"})
	}
	if give("datacenters") {
		c.Datacenters = one(t, "datacenters", []string{"us-aaa-1"}, []string{"dc_DE", "fr-aaa-1"}, []string{"nowhere"})
	}
	if give("excluded datacenters") {
		c.ExcludeDatacenters = one(t, "excluded datacenters", []string{"us-aaa-1", "dc_us"}, []string{"dc_DE", "fr-aaa-1", "us-aaa-1"})
	}
	if give("tier") {
		c.MinTier = one[int64](t, "tier", 1, 2, 3, 4)
	}
	if give("certifications") {
		c.Certifications = one(t, "certifications", []string{"iso"}, []string{"SOC", "ISO"}, []string{"PCI", "ISO"})
	}
	if give("figures") {
		c.MinMeasured = one(t, "figures", capacity.Measured{CPUSingle: 600}, capacity.Measured{DiskFsync: 1.5}, capacity.Measured{CPUSingle: 500, Network: 15}, capacity.Measured{Network: 5})
	}
}

func slugs() (list []string) {
	for _, c := range market.Configurations() {
		list = append(list, c.Slug())
	}
	return list
}

// index returns an index of the fleet, filled in a drawn order.
func (f fleet) index(t *rapid.T) *market.Index {
	x := market.NewIndex()
	offers := rapid.Permutation(slices.Clone(f.offers)).Draw(t, "order of offers")
	if half := len(offers) / 2; one(t, "in two", true, false) {
		x.Apply(market.Changes{Offers: offers[:half], Revision: 1})
		offers = offers[half:]
	}
	x.Apply(market.Changes{Offers: offers})
	servers := rapid.Permutation(slices.Clone(f.servers)).Draw(t, "order of servers")
	for part := range slices.Chunk(servers, one(t, "at once", 1, 3, 100)) {
		x.Apply(market.Changes{Servers: part})
	}
	return x
}
