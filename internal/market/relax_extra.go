package market

import (
	"fmt"
	"slices"
)

// relaxExtra asks for the most extra storage that there is, which lowers the
// price as well.
func (e *explaining) relaxExtra() []Relaxation {
	if e.extra == 0 || !e.enoughWith(nil) {
		return nil
	}
	most, left := int64(0), []ExtraStorage(nil)
	for _, wanted := range e.extraOfOneDisk() {
		if n := e.longest(wanted); n > most {
			most, left = n, shortened(wanted, n)
		}
	}
	change := fmt.Sprintf("ask for %d GiB of additional storage instead of %d", most, e.extra)
	if most == 0 {
		change = fmt.Sprintf("ask for no additional storage instead of %d GiB", e.extra)
	}
	return e.relaxed(byExtra, change, func(r *Request) { r.Extra = left })
}

// extraOfOneDisk returns, for each type of disk that there is, the wanted
// storage that it can be; each list once.
func (e *explaining) extraOfOneDisk() (lists [][]ExtraStorage) {
	for _, disk := range e.index.orders[0].disk.list {
		list := slices.DeleteFunc(slices.Clone(e.request.Extra), func(x ExtraStorage) bool { return !like(x.Type, disk.Type) })
		if !slices.ContainsFunc(lists, func(other []ExtraStorage) bool { return slices.Equal(list, other) }) {
			lists = append(lists, list)
		}
	}
	return lists
}

// longest returns how many GiB of the storage there are for all VMs.
func (e *explaining) longest(wanted []ExtraStorage) int64 {
	most, above := int64(0), (&Constraints{Extra: wanted}).extraGiB()+1 // there for sure, not known to be there
	for above-most > 1 {
		if half := most + (above-most)/2; e.enoughWith(shortened(wanted, half)) {
			most = half
		} else {
			above = half
		}
	}
	return most
}

// enoughWith reports whether all VMs fit with other extra storage.
func (e *explaining) enoughWith(extra []ExtraStorage) bool {
	total := (&Constraints{Extra: extra}).extraGiB()
	w := small(catalogue[e.configuration].Demand(total))
	room, fits, of := int64(0), false, (*group)(nil)
	for _, s := range e.cut {
		if s.group != of {
			of, fits = s.group, addable(s.group, extra) && e.request.affords(s.group.price(e.configuration, total))
		}
		if !fits {
			continue
		}
		if room += e.instances(s.slot, &w); room >= int64(e.request.Instances) {
			return true
		}
	}
	return false
}

// shortened returns the first so many GiB of extra storage.
func shortened(extra []ExtraStorage, gib int64) (out []ExtraStorage) {
	for _, x := range extra {
		if x.GiB = min(x.GiB, gib); x.GiB > 0 {
			out, gib = append(out, x), gib-x.GiB
		}
	}
	return out
}
