package main

import (
	"math/rand/v2"

	"github.com/cpucloud/cpucloud/internal/usage"
)

// load is what a VM does: most do little, and three of ten much.
type load struct {
	id     string
	random *rand.Rand
	busy   bool
	level  float64 // of a busy one, from 0 to 1
	memory uint64  // KiB
}

func newLoad(id string, n int) *load {
	l := &load{id: id, random: rand.New(rand.NewPCG(uint64(n), 7)), busy: n%10 < 3, level: 0.5} //nolint:gosec // the same each time
	l.memory = 1<<19 + uint64(l.random.IntN(1<<21))
	return l
}

// slots returns what the VM used in some slots.
func (l *load) slots(from usage.Slot, n int64) []usage.Point {
	series := make([]usage.Point, n)
	for i := range series {
		series[i] = usage.Point{At: from + usage.Slot(i), Known: [3]int64{1, 1, 1}, Sum: l.slot()}
	}
	return series
}

// slot returns one slot: ticks of a timer, a daemon that writes its log now and then and
// a neighbour's broadcast, or a server at work whose load comes and goes.
func (l *load) slot() (sum [11]uint64) {
	upTo := func(n float64) uint64 { return uint64(l.random.Float64() * n) }
	sum[usage.CPU], sum[usage.Steal] = 60+upTo(60), upTo(4)
	sum[usage.BytesIn], sum[usage.PacketsIn] = upTo(2000), upTo(12)
	sum[usage.BytesOut], sum[usage.PacketsOut] = upTo(1500), upTo(8)
	if l.random.IntN(4) == 0 {
		sum[usage.WriteOps] = 1 + upTo(4)
		sum[usage.WriteBytes] = sum[usage.WriteOps] * 4096
	}
	if l.random.IntN(8) == 0 {
		l.memory += upTo(64) * 4
	}
	if l.busy {
		l.level = min(max(l.level+(l.random.Float64()-0.5)*0.1, 0), 1)
		sum[usage.CPU] += uint64(l.level*25_000) + upTo(2000)
		sum[usage.Steal] += upTo(1500)
		l.memory = max(l.memory+upTo(4096), 4096) - upTo(4096)
		sum[usage.ReadOps], sum[usage.WriteOps] = upTo(400), uint64(l.level*3000)+upTo(300)
		sum[usage.ReadBytes], sum[usage.WriteBytes] = sum[usage.ReadOps]*4096*(1+upTo(4)), sum[usage.WriteOps]*4096*(1+upTo(4))
		sum[usage.PacketsIn], sum[usage.PacketsOut] = uint64(l.level*20_000)+upTo(2000), uint64(l.level*25_000)+upTo(2500)
		sum[usage.BytesIn], sum[usage.BytesOut] = sum[usage.PacketsIn]*(200+upTo(100)), sum[usage.PacketsOut]*(900+upTo(200))
	}
	sum[usage.Memory] = l.memory
	return sum
}
