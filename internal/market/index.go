package market

import (
	"maps"
	"slices"
	"sync"

	"github.com/cpucloud/cpucloud/internal/capacity"
)

// Index holds every server of a marketplace in memory, so that it can be
// searched in microseconds. Servers of one offer that are alike form a group;
// searches walk the groups in the order of their prices, over bitmaps of their
// hardware, country and room. It may be used by many goroutines at once.
type Index struct {
	writing sync.Mutex // one Apply at a time; held before mu

	mu       sync.RWMutex // guards all below
	revision int64
	offers   map[string]*Offer
	groups   []*group
	byKey    map[groupKey]*group
	kinds    map[capacity.Hardware]*capacity.Hardware
	places   []place // by number of the server
	servers  int
	orders   [configurations]*order
	room     [configurations]bitset // by position in the order: some server of the group has room
}

type groupKey struct {
	offer     string
	hardware  *capacity.Hardware // the one of kinds
	perThread int64
}

func (g *group) key() groupKey { return groupKey{g.offer.ID, g.hardware, int64(g.perThread)} }

// place says where a server is: the id of its group and its slot there, both
// counted from 1; 0 is nowhere.
type place struct{ group, at uint32 }

func (g *group) place(at int) place { return place{g.id + 1, uint32(at) + 1} } //nolint:gosec // fewer than 2³² servers fit in memory

// find returns a server's group and slot; the group is nil where there is none.
func (x *Index) find(number uint32) (*group, int) {
	if int(number) >= len(x.places) || x.places[number].group == 0 {
		return nil, 0
	}
	p := x.places[number]
	return x.groups[p.group-1], int(p.at - 1)
}

// NewIndex returns an index of no servers.
func NewIndex() *Index {
	x := &Index{offers: map[string]*Offer{}, byKey: map[groupKey]*group{}, kinds: map[capacity.Hardware]*capacity.Hardware{}}
	x.install(nil, newOrders(nil, x.offers), x.offers)
	return x
}

// Changes is what changed in a marketplace up to a revision.
type Changes struct {
	Revision int64
	Offers   []Offer
	Servers  []Server
}

// Revision returns the revision that the index is at.
func (x *Index) Revision() int64 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.revision
}

// Servers returns how many servers there are.
func (x *Index) Servers() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.servers
}

// Apply takes changes in: offers and servers as they are now. Servers of an
// unknown offer are left out; they come in with the next change of theirs.
// What is given must not be changed any more.
func (x *Index) Apply(c Changes) {
	x.writing.Lock()
	defer x.writing.Unlock()
	offers, reorder := x.withOffers(c.Offers)

	x.mu.Lock()
	before := len(x.groups)
	for i := range c.Servers {
		x.put(&c.Servers[i], offers)
	}
	reorder = reorder || len(x.groups) != before
	if !reorder {
		x.revision = max(x.revision, c.Revision)
		x.mu.Unlock()
		return
	}
	groups := slices.DeleteFunc(slices.Clone(x.groups), func(g *group) bool { return len(g.slots) == 0 })
	x.mu.Unlock()

	orders := newOrders(groups, offers) // takes a while; searches go on meanwhile
	x.mu.Lock()
	defer x.mu.Unlock()
	x.install(groups, orders, offers)
	x.revision = max(x.revision, c.Revision)
}

// withOffers returns the offers with the changed ones, and whether the order of
// the groups may have changed with them.
func (x *Index) withOffers(changed []Offer) (map[string]*Offer, bool) {
	if len(changed) == 0 {
		return x.offers, false // only Apply changes it, and holds writing
	}
	offers := make(map[string]*Offer, len(x.offers)+len(changed))
	maps.Copy(offers, x.offers)
	for i := range changed {
		offers[changed[i].ID] = &changed[i]
	}
	return offers, true
}

// put takes one server in.
func (x *Index) put(s *Server, offers map[string]*Offer) {
	if int(s.Number) >= len(x.places) {
		x.places = append(x.places, make([]place, int(s.Number)+1-len(x.places))...)
	}
	offer := offers[s.OfferID]
	if s.Removed || offer == nil {
		x.drop(s.Number)
		return
	}
	g := x.groupFor(s, offer)
	total := small(s.Capacity)
	now := slot{free: small(s.Free()), number: s.Number, caps: total.fitting(), open: s.Open}
	was, at := x.find(s.Number)
	if was != g {
		x.drop(s.Number)
		at = len(g.slots)
		x.places[s.Number] = g.place(at)
		g.slots = append(g.slots, slot{number: s.Number})
		x.servers++
	}
	g.setBenchmark(at, s.Measured)
	x.change(g, at, now)
}

// groupFor returns the group of servers like s, made if there is none.
func (x *Index) groupFor(s *Server, offer *Offer) *group {
	hardware := x.kinds[s.Hardware]
	if hardware == nil {
		hardware = new(s.Hardware)
		x.kinds[s.Hardware] = hardware
	}
	key := groupKey{s.OfferID, hardware, s.VCPUPerThread}
	g := x.byKey[key]
	if g == nil {
		g = &group{id: uint32(len(x.groups)), offer: offer, hardware: hardware, perThread: clamp(s.VCPUPerThread)} //nolint:gosec // as for places
		x.byKey[key], x.groups = g, append(x.groups, g)
	}
	return g
}

// drop forgets a server.
func (x *Index) drop(number uint32) {
	g, at := x.find(number)
	if g == nil {
		return
	}
	x.change(g, at, slot{number: number})
	last := len(g.slots) - 1
	g.slots[at] = g.slots[last]
	x.places[g.slots[at].number] = g.place(at)
	g.slots = g.slots[:last]
	if len(g.measured) > last {
		g.measured[at] = g.measured[last]
		g.measured = g.measured[:last]
	}
	x.places[number] = place{}
	x.servers--
}

// change sets a slot, and keeps count and room in step with it.
func (x *Index) change(g *group, at int, now slot) {
	s := &g.slots[at]
	before, after := s.room(), now.room()
	*s = now
	if before == after {
		return
	}
	for c := range configurations {
		bit := uint16(1) << c
		switch {
		case before&bit == 0 && after&bit != 0:
			g.count[c]++
			if g.count[c] == 1 {
				x.room[c].set(x.orders[c].position(g), true)
			}
		case before&bit != 0 && after&bit == 0:
			g.count[c]--
			if g.count[c] == 0 {
				x.room[c].set(x.orders[c].position(g), false)
			}
		}
	}
}

// Advance notes that all changes up to a revision are taken in.
func (x *Index) Advance(revision int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.revision = max(x.revision, revision)
}

// Offer returns an offer, and whether it is known.
func (x *Index) Offer(id string) (Offer, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if o := x.offers[id]; o != nil {
		return *o, true
	}
	return Offer{}, false
}
