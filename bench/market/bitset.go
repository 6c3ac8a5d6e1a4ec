package main

import (
	"math/bits"
	"slices"
	"sort"
)

// bitsets is the floor of a search: the servers in the order of their prices, a
// bitmap for each value of each attribute, and what is free in columns. It knows
// nothing but this one question, and takes no changes.
type bitsets struct {
	units  []int64
	free   [4][]int32
	group  []int32 // of alike servers of one offer
	groups int
	words  [5 + 1]int // where the bitmaps of each attribute begin
	sets   [][]uint64
}

// attributes returns what a bitmap is kept for.
func attributes(m *machine) [5]uint8 { return [5]uint8{m.country, m.maker, m.arch, m.memory, m.disk} }

// offerKey is what servers of a group have in common.
type offerKey struct {
	datacenter int
	kind       [5]uint8
	unit       int64
}

func newBitsets(fleet []machine) *bitsets {
	order := make([]int, len(fleet))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return int(fleet[a].unit - fleet[b].unit) })
	x := &bitsets{}
	for k, n := range [5]int{countries, len(makers), len(archs), len(memories), len(disks)} {
		x.words[k+1] = x.words[k] + n
	}
	x.sets = make([][]uint64, x.words[5])
	for k := range x.sets {
		x.sets[k] = make([]uint64, (len(fleet)+63)/64)
	}
	known := map[offerKey]int32{}
	for at, i := range order {
		m := &fleet[i]
		x.units = append(x.units, m.unit)
		for k, n := range m.free() {
			x.free[k] = append(x.free[k], n)
		}
		for k, v := range attributes(m) {
			x.sets[x.words[k]+int(v)][at/64] |= 1 << (at % 64)
		}
		key := offerKey{m.datacenter, attributes(m), m.unit}
		if _, ok := known[key]; !ok {
			known[key] = int32(len(known)) //nolint:gosec // fewer than 2³¹
		}
		x.group = append(x.group, known[key])
	}
	x.groups = len(known)
	return x
}

// found collects the cheapest offers of a search.
type found struct {
	servers, instances []int32 // by group
	groups             []int32 // that were found, cheapest first
	last               int64   // price of the group that was the last one wanted
}

func (x *bitsets) newFound() *found {
	return &found{servers: make([]int32, x.groups), instances: make([]int32, x.groups)}
}

// search finds the cheapest groups with room, up to a limit.
func (x *bitsets) search(w *wish, limit int, f *found) {
	for _, g := range f.groups {
		f.servers[g], f.instances[g] = 0, 0
	}
	f.groups = f.groups[:0]
	end := len(x.units)
	if w.unit > 0 {
		end = sort.Search(end, func(i int) bool { return x.units[i] > w.unit })
	}
	var sets [5][]uint64
	wanted := sets[:0]
	for k, v := range [5]uint8{w.country, w.maker, w.arch, w.memory, w.disk} {
		if v != anything {
			wanted = append(wanted, x.sets[x.words[k]+int(v)])
		}
	}
	need := w.need()
	for word := 0; word*64 < end; word++ {
		rest := ^uint64(0)
		for _, set := range wanted {
			rest &= set[word]
		}
		for ; rest != 0; rest &= rest - 1 {
			at := word*64 + bits.TrailingZeros64(rest)
			if at >= end || !x.take(at, &need, limit, f) {
				return
			}
		}
	}
}

// take counts a server in, and reports whether to go on.
func (x *bitsets) take(at int, need *room, limit int, f *found) bool {
	if len(f.groups) >= limit && x.units[at] > f.last {
		return false
	}
	n := min(x.free[0][at]/need[0], x.free[1][at]/need[1], x.free[2][at]/need[2], x.free[3][at])
	if n < 1 {
		return true
	}
	g := x.group[at]
	if f.servers[g] == 0 {
		f.groups = append(f.groups, g)
		if len(f.groups) == limit {
			f.last = x.units[at]
		}
	}
	f.servers[g]++
	f.instances[g] += n
	return true
}
