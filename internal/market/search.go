package market

import (
	"math/bits"
	"slices"
	"sort"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/money"
)

// Match is alike servers of an offer that have room for a configuration.
type Match struct {
	Summary
	Rooms []Room // only of servers with room; valid until the search goes on
}

// Room is what one server has left.
type Room struct {
	Number    uint32
	Instances int64 // how many of the bare configuration fit
	ExtraGiB  int64 // storage that one VM can add to it
	Measured  *capacity.Measured
}

// Search calls yield for everything with room for at least one VM as wanted,
// cheapest first by the price of the bare configuration, then smallest, until
// yield returns false. The match is yield's only while it runs. Constraints that
// contradict themselves are an Invalid fault.
func (x *Index) Search(c Constraints, yield func(*Match) bool) error {
	return x.search(c, 0, true, yield)
}

// Summaries is Search for what costs at least a price, without what each server
// has left.
func (x *Index) Summaries(c Constraints, least money.Amount, yield func(*Summary) bool) error {
	return x.search(c, least, false, func(m *Match) bool { return yield(&m.Summary) })
}

func (x *Index) search(c Constraints, least money.Amount, rooms bool, yield func(*Match) bool) error {
	if err := c.Check(); err != nil {
		return err
	}
	var walks []*walk
	x.mu.RLock()
	for i := range configurations {
		if c.Configuration != "" && c.Configuration != slugs[i] {
			continue
		}
		w := &walk{
			want: &c, configuration: i, extra: c.extraGiB(), order: x.orders[i], sets: x.orders[i].filters(&c), room: x.room[i],
			narrow: c.narrow(), measured: c.MinMeasured != (capacity.Measured{}), rooms: rooms,
		}
		w.skip(least)
		if w.next() {
			walks = append(walks, w)
		}
	}
	x.mu.RUnlock()
	for len(walks) > 0 {
		first := walks[0]
		for _, w := range walks[1:] {
			if w.match.Price < first.match.Price {
				first = w
			}
		}
		if !yield(&first.match) {
			return nil
		}
		x.mu.RLock()
		more := first.next()
		x.mu.RUnlock()
		if !more {
			walks = slices.DeleteFunc(walks, func(w *walk) bool { return w == first })
		}
	}
	return nil
}

// walk goes through the groups of one configuration, cheapest first. What it
// sees is as of its last step; the order is that from when the search began.
type walk struct {
	want          *Constraints
	configuration int
	extra         int64 // GiB beyond it
	order         *order
	sets          []bitset
	room          bitset
	narrow        bool   // admits asks for something
	measured      bool   // a figure is asked for
	rooms         bool   // what each server has left is wanted
	word          int    // of the sets, that rest was taken from
	rest          uint64 // positions of that word still to be looked at
	begun         bool
	match         Match
}

// skip goes past all groups that cost less. The index is held for reading.
func (w *walk) skip(least money.Amount) {
	if least <= 0 {
		return
	}
	first := sort.Search(len(w.order.groups), func(i int) bool { return w.order.groups[i].price(w.configuration, 0) >= least })
	w.word, w.begun = first/64, true
	if w.word < len(w.room) {
		w.rest = w.load() &^ (1<<(first%64) - 1)
	}
}

// load returns the positions of the current word that are wanted and have room.
func (w *walk) load() uint64 {
	word := w.room[w.word]
	for _, set := range w.sets {
		word &= set[w.word]
	}
	return word
}

// next goes on to the next group that fits. The index is held for reading.
func (w *walk) next() bool {
	for {
		for w.rest == 0 {
			if w.begun {
				w.word++
			}
			w.begun = true
			if w.word >= len(w.room) {
				return false
			}
			w.rest = w.load()
		}
		g := w.order.groups[w.word*64+bits.TrailingZeros64(w.rest)]
		w.rest &= w.rest - 1
		if !g.offer.sells() { // since the last step; the order is of before
			continue
		}
		if w.want.MaxPrice != nil && g.price(w.configuration, w.extra) > *w.want.MaxPrice {
			if w.extra == 0 { // all that follow cost as much or more
				w.word, w.rest = len(w.room), 0
			}
			continue
		}
		if w.narrow && !w.want.admits(g.offer) {
			continue
		}
		if w.fill(g) {
			return true
		}
	}
}

// fill looks at the servers of a group, and reports whether one has room for
// all that is wanted.
func (w *walk) fill(g *group) bool {
	conf := catalogue[w.configuration]
	m := &w.match
	m.Rooms = m.Rooms[:0]
	m.Summary = Summary{
		Offer: g.offer, Hardware: g.hardware, VCPUPerThread: int64(g.perThread), Configuration: conf, Price: g.price(w.configuration, 0),
	}
	bare := &demands[w.configuration]
	full := *bare
	full[2] += clamp(w.extra)
	fits := false
	for at := range g.slots {
		s := &g.slots[at]
		if !s.open || !s.free.fits(bare) {
			continue
		}
		found := g.benchmark(at)
		if w.measured && !w.want.measured(found) {
			continue
		}
		fits = fits || s.free.fits(&full)
		room := Room{Number: s.number, Instances: int64(s.free.times(bare)), ExtraGiB: int64(s.free[2] - bare[2]), Measured: found}
		m.add(&room)
		if w.rooms {
			m.Rooms = append(m.Rooms, room)
		}
	}
	if g.offer.MaxExtraStorage > 0 {
		m.MaxExtraGiB = min(m.MaxExtraGiB, g.offer.MaxExtraStorage)
	}
	return fits
}
