package market

import (
	"cmp"
	"slices"
)

// candidate is a server with room.
type candidate struct {
	group *group
	slot  *slot
	room  int
	load  int
}

// rank orders the class: the best server first. One VM needs only that.
func (p *placing) rank() {
	if load := p.request.Load; load != nil {
		for i := range p.class {
			p.class[i].load = load(p.class[i].slot.number)
		}
	}
	if p.request.Instances-len(p.placed) > 1 {
		slices.SortFunc(p.class, p.compare)
		return
	}
	best := 0
	for i := range p.class {
		if p.compare(p.class[i], p.class[best]) < 0 {
			best = i
		}
	}
	p.class[0], p.class[best] = p.class[best], p.class[0]
}

func (p *placing) compare(a, b candidate) int {
	tight := cmp.Or(cmp.Compare(a.slot.free[1], b.slot.free[1]), cmp.Compare(a.slot.free[0], b.slot.free[0]), cmp.Compare(a.slot.free[2], b.slot.free[2]))
	load := cmp.Compare(a.load, b.load)
	switch p.request.Strategy {
	case Spread:
		return cmp.Or(load, tight, cmp.Compare(a.slot.number, b.slot.number))
	case Pack:
		return cmp.Or(-load, tight, cmp.Compare(a.slot.number, b.slot.number))
	case Tightest:
	}
	return cmp.Or(tight, load, cmp.Compare(a.slot.number, b.slot.number))
}
