package usage_test

import (
	"bytes"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/usage"
)

func TestSlots(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 12, 0, 29, 999, time.FixedZone("", 3600))
	s := usage.SlotOf(at)
	if want := at.Truncate(15 * time.Second).UTC(); !s.Time().Equal(want) {
		t.Errorf("slot of %v begins at %v, want %v", at, s.Time(), want)
	}
	if got := usage.SlotOf(time.Unix(-1, 0)); got != -1 {
		t.Errorf("slot of a second before 1970 = %d, want -1", got)
	}
	if got := usage.Slot(-1).Floor(4); got != -4 {
		t.Errorf("floor of slot -1 = %d, want -4", got)
	}
	if got := usage.Slots(10 * time.Minute); got != 40 {
		t.Errorf("slots of 10 minutes = %d, want 40", got)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*usage.Point){
		"more slots than there are":  func(p *usage.Point) { p.Known[usage.Net] = 5 },
		"less than none":             func(p *usage.Point) { p.Known[usage.Net] = -1 },
		"sums of what isn't known":   func(p *usage.Point) { p.Known[usage.Disk] = 0 },
		"more than a server can do":  func(p *usage.Point) { p.Sum[usage.CPU] = 4*usage.MaxSum + 1 },
		"what was below zero before": func(p *usage.Point) { p.Sum[usage.BytesIn] = ^uint64(0) },
	} {
		p := usage.Point{Known: [3]int64{4, 4, 4}}
		p.Sum[usage.ReadOps] = 1
		if err := p.Check(4); err != nil {
			t.Fatalf("Check of a good point: %v", err)
		}
		change(&p)
		if err := p.Check(4); !fault.Is(err, fault.Invalid) {
			t.Errorf("Check with %s = %v, want an Invalid fault", name, err)
		}
	}
}

// anySeries is a series of points of width slots, often like those of real VMs.
func anySeries(width int64) *rapid.Generator[[]usage.Point] {
	return rapid.Custom(func(t *rapid.T) []usage.Point {
		at := usage.Slot(rapid.Int64Range(-1000, 1<<30).Draw(t, "at")) * usage.Slot(width)
		series := make([]usage.Point, rapid.IntRange(0, 60).Draw(t, "points"))
		for i := range series {
			p := usage.Point{At: at}
			at += usage.Slot(width * rapid.SampledFrom([]int64{1, 1, 1, 1, 2, 100}).Draw(t, "step"))
			for g := range p.Known {
				p.Known[g] = rapid.SampledFrom([]int64{width, width, width, width / 2, 0}).Draw(t, "known")
			}
			for _, f := range usage.Figures() {
				most := uint64(p.Known[f.Group()]) * usage.MaxSum
				p.Sum[f] = rapid.OneOf(rapid.Just(uint64(0)), rapid.Uint64Range(0, min(1000, most)), rapid.Uint64Range(0, most)).Draw(t, "sum")
			}
			series[i] = p
		}
		return series
	})
}

func anyWidth() *rapid.Generator[int64] { return rapid.SampledFrom([]int64{1, 4, 40}) }

func TestWhatIsWrittenIsRead(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		width := anyWidth().Draw(t, "width")
		series := anySeries(width).Draw(t, "series")
		data := usage.Append([]byte("before"), series, width)[len("before"):]
		got, wide, err := usage.Decode(data, len(series))
		if err != nil || wide != width || !reflect.DeepEqual(got, series) {
			t.Fatalf("Decode = %v, %d, %v, want %v, %d", got, wide, err, series, width)
		}
		if len(series) > 0 {
			if _, _, err := usage.Decode(data, len(series)-1); !fault.Is(err, fault.Malformed) {
				t.Fatalf("Decode of more points than are allowed = %v, want a Malformed fault", err)
			}
		}
		if _, _, err := usage.Decode(append(data, 0), len(series)); err == nil {
			t.Fatalf("Decode takes what something follows")
		}
	})
}

func total(series []usage.Point) (all usage.Point) {
	for _, p := range series {
		all.Add(p)
	}
	return all
}

