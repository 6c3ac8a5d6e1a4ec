package market

import (
	"cmp"
	"slices"
	"strings"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/money"
)

// order is the groups in the order of their price in a configuration, cheapest
// first, with bitmaps over it. Configurations whose prices give the same order
// share one.
type order struct {
	groups  []*group
	at      []uint32 // position by id of the group
	country values[string]
	cpu     values[capacity.CPU] // manufacturer and architecture
	memory  values[capacity.Memory]
	disk    values[capacity.Storage]
}

// position returns where the group stands; beyond the end if it is newer than
// the order.
func (o *order) position(g *group) uint32 {
	if int(g.id) < len(o.at) {
		return o.at[g.id]
	}
	return ^uint32(0)
}

// values holds, for each value of one attribute, the groups that have it.
type values[T comparable] struct {
	list []T
	sets []bitset
}

// add puts position i of n into the set of value v.
func (a *values[T]) add(v T, i, n int) {
	k := slices.Index(a.list, v)
	if k < 0 {
		k = len(a.list)
		a.list, a.sets = append(a.list, v), append(a.sets, newBitset(n))
	}
	a.sets[k].set(uint32(i), true) //nolint:gosec // positions are 32 bits
}

// wanted returns the union of the sets of values that are wanted: nil when no
// filter is asked for, empty when no value is.
func (a *values[T]) wanted(filter bool, want func(T) bool, n int) bitset {
	if !filter {
		return nil
	}
	var union bitset
	shared := false
	for k, v := range a.list {
		switch {
		case !want(v):
		case union == nil:
			union, shared = a.sets[k], true
		default:
			if shared {
				union, shared = slices.Clone(union), false
			}
			for w, word := range a.sets[k] {
				union[w] |= word
			}
		}
	}
	if union == nil {
		return newBitset(n)
	}
	return union
}

// newOrders sorts the groups, whose ids will be their places in the list, for
// every configuration by the prices of offers.
func newOrders(groups []*group, offers map[string]*Offer) (orders [configurations]*order) {
	type entry struct {
		group *group
		id    int
		offer *Offer
		price money.Amount
	}
	list := make([]entry, 0, len(groups))
	for id, g := range groups {
		if o := offers[g.offer.ID]; o.sells() {
			list = append(list, entry{g, id, o, 0})
		}
	}
	for c := range configurations {
		demand := catalogue[c].Demand(0)
		for i := range list {
			list[i].price = list[i].offer.Prices.Of(demand)
		}
		byPrice := func(a, b entry) int {
			return cmp.Or(cmp.Compare(a.price, b.price), compareGroups(a.group, b.group))
		}
		if c > 0 && slices.IsSortedFunc(list, byPrice) {
			orders[c] = orders[c-1]
			continue
		}
		slices.SortFunc(list, byPrice)
		o := &order{groups: make([]*group, len(list)), at: make([]uint32, len(groups))}
		for i := range o.at {
			o.at[i] = ^uint32(0)
		}
		for i, e := range list {
			o.groups[i], o.at[e.id] = e.group, uint32(i) //nolint:gosec // as above
			hw := e.group.hardware
			o.country.add(e.offer.Datacenter.Country, i, len(list))
			o.cpu.add(capacity.CPU{Manufacturer: hw.CPU.Manufacturer, Architecture: hw.CPU.Architecture}, i, len(list))
			o.memory.add(hw.Memory, i, len(list))
			o.disk.add(hw.Storage, i, len(list))
		}
		orders[c] = o
	}
	return orders
}

// compareGroups orders groups of one price, the same way in every replica.
func compareGroups(a, b *group) int {
	if a.offer.ID != b.offer.ID {
		return strings.Compare(a.offer.ID, b.offer.ID)
	}
	for _, pair := range pairs(*a.hardware, *b.hardware) {
		if c := strings.Compare(pair[0], pair[1]); c != 0 {
			return c
		}
	}
	return cmp.Compare(a.perThread, b.perThread)
}

// install makes orders of groups the ones to search by, and forgets groups
// without servers.
func (x *Index) install(groups []*group, orders [configurations]*order, offers map[string]*Offer) {
	for _, g := range x.groups {
		if len(g.slots) == 0 {
			delete(x.byKey, g.key())
		}
	}
	x.groups, x.offers, x.orders = groups, offers, orders
	if len(x.kinds) > len(groups) { // some are of no server any more
		clear(x.kinds)
		for _, g := range groups {
			x.kinds[*g.hardware] = g.hardware
		}
	}
	for id, g := range groups {
		g.offer = offers[g.offer.ID]
		g.slots = tight(g.slots)
		if int(g.id) == id {
			continue
		}
		g.id = uint32(id) //nolint:gosec // fewer than 2³² groups fit in memory
		for at := range g.slots {
			x.places[g.slots[at].number] = g.place(at)
		}
	}
	for c, o := range orders {
		x.room[c] = newBitset(len(o.groups))
		for i, g := range o.groups {
			if g.count[c] > 0 {
				x.room[c].set(uint32(i), true) //nolint:gosec // positions are 32 bits
			}
		}
	}
}

// tight returns a list without the room that it grew for, where that is more
// than a quarter.
func tight(slots []slot) []slot {
	if cap(slots)-len(slots) <= len(slots)/4 {
		return slots
	}
	return append(make([]slot, 0, len(slots)), slots...)
}

// filters returns the sets that a group has to be in, over the order.
func (o *order) filters(c *Constraints) (sets []bitset) {
	n := len(o.groups)
	for _, set := range []bitset{
		o.country.wanted(len(c.Countries) > 0, c.country, n), o.cpu.wanted(len(c.CPU) > 0, c.processor, n),
		o.memory.wanted(len(c.Memory) > 0, c.memory, n), o.disk.wanted(len(c.Storage)+len(c.Extra) > 0, c.disk, n),
	} {
		if set != nil {
			sets = append(sets, set)
		}
	}
	return sets
}
