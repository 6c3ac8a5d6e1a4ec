package market_test

import (
	"fmt"
	"maps"
	"slices"

	"pgregory.net/rapid"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/market"
)

// machine changes an index and a plain model of it in step.
type machine struct {
	index   *market.Index
	offers  map[string]market.Offer
	servers map[uint32]market.Server // of known offers
	taken   [][]market.Placement
	reorder bool // the last step put the groups in order anew
}

// fleet returns the model as a fleet.
func (m *machine) fleet() (f fleet) {
	for _, id := range slices.Sorted(maps.Keys(m.offers)) {
		f.offers = append(f.offers, m.offers[id])
	}
	for _, number := range slices.Sorted(maps.Keys(m.servers)) {
		f.servers = append(f.servers, m.servers[number])
	}
	return f
}

func (m *machine) apply(c market.Changes) {
	m.reorder = len(c.Offers) > 0
	for _, o := range c.Offers {
		m.offers[o.ID] = o
	}
	for _, s := range c.Servers {
		delete(m.servers, s.Number)
		if _, known := m.offers[s.OfferID]; known && !s.Removed {
			m.servers[s.Number] = s
		}
	}
	m.index.Apply(c)
}

func (m *machine) changeOffers(t *rapid.T) {
	m.apply(market.Changes{Offers: []market.Offer{drawOffer(t, one(t, "offer", "a", "b", "c"))}})
}

func (m *machine) changeServers(t *rapid.T) {
	var c market.Changes
	if one(t, "with an offer", true, false, false) {
		c.Offers = []market.Offer{drawOffer(t, "d")}
	}
	for range one(t, "servers", 1, 1, 2, 5) {
		c.Servers = append(c.Servers, drawServer(t, one[uint32](t, "number", 1, 2, 3, 4, 5, 6, 90), one(t, "offer", "a", "b", "c", "d", "nobody's")))
	}
	m.apply(c)
}

func (m *machine) changeText(t *rapid.T) {
	if len(m.servers) == 0 {
		t.Skip("no server")
	}
	s := m.servers[one(t, "number", slices.Sorted(maps.Keys(m.servers))...)]
	s.Hardware.CPU.Brand = fmt.Sprint("brand ", rapid.Uint64().Draw(t, "brand"))
	m.apply(market.Changes{Servers: []market.Server{s}})
}

func (m *machine) take(t *rapid.T) {
	if len(m.offers) == 0 {
		t.Skip("no offer")
	}
	r := drawRequest(t, m.fleet(), 9)
	if placed, err := m.index.Place(r); err == nil {
		m.index.Take(placed)
		m.use(placed, capacity.Vector.Add)
		m.taken = append(m.taken, placed)
	}
}

func (m *machine) giveBack(t *rapid.T) {
	if len(m.taken) == 0 {
		t.Skip("nothing is taken")
	}
	i := rapid.IntRange(0, len(m.taken)-1).Draw(t, "which")
	m.index.GiveBack(m.taken[i])
	m.use(m.taken[i], capacity.Vector.Sub)
	m.taken = slices.Delete(m.taken, i, i+1)
}

func (m *machine) use(placed []market.Placement, change func(v, w capacity.Vector) capacity.Vector) {
	for _, p := range placed {
		if s, there := m.servers[p.Server]; there {
			s.Used = change(s.Used, p.Demand())
			m.servers[p.Server] = s
		}
	}
}
