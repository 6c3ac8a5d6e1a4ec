package agent

import (
	"time"

	"github.com/cpucloud/cpucloud/internal/hypervisor"
	"github.com/cpucloud/cpucloud/internal/network"
	"github.com/cpucloud/cpucloud/internal/usage"
)

// reading is what was read of all meters at one moment, between two slots.
type reading struct {
	at       time.Time
	machines []hypervisor.Usage
	links    map[string]network.Traffic
	linked   bool // links were read
}

// end returns the slot that follows the moment: the one before it has just ended. It
// may be read a little early or late.
func (r reading) end() usage.Slot { return usage.SlotOf(r.at.Add(usage.Width / 2)) }

// meters turn counters into points. What they remember is the last reading; a new
// agent has none, and tells of nothing before its second.
type meters struct {
	last reading
	of   map[string]*counters
}

// counters are those of one VM as they were last read.
type counters struct {
	started time.Time // of the run that Machine and Disk are of
	groups  [usage.Net + 1]counted
}

// counted is what one group of counters said, and when.
type counted struct {
	known bool
	end   usage.Slot
	sums  map[usage.Figure]uint64
}

// longestGap is how many slots may be between two readings that are told of as if each
// of them had had its share. What was used meanwhile is not told of beyond that.
const longestGap = 20

// take takes a reading in, and returns what it says of each machine that runs, in the
// order of machines.
func (m *meters) take(r reading) []usage.OfVM {
	before := m.of
	m.of = make(map[string]*counters, len(r.machines))
	out := make([]usage.OfVM, 0, len(r.machines))
	for _, u := range r.machines {
		c := before[u.ID]
		if c == nil {
			c = &counters{}
		}
		m.of[u.ID] = c
		if p := m.read(c, u, r); len(p) > 0 {
			out = append(out, usage.OfVM{ID: u.ID, Points: p})
		}
	}
	for id, c := range before {
		if _, linked := r.links[id]; linked && m.of[id] == nil { // its link counts on
			m.of[id] = c
			c.groups[usage.Net].step(r.end(), ofLink(r.links[id]))
		}
	}
	m.last = r
	return out
}

// read returns the points of one machine that runs.
func (m *meters) read(c *counters, u hypervisor.Usage, r reading) []usage.Point {
	if !u.Started.Equal(c.started) {
		c.started = u.Started
		c.groups[usage.Machine], c.groups[usage.Disk] = counted{}, counted{}
		if !m.last.at.IsZero() && u.Started.After(m.last.at) { // it began at nothing since
			c.groups[usage.Machine] = counted{known: true, end: m.last.end()}
			c.groups[usage.Disk] = c.groups[usage.Machine]
		}
	}
	end := r.end()
	points := map[usage.Slot]*usage.Point{}
	spread(points, usage.Machine, end, c.groups[usage.Machine].step(end, ofMachine(u)))
	for _, p := range points {
		p.Sum[usage.Memory] = uint64(max(u.Memory, 0)) >> 10 //nolint:gosec // not negative
	}
	if u.Disk != nil {
		spread(points, usage.Disk, end, c.groups[usage.Disk].step(end, ofDisk(*u.Disk)))
	}
	if t, ok := r.links[u.ID]; ok {
		net := &c.groups[usage.Net]
		if !net.known && m.last.linked { // the link was made since
			*net = counted{known: true, end: m.last.end()}
		}
		spread(points, usage.Net, end, net.step(end, ofLink(t)))
	}
	series := make([]usage.Point, 0, len(points))
	for at := end - longestGap; at < end; at++ {
		if p := points[at]; p != nil && p.Check(1) == nil {
			series = append(series, *p)
		}
	}
	return series
}

// ofMachine returns counters in the units of figures: what is cut off of one reading
// is in the next.
func ofMachine(u hypervisor.Usage) map[usage.Figure]uint64 {
	ms := func(d time.Duration) uint64 { return uint64(max(d.Milliseconds(), 0)) } //nolint:gosec // not negative
	return map[usage.Figure]uint64{usage.CPU: ms(u.CPU), usage.Steal: ms(u.Steal)}
}

func ofDisk(d hypervisor.DiskUsage) map[usage.Figure]uint64 {
	return map[usage.Figure]uint64{
		usage.ReadBytes: d.ReadBytes, usage.WriteBytes: d.WriteBytes, usage.ReadOps: d.ReadOps, usage.WriteOps: d.WriteOps,
	}
}

func ofLink(t network.Traffic) map[usage.Figure]uint64 {
	return map[usage.Figure]uint64{
		usage.BytesIn: t.BytesIn, usage.BytesOut: t.BytesOut, usage.PacketsIn: t.PacketsIn, usage.PacketsOut: t.PacketsOut,
	}
}

// change is what counters have risen by in some slots.
type change struct {
	slots int64 // 0 for no change that can be told of
	by    map[usage.Figure]uint64
}

// step brings c to what was read at the end of a slot, and returns what has changed. A
// counter that fell is another one, which begins now.
func (c *counted) step(end usage.Slot, now map[usage.Figure]uint64) change {
	before := *c
	*c = counted{known: true, end: end, sums: now}
	slots := int64(end - before.end)
	if !before.known || slots <= 0 || slots > longestGap {
		if before.known && slots == 0 {
			*c = before // it was read twice; the next reading tells
		}
		return change{}
	}
	by := make(map[usage.Figure]uint64, len(now))
	for f, n := range now {
		if n < before.sums[f] {
			return change{}
		}
		by[f] = n - before.sums[f]
	}
	return change{slots, by}
}

// spread gives each slot of a change its share, to the last bit.
func spread(points map[usage.Slot]*usage.Point, g usage.Group, end usage.Slot, c change) {
	for i := range c.slots {
		at := end - usage.Slot(c.slots-i)
		p := points[at]
		if p == nil {
			p = &usage.Point{At: at}
			points[at] = p
		}
		p.Known[g] = 1
		for f, n := range c.by {
			p.Sum[f] = share(n, i+1, c.slots) - share(n, i, c.slots)
		}
	}
}

// share returns i of n equal parts of a sum, without overflow.
func share(sum uint64, i, n int64) uint64 {
	of, parts := uint64(n), uint64(i) //nolint:gosec // not negative, at most longestGap
	return sum/of*parts + sum%of*parts/of
}
