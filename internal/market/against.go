package market

import (
	"math/bits"

	"github.com/cpucloud/cpucloud/internal/capacity"
)

// reasons is a set of constraints.
type reasons uint32

func (s *reasons) add(c constraint, in bool) {
	if in {
		*s |= 1 << c
	}
}

// but returns the set without some.
func (s reasons) but(without ...constraint) reasons {
	for _, c := range without {
		s &^= 1 << c
	}
	return s
}

// only returns the constraint that is the only one in the set.
func (s reasons) only() (constraint, bool) {
	return constraint(bits.TrailingZeros32(uint32(s))), bits.OnesCount32(uint32(s)) == 1
}

// against returns the constraints that rule out all servers of a group.
func (e *explaining) against(g *group) (why reasons) {
	c, o, d := &e.request.Constraints, g.offer, &g.offer.Datacenter
	why.add(byCountry, !c.country(d.Country))
	why.add(byProvider, len(c.Providers) > 0 && !named(c.Providers, o.ProviderID, o.Provider))
	why.add(byExcludedProvider, named(c.ExcludeProviders, o.ProviderID, o.Provider))
	why.add(byDatacenter, len(c.Datacenters) > 0 && !named(c.Datacenters, d.ID, d.Slug()))
	why.add(byExcludedDatacenter, len(c.ExcludeDatacenters) > 0 && named(c.ExcludeDatacenters, d.ID, d.Slug()))
	why.add(byTier, d.Tier < c.MinTier)
	why.add(byCertification, !c.certified(d))
	why.add(byCPU, !c.processor(g.hardware.CPU))
	why.add(byMemory, !c.memory(g.hardware.Memory))
	why.add(byStorage, !anyOf(c.Storage, func(w capacity.Storage) bool { return like(w.Type, g.hardware.Storage.Type) }))
	why.add(byExtra, !e.addable(g))
	why.add(byPrice, !c.affords(g.price(e.configuration, e.extra)))
	return why
}

// addable reports whether VMs in the group can have the extra storage, if the
// disk of their server is large enough.
func (e *explaining) addable(g *group) bool { return addable(g, e.request.Extra) }

func addable(g *group, extra []ExtraStorage) bool {
	total := int64(0)
	for _, x := range extra {
		if !like(x.Type, g.hardware.Storage.Type) {
			return false
		}
		total += x.GiB
	}
	return extraAllowed(g.offer, total)
}

// againstServer returns the constraints that rule out one server, whatever its
// group is.
func (e *explaining) againstServer(s *slot, measured *capacity.Measured) (why reasons) {
	slug := e.request.Configuration
	why.add(byConfiguration, slug != "" && (slug != slugs[e.configuration] || s.caps&(1<<e.configuration) == 0))
	why.add(byExtra, e.extra > 0 && s.free[2] < e.full[2])
	why.add(byMeasured, e.figures && !e.request.measured(measured))
	why.add(byApart, e.request.Avoid[s.number])
	why.add(byOpen, !s.open)
	why.add(byRoom, !s.free.fits(&e.bare))
	return why
}
