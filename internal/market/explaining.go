package market

import (
	"math/bits"
	"slices"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/money"
)

// explaining is what a look at every server finds out.
type explaining struct {
	index   *Index
	request *Request
	// configuration is the wanted one. Where none is given, or one that there
	// isn't, it is the first, which takes least of every resource: what has no
	// room for it or is too dear in it has room for none.
	configuration int
	bare, full    demand // without and with the extra storage
	extra         int64
	figures       bool // some are asked for

	servers, matching int
	alone, inOrder    [constraints]int
	room              int64               // VMs that fit where everything is met
	openRoom          int64               // VMs that fit on open servers
	near              [constraints][]near // groups that this alone rules out
	slow              []slow              // servers that their figures alone rule out
	cut               []candidate         // servers that the extra storage alone, or its price, may rule out
	sizes             [configurations]size
}

// near is a group that one constraint alone rules out.
type near struct {
	group *group
	price money.Amount
	room  int64
}

// slow is a server that its figures alone rule out.
type slow struct {
	have *capacity.Measured // nil if it was never measured
	room int64
}

// size is what would be there in another configuration.
type size struct {
	room  int64
	price money.Amount
}

func newExplaining(x *Index, r *Request) *explaining {
	e := &explaining{index: x, request: r, extra: r.extraGiB()}
	e.configuration = max(0, slices.Index(slugs[:], r.Configuration))
	e.figures = e.given(byMeasured)
	e.bare, e.full = demands[e.configuration], small(catalogue[e.configuration].Demand(e.extra))
	return e
}

// look takes the servers of a group into account.
func (e *explaining) look(g *group) {
	of, price, room := e.against(g), g.price(e.configuration, e.extra), int64(0)
	for i := range g.slots {
		s := &g.slots[i]
		why := of | e.againstServer(s, g.benchmark(i))
		e.count(why)
		n := e.instances(s, &e.full)
		if s.open {
			e.openRoom += n
		}
		if why&^of == 0 {
			room += n
		}
		if why == 1<<byMeasured {
			e.slow = append(e.slow, slow{g.benchmark(i), n})
		}
		if e.extra > 0 && why.but(byExtra, byPrice) == 0 {
			e.cut = append(e.cut, candidate{group: g, slot: s})
		}
		if e.request.Configuration != "" && why.but(byConfiguration, byExtra, byPrice, byRoom) == 0 && e.addable(g) {
			e.resize(g, s)
		}
	}
	if c, one := of.only(); one && room > 0 {
		e.near[c] = append(e.near[c], near{g, price, room})
	} else if of == 0 {
		e.room += room
	}
}

func (e *explaining) count(why reasons) {
	e.servers++
	if why == 0 {
		e.matching++
		return
	}
	e.inOrder[bits.TrailingZeros32(uint32(why))]++
	for ; why != 0; why &= why - 1 {
		e.alone[bits.TrailingZeros32(uint32(why))]++
	}
}

// countInstances adds what only all servers together can tell: the instances
// rule out all that are left when those have room for too few.
func (e *explaining) countInstances() {
	if e.openRoom < int64(e.request.Instances) {
		e.alone[byInstances] = e.servers
	}
	if e.room < int64(e.request.Instances) {
		e.inOrder[byInstances], e.matching = e.matching, 0
	}
}

// instances returns how many of the VMs a server has room for.
func (e *explaining) instances(s *slot, w *demand) int64 {
	n := int64(s.free.times(w))
	if e.request.Apart {
		return min(n, 1)
	}
	return n
}

// resize takes into account what a server has in each configuration.
func (e *explaining) resize(g *group, s *slot) {
	for c := range configurations {
		price, w := g.price(c, e.extra), small(catalogue[c].Demand(e.extra))
		if !e.request.affords(price) || !s.free.fits(&w) {
			continue
		}
		z := &e.sizes[c]
		if z.room == 0 || price < z.price {
			z.price = price
		}
		z.room += e.instances(s, &w)
	}
}
