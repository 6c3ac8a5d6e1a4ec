package market_test

import (
	"slices"
	"strings"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/money"
)

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

// each calls yield for every server that is for sale.
func (f fleet) each(yield func(o market.Offer, s market.Server)) {
	for _, s := range f.servers {
		for _, o := range f.offers {
			if o.ID == s.OfferID && !o.Withdrawn && !s.Removed {
				yield(o, s)
			}
		}
	}
}

// order is that of an explanation.
var order = []string{
	"basicConfiguration", "datacenter.countries", "providers", "excludeProviders", "datacenters", "excludeDatacenters", "minTier", "certifications",
	"hardware.cpu", "hardware.memory", "hardware.storage", "additionalResources.storage", "maxTotalPricePerEpochUsd", "minMeasured",
	"affinityGroup", "open", "room", "instances",
}

// against says in the plainest words which constraints rule a server out that
// has to hold VMs of conf.
func against(c market.Constraints, conf market.Configuration, o market.Offer, s market.Server) map[string]bool {
	in := func(list []string, names ...string) bool {
		for _, entry := range list {
			for _, name := range names {
				if strings.EqualFold(entry, name) {
					return true
				}
			}
		}
		return false
	}
	is := func(want, have string) bool { return want == "" || strings.EqualFold(want, have) }
	d, hw, free, full := o.Datacenter, s.Hardware, s.Capacity.Sub(s.Used), demand(conf, c)
	slug := strings.ToLower(d.Country) + "-aaa-1"
	why := map[string]bool{
		"basicConfiguration":   c.Configuration != "" && (c.Configuration != conf.Slug() || !s.Capacity.Fits(demand(conf, market.Constraints{}))),
		"datacenter.countries": len(c.Countries) > 0 && !in(c.Countries, d.Country),
		"providers":            len(c.Providers) > 0 && !in(c.Providers, o.Provider, o.ProviderID),
		"excludeProviders":     in(c.ExcludeProviders, o.Provider, o.ProviderID),
		"datacenters":          len(c.Datacenters) > 0 && !in(c.Datacenters, d.ID, slug),
		"excludeDatacenters":   in(c.ExcludeDatacenters, d.ID, slug),
		"minTier":              d.Tier < c.MinTier,
		"hardware.cpu":         len(c.CPU) > 0, "hardware.memory": len(c.Memory) > 0, "hardware.storage": len(c.Storage) > 0,
		"additionalResources.storage": len(c.Extra) > 0 && (free.StorageGiB < full.StorageGiB || o.MaxExtraStorage > 0 && full.StorageGiB-conf.StorageGiB > o.MaxExtraStorage),
		"maxTotalPricePerEpochUsd":    c.MaxPrice != nil && cost(o.Prices, full) > *c.MaxPrice,
		"minMeasured":                 !measured(c.MinMeasured, s.Measured),
		"open":                        !s.Open,
		"room":                        !free.Fits(demand(conf, market.Constraints{})),
	}
	for _, w := range c.Certifications {
		why["certifications"] = why["certifications"] || !in(d.Certifications, w)
	}
	for _, w := range c.CPU {
		why["hardware.cpu"] = why["hardware.cpu"] && (!is(w.Manufacturer, hw.CPU.Manufacturer) || !is(w.Architecture, hw.CPU.Architecture))
	}
	for _, w := range c.Memory {
		why["hardware.memory"] = why["hardware.memory"] && (!is(w.Type, hw.Memory.Type) || !is(w.Generation, hw.Memory.Generation))
	}
	for _, w := range c.Storage {
		why["hardware.storage"] = why["hardware.storage"] && !is(w.Type, hw.Storage.Type)
	}
	for _, x := range c.Extra {
		why["additionalResources.storage"] = why["additionalResources.storage"] || !is(x.Type, hw.Storage.Type)
	}
	for name, is := range why {
		if !is {
			delete(why, name)
		}
	}
	return why
}

// measured says whether figures that fleets and wishes have are good enough.
func measured(want capacity.Measured, have *capacity.Measured) bool {
	if want == (capacity.Measured{}) {
		return true
	}
	return have != nil && have.CPUSingle >= want.CPUSingle &&
		(want.DiskFsync == 0 || have.DiskFsync > 0 && have.DiskFsync <= want.DiskFsync) &&
		(want.Network == 0 || have.Network > 0 && have.Network <= want.Network)
}