func TestCoarserKeepsSums(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		series := anySeries(1).Draw(t, "series")
		minutes := usage.Coarsen(series, 4)
		if got, want := total(minutes), total(series); got != want {
			t.Fatalf("sums of minutes = %+v, want %+v", got, want)
		}
		for i, p := range minutes {
			if p.At != p.At.Floor(4) || i > 0 && p.At <= minutes[i-1].At || p.Check(4) != nil {
				t.Fatalf("point %d is %+v, after %v: %v", i, p, minutes[max(i-1, 0)].At, p.Check(4))
			}
		}
		// In steps or at once is the same.
		if got, want := usage.Coarsen(minutes, 40), usage.Coarsen(series, 40); !reflect.DeepEqual(got, want) {
			t.Fatalf("ten minutes of minutes = %+v, of slots %+v", got, want)
		}
	})
}

func TestMergeCountsNothingTwice(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		all := anySeries(4).Draw(t, "series")
		var a, b []usage.Point
		for _, p := range all {
			where := rapid.SampledFrom([]string{"a", "b", "both"}).Draw(t, "where")
			if where != "b" {
				a = append(a, p)
			}
			if where != "a" {
				b = append(b, p)
			}
		}
		if got := usage.Merge(a, b); !slices.Equal(got, all) {
			t.Fatalf("Merge = %v, want %v", got, all)
		}
		if got := usage.Merge(all, a); !slices.Equal(got, all) {
			t.Fatalf("Merge with what is known = %v, want %v", got, all)
		}
	})
}

func TestMergeTakesOfEachGroupWhoKnowsMore(t *testing.T) {
	t.Parallel()
	a, b := usage.Point{At: 4, Known: [3]int64{4, 2, 1}}, usage.Point{At: 4, Known: [3]int64{1, 4, 1}}
	for _, f := range usage.Figures() {
		a.Sum[f], b.Sum[f] = 100, 7
	}
	want := a
	want.Known[usage.Disk] = 4
	for _, f := range []usage.Figure{usage.ReadBytes, usage.WriteBytes, usage.ReadOps, usage.WriteOps} {
		want.Sum[f] = 7
	}
	if got := usage.Merge([]usage.Point{a}, []usage.Point{b}); !slices.Equal(got, []usage.Point{want}) {
		t.Errorf("Merge = %+v, want %+v", got, want)
	}
}

func TestWithin(t *testing.T) {
	t.Parallel()
	series := []usage.Point{{At: 4}, {At: 8}, {At: 12}}
	for _, c := range []struct {
		from, to usage.Slot
		want     []usage.Point
	}{{0, 100, series}, {5, 12, series[1:2]}, {8, 13, series[1:]}, {13, 20, nil}, {20, 4, nil}} {
		if got := usage.Within(series, c.from, c.to); !slices.Equal(got, c.want) {
			t.Errorf("Within %d to %d = %v, want %v", c.from, c.to, got, c.want)
		}
	}
}

func TestMean(t *testing.T) {
	t.Parallel()
	p := usage.Point{Known: [3]int64{3, 0, 1}}
	p.Sum[usage.CPU] = 7500
	if mean, ok := p.Mean(usage.CPU); !ok || mean != 2500 {
		t.Errorf("mean = %v, %v, want 2500", mean, ok)
	}
	if _, ok := p.Mean(usage.ReadBytes); ok {
		t.Error("a mean of what isn't known")
	}
}

// What is read is as Append writes it, or it is refused: whatever is sent is kept in
// that form, and no longer than its points need.
func FuzzDecode(f *testing.F) {
	p := usage.Point{At: 40, Known: [3]int64{40, 39, 0}}
	p.Sum[usage.CPU], p.Sum[usage.WriteOps] = 12345, 7
	for _, series := range [][]usage.Point{{}, {p}, {p, {At: 80, Known: p.Known, Sum: p.Sum}, {At: 400}}} {
		f.Add(usage.Append(nil, series, 40))
	}
	f.Add([]byte{1, 1, 0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, data []byte) {
		const most = 1000
		series, width, err := usage.Decode(data, most)
		if err != nil {
			return
		}
		if len(series) > most {
			t.Fatalf("%d points, want at most %d", len(series), most)
		}
		for i, p := range series {
			if p.At != p.At.Floor(width) || i > 0 && p.At <= series[i-1].At || p.Check(width) != nil {
				t.Fatalf("point %d of %v is none of a series", i, series)
			}
		}
		if again := usage.Append(nil, series, width); !bytes.Equal(again, data) {
			t.Fatalf("% x is read as %v, which is written % x", data, series, again)
		}
	})
}
