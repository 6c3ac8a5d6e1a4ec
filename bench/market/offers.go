package main

import (
	"context"
	"encoding/json"
	"fmt"
	"syscall"
	"time"

	"github.com/cpucloud/cpucloud/bench/internal/process"
	"github.com/cpucloud/cpucloud/bench/internal/report"
	"github.com/cpucloud/cpucloud/client"
)

// searchers is how many clients search at a time.
const searchers = 8

// searchBodies are the wishes as requests for a page of offers.
func searchBodies(mix []wish) ([]json.RawMessage, error) {
	return bodies(mix, func(w *wish) any {
		return struct {
			client.Constraints
			Limit int `json:"limit"`
		}{w.request(), page}
	})
}

func bodies(mix []wish, body func(w *wish) any) ([]json.RawMessage, error) {
	list := make([]json.RawMessage, len(mix))
	for i := range mix {
		var err error
		if list[i], err = json.Marshal(body(&mix[i])); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// costs are microseconds of processor time per operation, round by round.
type costs struct{ ours, bitmaps, encoder, http []float64 }

// offers measures the processor time of the control plane for a page of offers,
// beside the sum of what it is made of: the search in bitmaps, the encoding of
// as many offers, and an HTTP server that knows its caller.
func (b *bench) offers(ctx context.Context) error {
	p, err := b.plane(ctx, "sqlite")
	if err != nil {
		return err
	}
	mix := makeMix(mixSize)
	requests, err := searchBodies(mix)
	if err != nil {
		return err
	}
	floor, address, stop, err := startFloor(ctx)
	if err != nil {
		return err
	}
	defer stop()
	plain, document := newBitsets(p.fleet), makeDocument(page)
	if err := checkDocument(document); err != nil {
		return err
	}
	report.Progress("offers: %d clients ask for %d of %d servers' offers", searchers, page, len(p.fleet))
	search := task{Address: p.address(), Path: "/v1/offers", Key: p.key, Bodies: requests, Clients: searchers, For: b.phase}
	bare := search
	bare.Address, bare.Key = address, floorKey
	if err := b.measuring(); err != nil {
		return err
	}
	var c costs
	var seen outcome
	for range b.rounds {
		_, cost, err := loadCost(ctx, bare, floor)
		if err != nil {
			return fmt.Errorf("floor of HTTP: %w", err)
		}
		c.http = append(c.http, cost)
		f := plain.newFound()
		c.bitmaps = append(c.bitmaps, ownCost(10*len(mix), func(i int) { plain.search(&mix[i%len(mix)], page, f) }))
		var text []byte
		c.encoder = append(c.encoder, ownCost(2_000, func(int) { text = appendDocument(text[:0], document) }))
		o, cost, err := loadCost(ctx, search, p.pid)
		if err != nil {
			return err
		}
		c.ours = append(c.ours, cost)
		seen.add(o)
		seen.Seconds += o.Seconds
	}
	return report.Print(c.figures(seen)...)
}

func (c *costs) figures(seen outcome) []report.Figure {
	sum := report.Median(c.http) + report.Median(c.bitmaps) + report.Median(c.encoder)
	return []report.Figure{
		{Name: "offers.cpu", Value: report.Median(c.ours), Unit: "us", Floor: sum, Bar: "<=3"},
		{Name: "offers.floor.http", Value: report.Median(c.http), Unit: "us"},
		{Name: "offers.floor.bitmaps", Value: report.Median(c.bitmaps), Unit: "us"},
		{Name: "offers.floor.encoder", Value: report.Median(c.encoder), Unit: "us"},
		{Name: "offers.rate", Value: float64(len(seen.Took)) / seen.Seconds, Unit: "1/s"},
		{Name: "offers.p50", Value: report.Quantile(seen.Took, 0.5), Unit: "ms"},
		{Name: "offers.p99", Value: report.Quantile(seen.Took, 0.99), Unit: "ms"},
		{Name: "offers.size", Value: float64(seen.Bytes) / float64(len(seen.Took)) / 1024, Unit: "KiB"},
	}
}

// loadCost has clients do a task, and returns the microseconds of processor time
// that the server took for each answer.
func loadCost(ctx context.Context, t task, server process.PID) (outcome, float64, error) {
	before, err := server.CPU()
	if err != nil {
		return outcome{}, 0, err
	}
	o, err := runLoad(ctx, t)
	if err != nil {
		return o, 0, err
	}
	after, err := server.CPU()
	if err == nil && len(o.Took) == 0 {
		err = fmt.Errorf("of %s no request was answered as it should be", t.Path)
	}
	return o, perOperation(after-before, len(o.Took)), err
}

// ownCost returns the microseconds of processor time of this process that a run
// takes.
func ownCost(n int, run func(i int)) float64 {
	before := ownCPU()
	for i := range n {
		run(i)
	}
	return perOperation(ownCPU()-before, n)
}

// ownCPU returns the processor time of this process, its garbage collector's
// too, finer than /proc has it.
func ownCPU() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // fails for bad arguments only
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func perOperation(spent time.Duration, n int) float64 {
	return float64(spent.Nanoseconds()) / 1000 / float64(max(n, 1))
}
