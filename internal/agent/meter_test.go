package agent_test

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cpucloud/cpucloud/internal/agent"
	"github.com/cpucloud/cpucloud/internal/hypervisor"
	"github.com/cpucloud/cpucloud/internal/network"
	"github.com/cpucloud/cpucloud/internal/usage"
)

// slot returns the moment n slots after noon.
func slot(n int) time.Time { return noon.Add(time.Duration(n) * usage.Width) }

func used(started time.Time, cpu time.Duration, reads uint64) hypervisor.Usage {
	return hypervisor.Usage{ID: "a", Started: started, CPU: cpu, Memory: 1 << 30, Disk: &hypervisor.DiskUsage{ReadBytes: reads, ReadOps: reads / 512}}
}

// story is readings and what they say, one after the other.
type story struct {
	t *testing.T
	agent.Meters
	told []usage.Point
}

// reads takes a reading of machine a, and returns the points that it gives.
func (s *story) reads(at time.Time, u hypervisor.Usage, links map[string]network.Traffic) []usage.Point {
	s.t.Helper()
	all := s.Take(at, []hypervisor.Usage{u}, links)
	if len(all) == 0 {
		return nil
	}
	s.told = append(s.told, all[0].Points...)
	return all[0].Points
}

// cpu returns the processor time of points, in milliseconds.
func cpu(points []usage.Point) (list []uint64) {
	for _, p := range points {
		list = append(list, p.Sum[usage.CPU])
	}
	return list
}

func TestMetersTellDifferences(t *testing.T) {
	t.Parallel()
	s := &story{t: t}
	started := noon.Add(-time.Hour)
	if got := s.reads(slot(0), used(started, time.Hour, 1<<30), map[string]network.Traffic{"a": {BytesIn: 1 << 40}}); got != nil {
		t.Errorf("the first reading tells %+v, want nothing: it is not known since when", got)
	}
	got := s.reads(slot(1).Add(20*time.Millisecond), used(started, time.Hour+3*time.Second, 1<<30+1024), map[string]network.Traffic{"a": {BytesIn: 1<<40 + 7, PacketsIn: 2}})
	want := usage.Point{At: usage.SlotOf(slot(0)), Known: [3]int64{1, 1, 1}}
	want.Sum[usage.CPU], want.Sum[usage.Memory], want.Sum[usage.ReadBytes], want.Sum[usage.ReadOps] = 3000, 1<<20, 1024, 2
	want.Sum[usage.BytesIn], want.Sum[usage.PacketsIn] = 7, 2
	if !slices.Equal(got, []usage.Point{want}) {
		t.Errorf("the second reading tells %+v, want %+v", got, want)
	}
}

func TestMetersOfAnotherRunBeginAtNothing(t *testing.T) {
	t.Parallel()
	s := &story{t: t}
	s.reads(slot(0), used(noon.Add(-time.Hour), time.Hour, 1<<30), nil)
	// It ended and was started again in between: all that it has used was since.
	if got := cpu(s.reads(slot(1), used(slot(0).Add(5*time.Second), 2*time.Second, 512), nil)); !slices.Equal(got, []uint64{2000}) {
		t.Errorf("cpu = %v, want 2000 of the new run alone", got)
	}
	// One that wasn't seen for a while, though it ran, is not told of as if it had done all that since.
	s.Take(slot(2), nil, nil)
	if got := s.reads(slot(3), used(slot(0).Add(5*time.Second), time.Minute, 512), nil); got != nil {
		t.Errorf("told %+v, want nothing", got)
	}
}

func TestMetersOfCountersThatFall(t *testing.T) {
	t.Parallel()
	s := &story{t: t}
	links := func(n uint64) map[string]network.Traffic { return map[string]network.Traffic{"a": {BytesOut: n}} }
	s.reads(slot(0), used(noon, 10*time.Second, 1<<20), links(1<<30))
	got := s.reads(slot(1), used(noon, 5*time.Second, 1<<10), links(5))
	if len(got) != 0 {
		t.Errorf("told %+v of counters that fell, want nothing", got)
	}
	got = s.reads(slot(2), used(noon, 6*time.Second, 1<<11), links(4)) // the network's alone
	if len(got) != 1 || got[0].Known != [3]int64{1, 1, 0} {
		t.Errorf("told %+v, want all but the network", got)
	}
	s.reads(slot(3), used(noon, 6*time.Second, 1<<11), links(5))
	s.reads(slot(4), used(noon, 5*time.Second, 1<<10), links(5))
	got = s.reads(slot(5), used(noon, 6*time.Second, 1<<11), links(8))
	if len(got) != 1 || got[0].Sum[usage.CPU] != 1000 || got[0].Sum[usage.ReadBytes] != 1<<10 || got[0].Sum[usage.BytesOut] != 3 {
		t.Errorf("told %+v, want what came after", got)
	}
}

