package main

import (
	"context"
	"fmt"

	"github.com/cpucloud/cpucloud/bench/internal/report"
	"github.com/cpucloud/cpucloud/internal/market"
)

const (
	page    = 100   // offers that a search is for
	mixSize = 1_000 // wishes that are gone through
)

// search times the index on fleets of several sizes, beside plain bitmaps.
func (b *bench) search(ctx context.Context) error {
	if err := b.measuring(); err != nil {
		return err
	}
	own := map[int]float64{}
	for _, n := range b.searched() {
		if err := ctx.Err(); err != nil {
			return err
		}
		report.Progress("search: %d servers", n)
		figures, p50, err := searchAt(n, b.rounds)
		if err != nil {
			return err
		}
		own[n] = p50
		if of, ok := own[n/10]; ok && n == largeFleet {
			figures = append(figures, report.Figure{Name: "search.growth", Value: p50 / of, Unit: "x", Bar: "<=5"})
		}
		if err := report.Print(figures...); err != nil {
			return err
		}
	}
	return nil
}

func searchAt(n, rounds int) (figures []report.Figure, p50 float64, err error) {
	fleet := makeFleet(n)
	index, bytes := newIndex(fleet)
	if index.Servers() != n {
		return nil, 0, fmt.Errorf("the index has %d servers, not %d", index.Servers(), n)
	}
	plain := newBitsets(fleet)
	mix := makeMix(mixSize)
	if err := sameAnswers(index, plain, mix); err != nil {
		return nil, 0, err
	}
	wants := make([]market.Constraints, len(mix))
	for i := range mix {
		wants[i] = mix[i].constraints()
	}
	var ours, tail, floor []float64
	f := plain.newFound()
	for range rounds {
		took, _ := timeEach(len(mix), func(i int) error {
			plain.search(&mix[i], page, f)
			return nil
		})
		floor = append(floor, report.Quantile(took, 0.5))
		took, err := timeEach(len(mix), func(i int) error { return cheapest(index, wants[i], func(market.Summary) {}) })
		if err != nil {
			return nil, 0, err
		}
		ours, tail = append(ours, report.Quantile(took, 0.5)), append(tail, report.Quantile(took, 0.99))
	}
	p50 = report.Median(ours)
	name, bar, heapBar := fmt.Sprintf("search.%d.", n), "", ""
	if n == 100_000 {
		bar, heapBar = "<=3", "<=100"
	}
	return []report.Figure{
		{Name: name + "p50", Value: p50, Unit: "us", Floor: report.Median(floor), Bar: bar},
		{Name: name + "p99", Value: report.Median(tail), Unit: "us"},
		{Name: name + "heap", Value: float64(bytes) / float64(n), Unit: "B/server", Bar: heapBar},
	}, p50, nil
}

// timeEach returns how long each of n runs took, in microseconds.
func timeEach(n int, run func(i int) error) ([]float64, error) {
	took := make([]float64, n)
	for i := range took {
		begin := report.Now()
		if err := run(i); err != nil {
			return nil, err
		}
		took[i] = float64(report.Now().Sub(begin).Nanoseconds()) / 1000
	}
	return took, nil
}

// cheapest takes a page of the cheapest matches in few figures.
func cheapest(x *market.Index, c market.Constraints, take func(market.Summary)) error {
	n := 0
	return x.Summaries(c, 0, func(s *market.Summary) bool {
		take(*s)
		n++
		return n < page
	})
}

// sameAnswers returns an error unless the index and the bitmaps find the same:
// a floor that answers another question is none. Bitmaps go on to the end of a
// price.
func sameAnswers(index *market.Index, plain *bitsets, mix []wish) error {
	f := plain.newFound()
	for i := range mix {
		w := &mix[i]
		plain.search(w, page, f)
		var servers, instances, groups int64
		err := index.Search(w.constraints(), func(m *market.Match) bool {
			if groups >= page && int64(m.Price) > int64(w.price(f.last)) {
				return false
			}
			s := m.Summary
			groups, servers, instances = groups+1, servers+s.Servers, instances+s.Instances
			return true
		})
		if err != nil {
			return err
		}
		for _, g := range f.groups {
			servers, instances = servers-int64(f.servers[g]), instances-int64(f.instances[g])
		}
		if servers != 0 || instances != 0 || groups != int64(len(f.groups)) {
			return fmt.Errorf("wish %d: the index finds %d groups, bitmaps %d; %d servers and %d instances more", i, groups, len(f.groups), servers, instances)
		}
	}
	return nil
}
