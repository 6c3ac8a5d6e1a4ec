package market

import (
	"cmp"
	"fmt"
	"slices"
)

// enough reports whether all VMs fit, given room besides that of the servers
// that meet everything.
func (e *explaining) enough(besides int64) bool {
	return e.room+besides >= int64(e.request.Instances)
}

// until goes through groups until there is enough room, and returns the last of
// them, nil when all together don't have it.
func (e *explaining) until(c constraint, compare func(a, b near) int) *near {
	list, room := e.near[c], int64(0)
	slices.SortStableFunc(list, compare)
	for i := range list {
		if room += list[i].room; e.enough(room) {
			return &list[i]
		}
	}
	return nil
}

// relaxPrice raises the limit to the lowest that is enough.
func (e *explaining) relaxPrice() []Relaxation {
	last := e.until(byPrice, func(a, b near) int { return cmp.Compare(a.price, b.price) })
	if last == nil {
		return nil
	}
	change := fmt.Sprintf("raise %s from %s to %s", names[byPrice], *e.request.MaxPrice, last.price)
	return e.relaxed(byPrice, change, func(r *Request) { r.MaxPrice = &last.price })
}

// relaxTier lowers the tier to the highest that is enough.
func (e *explaining) relaxTier() []Relaxation {
	tier := func(n near) int64 { return n.group.offer.Datacenter.Tier }
	last := e.until(byTier, func(a, b near) int { return cmp.Compare(tier(b), tier(a)) })
	if last == nil {
		return nil
	}
	change := fmt.Sprintf("accept tier %d instead of %d", tier(*last), e.request.MinTier)
	return e.relaxed(byTier, change, func(r *Request) { r.MinTier = tier(*last) })
}

// relaxInstances asks for as many VMs as there is room for.
func (e *explaining) relaxInstances() []Relaxation {
	if e.room == 0 {
		return nil
	}
	change := fmt.Sprintf("ask for %d instances instead of %d", e.room, e.request.Instances)
	if e.room == 1 {
		change = fmt.Sprintf("ask for 1 instance instead of %d", e.request.Instances)
	}
	return e.relaxed(byInstances, change, func(r *Request) { r.Instances = int(e.room) })
}

// relaxConfiguration asks for the configuration that is nearest in vCPU, among
// equals the cheapest.
func (e *explaining) relaxConfiguration() []Relaxation {
	best, distance := -1, int64(0)
	for c := range e.sizes {
		z := &e.sizes[c]
		if z.room < int64(e.request.Instances) {
			continue
		}
		far := catalogue[c].VCPU - catalogue[e.configuration].VCPU
		far = max(far, -far)
		if best < 0 || cmp.Or(cmp.Compare(far, distance), cmp.Compare(z.price, e.sizes[best].price)) < 0 {
			best, distance = c, far
		}
	}
	if best < 0 {
		return nil
	}
	change := fmt.Sprintf("ask for %s instead of %.60s", slugs[best], e.request.Configuration)
	return e.relaxed(byConfiguration, change, func(r *Request) { r.Configuration = slugs[best] })
}
