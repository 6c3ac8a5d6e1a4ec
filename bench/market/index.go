package main

import (
	"fmt"
	"runtime"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/market"
)

// vector returns the room in the words of the marketplace.
func (r room) vector() capacity.Vector {
	return capacity.Vector{VCPU: int64(r[0]), RAMGiB: int64(r[1]), StorageGiB: int64(r[2]), Addresses: int64(r[3])}
}

// offered returns the fleet as a marketplace lists it: an offer for each
// datacenter, architecture and price.
func offered(fleet []machine) market.Changes {
	c := market.Changes{Revision: 1, Servers: make([]market.Server, 0, len(fleet))}
	known := map[string]bool{}
	for i := range fleet {
		m := &fleet[i]
		o := market.Offer{
			ID:         fmt.Sprintf("off-%d-%d-%d", m.datacenter, m.arch, m.unit),
			Name:       fmt.Sprintf("sim-%d-%s-%d", m.datacenter, archs[m.arch], m.unit),
			ProviderID: fmt.Sprintf("prv-%d", m.provider), Provider: fmt.Sprintf("sim-%d", m.provider),
			Datacenter: market.Datacenter{ID: fmt.Sprintf("dc-%d", m.datacenter), Country: country(m.country), City: "SIM", Index: int64(m.datacenter) + 1, Tier: 1},
			Hardware:   capacity.Hardware{CPU: capacity.CPU{Architecture: archs[m.arch]}}, Prices: prices(m.unit),
		}
		if !known[o.ID] {
			known[o.ID] = true
			c.Offers = append(c.Offers, o)
		}
		c.Servers = append(c.Servers, market.Server{
			Number: uint32(m.number), OfferID: o.ID, VCPUPerThread: 1, Open: true, //nolint:gosec // counts servers
			Hardware: capacity.Hardware{
				CPU:    capacity.CPU{Manufacturer: makers[m.maker], Brand: "simulated", Architecture: archs[m.arch], Generation: "1"},
				Memory: memoryKind(m.memory), Storage: diskKind(m.disk),
			},
			Capacity: m.total.vector(), Used: m.used.vector(),
		})
	}
	return c
}

// newIndex returns the index of a fleet, and how many bytes of the heap it holds
// on to.
func newIndex(fleet []machine) (*market.Index, uint64) {
	before := heap()
	x := market.NewIndex()
	x.Apply(offered(fleet))
	after := heap()
	return x, after - min(before, after)
}

// heap returns how much of the heap is in use.
func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what finalizers and pools held
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
