package market_test

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/market"
)

// A summary tells of the servers of a match what they all have.
func TestSummary(t *testing.T) {
	t.Parallel()
	day := func(n int) time.Time { return time.Date(2030, time.January, n, 0, 0, 0, 0, time.UTC) }
	m := market.Summary{
		Offer: &market.Offer{ID: "off", MaxExtraStorage: 30}, Hardware: &capacity.Hardware{}, VCPUPerThread: 2, Price: 7,
		Configuration: market.Configurations()[1],
	}
	for _, r := range []market.Room{
		{Number: 1, Instances: 2, ExtraGiB: 10, Measured: &capacity.Measured{At: day(3), CPUSingle: 500, DiskFsync: 2, Network: 40}},
		{Number: 2, Instances: 3, ExtraGiB: 50},
		{Number: 3, Instances: 1, ExtraGiB: 20, Measured: &capacity.Measured{At: day(2), CPUSingle: 900, CPUAll: 60, DiskFsync: 5}},
	} {
		m.Add(r)
	}
	want := market.Summary{
		Offer: m.Offer, Hardware: m.Hardware, VCPUPerThread: 2, Configuration: m.Configuration, Price: 7,
		Servers: 3, Instances: 6, MaxExtraGiB: 50, Measured: 2, Oldest: day(2),
		Worst: market.Figures{500, 60, 0, 0, 0, 0, 5, 40}, Best: market.Figures{900, 60, 0, 0, 0, 0, 2, 40},
	}
	if got := m; got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// Figures tell their worst and their best, in whatever order servers come.
func TestSummaryFigures(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := market.Summary{Offer: &market.Offer{}, Hardware: &capacity.Hardware{}}
		var fsync, read []float64
		for range one(t, "servers", 0, 1, 2, 5) {
			have := capacity.Measured{DiskFsync: one(t, "fsync", 0.0, 1, 2, 3), DiskRead: one(t, "read", 0.0, 100, 200, 300)}
			s.Add(market.Room{Measured: &have})
			if have.DiskFsync > 0 {
				fsync = append(fsync, have.DiskFsync)
			}
			if have.DiskRead > 0 {
				read = append(read, have.DiskRead)
			}
		}
		want := [4]float64{}
		if len(fsync) > 0 {
			want[0], want[1] = slices.Max(fsync), slices.Min(fsync)
		}
		if len(read) > 0 {
			want[2], want[3] = slices.Min(read), slices.Max(read)
		}
		if got := [4]float64{s.Worst[6], s.Best[6], s.Worst[3], s.Best[3]}; got != want {
			t.Errorf("worst and best: got %v, want %v", got, want)
		}
	})
}

// What is sorted by stands first where it is best, and last where nobody knows.
func TestSummarySorts(t *testing.T) {
	t.Parallel()
	list := []market.Summary{
		{Offer: &market.Offer{ID: "a"}, Price: 3, Instances: 1, Best: market.Figures{0: 500, 6: 2}},
		{Offer: &market.Offer{ID: "b"}, Price: 1, Instances: 9},
		{Offer: &market.Offer{ID: "c"}, Price: 2, Instances: 4, Best: market.Figures{0: 900, 6: 4}},
		{Offer: &market.Offer{ID: "d"}, Price: 2, Instances: 4, Best: market.Figures{0: 500}},
	}
	for i := range list {
		list[i].Hardware, list[i].Configuration = &capacity.Hardware{}, market.Configurations()[i]
	}
	for by, want := range map[market.Sort]string{market.ByPrice: "bcda", market.ByFree: "bcda", "cpuSingle": "cdab", "diskFsync": "acbd", "network": "bcda"} {
		if !by.Valid() {
			t.Errorf("%s is no sort", by)
		}
		slices.SortFunc(list, func(a, b market.Summary) int { return a.Cursor(by).Compare(b.Cursor(by)) })
		got := ""
		for _, s := range list {
			got += s.Offer.ID
		}
		if got != want {
			t.Errorf("by %s: got %s, want %s", by, got, want)
		}
	}
	if by := market.Sort("best"); by.Valid() {
		t.Errorf("%s is a sort", by)
	}
}
