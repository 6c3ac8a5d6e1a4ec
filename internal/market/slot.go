package market

import (
	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/money"
)

// group is the servers of an offer that no customer could tell apart.
type group struct {
	id        uint32 // its place among the groups
	perThread int32
	offer     *Offer
	hardware  *capacity.Hardware // shared by all groups that have it
	slots     []slot
	measured  []*capacity.Measured   // by slot, nil where there was no benchmark; nil as a whole when there was none
	count     [configurations]uint32 // of open servers with room
}

// benchmark returns what was measured on the server of a slot; nil for nothing.
func (g *group) benchmark(at int) *capacity.Measured {
	if g.measured == nil {
		return nil
	}
	return g.measured[at]
}

// setBenchmark notes what was measured on the server of a slot.
func (g *group) setBenchmark(at int, m *capacity.Measured) {
	if g.measured == nil && m == nil {
		return
	}
	if missing := len(g.slots) - len(g.measured); missing > 0 {
		g.measured = append(g.measured, make([]*capacity.Measured, missing)...)
	}
	g.measured[at] = m
}

// price is what a VM of configuration c with extra GiB costs in the group.
func (g *group) price(c int, extra int64) money.Amount {
	return g.offer.Prices.Of(catalogue[c].Demand(extra))
}

// slot is one server in its group.
type slot struct {
	free   demand
	number uint32
	caps   uint16 // configurations that the empty server has room for, a bit each
	open   bool
}

// demand is an amount of each resource, small.
type demand [4]int32

func small(v capacity.Vector) demand {
	return demand{clamp(v.VCPU), clamp(v.RAMGiB), clamp(v.StorageGiB), clamp(v.Addresses)}
}

func clamp(n int64) int32 { return int32(min(max(n, -1<<30), 1<<30)) } //nolint:gosec // clamped

func (d *demand) fits(w *demand) bool {
	return w[0] <= d[0] && w[1] <= d[1] && w[2] <= d[2] && w[3] <= d[3]
}

// times returns how often w, which takes one address, can be taken out of d.
// Most servers run out of one resource long before the others, so that a
// product tells more often than not what a quotient would.
func (d *demand) times(w *demand) int32 {
	n := int64(d[3])
	for i := range 3 {
		if int64(w[i])*n > int64(d[i]) {
			n = int64(d[i] / w[i])
		}
	}
	return int32(max(0, n)) //nolint:gosec // at most d[3]
}

func (d *demand) add(w *demand, sign int32) {
	for i := range d {
		d[i] += sign * w[i]
	}
}

// demands are the amounts of the basic configurations.
var demands = func() (out [configurations]demand) {
	for i, c := range catalogue {
		out[i] = small(c.Demand(0))
	}
	return out
}()

// fitting returns the configurations that fit, a bit each.
func (d *demand) fitting() (mask uint16) {
	for c := range demands {
		if d.fits(&demands[c]) {
			mask |= 1 << c
		}
	}
	return mask
}

// room returns the configurations that a VM can be placed in, a bit each.
func (s *slot) room() uint16 {
	if !s.open {
		return 0
	}
	return s.free.fitting()
}
