package market

import (
	"cmp"
	"math/bits"
	"slices"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/money"
)

// The two refusals of a request that no capacity can meet; clients compare the texts.
var (
	errNoneFits  = fault.New(fault.Unsatisfiable, "No suitable offer found")
	errTooFewFit = fault.New(fault.Unsatisfiable, "Not enough offers found")
)

// Place chooses a server for each VM: all in the smallest configuration of
// which that many fit, each on the cheapest servers that have room, among
// equals as the strategy says. Nothing is taken. It is all or nothing: an
// Unsatisfiable fault tells whether nothing fits at all or fewer than wanted.
// Constraints that contradict themselves are an Invalid fault.
func (x *Index) Place(r Request) ([]Placement, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.place(r)
}

func (r *Request) check() error {
	if err := r.Check(); err != nil {
		return err
	}
	return r.Strategy.Check()
}

// place is Place of a request that was checked; the index is held for reading.
func (x *Index) place(r Request) ([]Placement, error) {
	some := false
	for c := range configurations {
		if r.Configuration != "" && r.Configuration != slugs[c] {
			continue
		}
		p := placing{
			request: &r, index: x, configuration: c, full: small(catalogue[c].Demand(r.extraGiB())),
			measured: r.MinMeasured != (capacity.Measured{}),
		}
		placed := p.place()
		if len(placed) == r.Instances {
			return placed, nil
		}
		some = some || len(placed) > 0
	}
	if some {
		return nil, errTooFewFit
	}
	return nil, errNoneFits
}

// placing fills servers in one configuration.
type placing struct {
	request       *Request
	index         *Index
	configuration int
	full          demand
	measured      bool        // a figure is asked for
	class         []candidate // servers of the price that is looked at
	price         money.Amount
	placed        []Placement
}

// place returns as many places as there are, at most those wanted.
func (p *placing) place() []Placement {
	for _, g := range p.groups() {
		price := g.price(p.configuration, p.request.extraGiB())
		if price != p.price {
			if p.settle() {
				return p.placed
			}
			p.price = price
		}
		p.collect(g)
	}
	p.settle()
	return p.placed
}

// groups yields the groups that are wanted, cheapest first.
func (p *placing) groups() func(yield func(int, *group) bool) {
	o, c := p.index.orders[p.configuration], &p.request.Constraints
	sets, extra := append(o.filters(c), p.index.room[p.configuration]), c.extraGiB()
	wanted := func(g *group) bool {
		return (c.MaxPrice == nil || g.price(p.configuration, extra) <= *c.MaxPrice) && (!c.narrow() || c.admits(g.offer))
	}
	each := func(yield func(int, *group) bool) {
		for w := range sets[0] {
			word := ^uint64(0)
			for _, set := range sets {
				word &= set[w]
			}
			for ; word != 0; word &= word - 1 {
				i := w*64 + bits.TrailingZeros64(word)
				if g := o.groups[i]; wanted(g) {
					if !yield(i, g) {
						return
					}
				} else if extra == 0 && c.MaxPrice != nil && g.price(p.configuration, 0) > *c.MaxPrice {
					return // all that follow cost as much or more
				}
			}
		}
	}
	if extra == 0 {
		return each
	}
	// The price of storage differs from offer to offer, and with it the order.
	var list []*group
	each(func(_ int, g *group) bool {
		list = append(list, g)
		return true
	})
	slices.SortStableFunc(list, func(a, b *group) int {
		return cmp.Compare(a.price(p.configuration, extra), b.price(p.configuration, extra))
	})
	return slices.All(list)
}

// collect adds the servers of a group that have room to the class.
func (p *placing) collect(g *group) {
	for i := range g.slots {
		s := &g.slots[i]
		if !s.open || !s.free.fits(&p.full) || p.request.Avoid[s.number] || p.request.Only != nil && *p.request.Only != s.number || p.measured && !p.request.measured(g.benchmark(i)) {
			continue
		}
		room := 1
		if !p.request.Apart {
			room = int(s.free.times(&p.full))
		}
		p.class = append(p.class, candidate{group: g, slot: s, room: room})
	}
}

// settle places VMs on the servers of the class, and reports whether that were
// all.
func (p *placing) settle() bool {
	missing := p.request.Instances - len(p.placed)
	if len(p.class) > 0 && missing > 0 {
		p.rank()
		if missing == 1 {
			p.put(&p.class[0])
		} else {
			p.spread(missing)
		}
	}
	p.class = p.class[:0]
	return len(p.placed) == p.request.Instances
}

// spread places up to n VMs: one on each server in turn, or all that fit where
// they are to be packed.
func (p *placing) spread(n int) {
	for n > 0 {
		placed := 0
		for i := range p.class {
			for n > 0 && p.class[i].room > 0 {
				p.put(&p.class[i])
				n, placed = n-1, placed+1
				if p.request.Strategy != Pack {
					break
				}
			}
		}
		if placed == 0 {
			return
		}
	}
}

func (p *placing) put(c *candidate) {
	c.room--
	conf := catalogue[p.configuration]
	p.placed = append(p.placed, Placement{
		Offer: c.group.offer, Server: c.slot.number, Configuration: conf,
		StorageGiB: conf.StorageGiB + p.request.extraGiB(), Price: p.price,
	})
}
