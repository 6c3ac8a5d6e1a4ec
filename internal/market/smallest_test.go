package market_test

import (
	"cmp"
	"reflect"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/money"
)

// smallest checks that no smaller relaxation of the same constraint would do,
// and no cheaper one where there is no smaller.
func smallest(t *rapid.T, f fleet, x *market.Index, r market.Request, relax market.Relaxation) {
	c := relax.Constraints
	try := func(alter func(*market.Request)) (money.Amount, bool) {
		changed := r
		changed.Constraints, changed.Instances = c, relax.Instances
		alter(&changed)
		placed, err := x.Place(changed)
		if err != nil {
			return 0, false
		}
		return placed[0].Price, true
	}
	fails := func(alter func(*market.Request)) {
		if price, met := try(alter); met {
			t.Errorf("%s: less would do, at %s", relax.Change, price)
		}
	}
	switch relax.Constraint {
	case "maxTotalPricePerEpochUsd":
		less := *c.MaxPrice - 1
		fails(func(r *market.Request) { r.MaxPrice = &less })
	case "minTier":
		fails(func(r *market.Request) { r.MinTier++ })
	case "instances":
		fails(func(r *market.Request) { r.Instances++ })
	case "additionalResources.storage":
		for _, longer := range longer(r.Extra, c.Extra) {
			fails(func(changed *market.Request) { changed.Extra = longer })
		}
	case "basicConfiguration":
		f.nearest(t, x, r, relax)
	default:
		f.cheapest(t, r, relax, try)
	}
}

// longer returns what is one GiB more than is left of the extra storage that was
// wanted: for each type of disk in a fleet, of what it can be.
func longer(wanted, left []market.ExtraStorage) (lists [][]market.ExtraStorage) {
	for _, disk := range []string{"SSD", "NVMe"} {
		var list []market.ExtraStorage
		more := int64(1)
		for _, x := range left {
			more += x.GiB
		}
		for _, x := range wanted {
			if x.Type != "" && !strings.EqualFold(x.Type, disk) {
				continue
			}
			if x.GiB = min(x.GiB, more); x.GiB > 0 {
				list, more = append(list, x), more-x.GiB
			}
		}
		if more == 0 {
			lists = append(lists, list)
		}
	}
	return lists
}

// nearest checks that no configuration that fits is nearer in vCPU, or as near
// and cheaper.
func (f fleet) nearest(t *rapid.T, x *market.Index, r market.Request, relax market.Relaxation) {
	wanted := market.Configurations()[max(0, slices.Index(slugs(), r.Configuration))]
	far := func(c market.Configuration) int64 { return max(c.VCPU-wanted.VCPU, wanted.VCPU-c.VCPU) }
	for _, conf := range market.Configurations() {
		r.Configuration = conf.Slug()
		placed, err := x.Place(r)
		if err == nil && cmp.Or(cmp.Compare(far(conf), far(relax.Configuration)), cmp.Compare(placed[0].Price, relax.Price)) < 0 {
			t.Errorf("%s: %s is nearer or cheaper, at %s", relax.Change, conf.Slug(), placed[0].Price)
		}
	}
}

// cheapest checks that no other single value would lead to a lower price, and
// that one value is changed where one is enough.
func (f fleet) cheapest(t *rapid.T, r market.Request, relax market.Relaxation, try func(func(*market.Request)) (money.Amount, bool)) {
	best := money.Max
	for _, alter := range f.alternatives(r, relax.Constraint) {
		if price, met := try(alter); met {
			best = min(best, price)
		}
	}
	if best < relax.Price {
		t.Errorf("%s leads to %s, another value to %s", relax.Change, relax.Price, best)
	}
	if more := added(r.Constraints, relax.Constraints); more > 1 && best != money.Max {
		t.Errorf("%s: one value would be enough, %d were added", relax.Change, more)
	}
}

// added counts what was added to the lists.
func added(before, after market.Constraints) int {
	size := func(c market.Constraints) int {
		return len(c.Countries) + len(c.Providers) + len(c.Datacenters) + len(c.CPU) + len(c.Memory) + len(c.Storage)
	}
	return size(after) - size(before)
}

// alternatives are all changes of a list by one value.
func (f fleet) alternatives(r market.Request, name string) (list []func(*market.Request)) {
	wanted := r.Constraints
	f.each(func(o market.Offer, s market.Server) {
		d, hw := o.Datacenter, s.Hardware
		without := func(entries []string, names ...string) []string {
			return slices.DeleteFunc(slices.Clone(entries), func(e string) bool {
				return against(market.Constraints{Where: market.Where{ExcludeProviders: []string{e}, ExcludeDatacenters: []string{e}}}, market.Configuration{}, o, s)[names[0]]
			})
		}
		alter := map[string]func(*market.Request){
			"datacenter.countries": func(r *market.Request) { r.Countries = append(slices.Clone(wanted.Countries), d.Country) },
			"providers":            func(r *market.Request) { r.Providers = append(slices.Clone(wanted.Providers), o.ProviderID) },
			"datacenters":          func(r *market.Request) { r.Datacenters = append(slices.Clone(wanted.Datacenters), d.ID) },
			"excludeProviders":     func(r *market.Request) { r.ExcludeProviders = without(wanted.ExcludeProviders, name) },
			"excludeDatacenters":   func(r *market.Request) { r.ExcludeDatacenters = without(wanted.ExcludeDatacenters, name) },
			"hardware.cpu": func(r *market.Request) {
				r.CPU = append(slices.Clone(wanted.CPU), capacity.CPU{Manufacturer: hw.CPU.Manufacturer, Architecture: hw.CPU.Architecture})
			},
			"hardware.memory":  func(r *market.Request) { r.Memory = append(slices.Clone(wanted.Memory), hw.Memory) },
			"hardware.storage": func(r *market.Request) { r.Storage = append(slices.Clone(wanted.Storage), hw.Storage) },
		}[name]
		if alter != nil {
			list = append(list, alter)
		}
	})
	return list
}

// drop takes a constraint out of a request; it reports whether it was there.
func drop(r market.Request, name string) (market.Request, bool) {
	was := r
	was.Load = nil
	switch name {
	case "basicConfiguration":
		r.Configuration = ""
	case "datacenter.countries":
		r.Countries = nil
	case "providers":
		r.Providers = nil
	case "excludeProviders":
		r.ExcludeProviders = nil
	case "datacenters":
		r.Datacenters = nil
	case "excludeDatacenters":
		r.ExcludeDatacenters = nil
	case "minTier":
		r.MinTier = 0
	case "certifications":
		r.Certifications = nil
	case "hardware.cpu":
		r.CPU = nil
	case "hardware.memory":
		r.Memory = nil
	case "hardware.storage":
		r.Storage = nil
	case "additionalResources.storage":
		r.Extra = nil
	case "maxTotalPricePerEpochUsd":
		r.MaxPrice = nil
	case "minMeasured":
		r.MinMeasured = capacity.Measured{}
	case "instances":
		r.Instances = 1
	}
	without := r
	without.Load = nil
	return r, !reflect.DeepEqual(was, without)
}