func TestMetersSpreadWhatTookLonger(t *testing.T) {
	t.Parallel()
	s := &story{t: t}
	s.reads(slot(0), used(noon, 0, 0), nil)
	if got := cpu(s.reads(slot(4), used(noon, 10*time.Second+3*time.Millisecond, 0), nil)); !slices.Equal(got, []uint64{2500, 2501, 2501, 2501}) {
		t.Errorf("cpu = %v, want a share for each slot and nothing lost", got)
	}
	if got := s.reads(slot(4+21), used(noon, time.Hour, 0), nil); got != nil {
		t.Errorf("told %+v of a long gap, want nothing", got)
	}
	if got := s.reads(slot(10), used(noon, time.Hour+time.Second, 0), nil); got != nil {
		t.Errorf("told %+v after the clock was set back, want nothing", got)
	}
	if got := cpu(s.reads(slot(11), used(noon, time.Hour+2*time.Second, 0), nil)); !slices.Equal(got, []uint64{1000}) {
		t.Errorf("cpu = %v, want 1000", got)
	}
	if got := s.reads(slot(11).Add(time.Second), used(noon, time.Hour+3*time.Second, 0), nil); got != nil {
		t.Errorf("told %+v of a slot that was told of", got)
	}
	if got := cpu(s.reads(slot(12), used(noon, time.Hour+4*time.Second, 0), nil)); !slices.Equal(got, []uint64{2000}) {
		t.Errorf("cpu = %v, want 2000 since the last that was told", got)
	}
}

// What is not known of disks is not zero, and comes when it is known.
func TestMetersWithoutDisks(t *testing.T) {
	t.Parallel()
	s := &story{t: t}
	deaf := used(noon, time.Second, 0)
	deaf.Disk = nil
	s.reads(slot(0), used(noon, 0, 0), nil)
	if got := s.reads(slot(1), deaf, nil); len(got) != 1 || got[0].Known != [3]int64{1, 0, 0} {
		t.Errorf("told %+v, want no disk and no network", got)
	}
	got := s.reads(slot(2), used(noon, 2*time.Second, 2048), nil)
	if len(got) != 2 || got[0].Known != [3]int64{0, 1, 0} || got[1].Known != [3]int64{1, 1, 0} || got[0].Sum[usage.ReadBytes]+got[1].Sum[usage.ReadBytes] != 2048 {
		t.Errorf("told %+v, want the disk of both slots", got)
	}
}

// Whatever is read when, points tell of no slot twice and of all that the counters rose by.
func TestMetersCountAllOnce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		s := &story{t: t}
		at, sum := 0, uint64(0)
		first := rapid.Uint64Range(0, 1<<40).Draw(rt, "first")
		n := first
		s.reads(slot(at), used(noon.Add(-time.Hour), time.Duration(n)*time.Millisecond, n*512), nil)
		for range rapid.IntRange(1, 30).Draw(rt, "readings") {
			at += rapid.SampledFrom([]int{1, 1, 1, 2, 7, 20}).Draw(rt, "slots")
			n += rapid.Uint64Range(0, 100_000).Draw(rt, "more")
			early := time.Duration(rapid.IntRange(-5000, 5000).Draw(rt, "early")) * time.Millisecond
			u := used(noon.Add(-time.Hour), time.Duration(n)*time.Millisecond, n*512)
			s.reads(slot(at).Add(early), u, nil)
		}
		known := map[usage.Slot]bool{}
		for _, p := range s.told {
			if known[p.At] || p.Check(1) != nil {
				rt.Fatalf("slot %d is told of twice, or wrongly: %+v", p.At, p)
			}
			known[p.At] = true
			sum += p.Sum[usage.CPU]
		}
		if sum != n-first {
			rt.Fatalf("told %d ms, want %d", sum, n-first)
		}
	})
}
