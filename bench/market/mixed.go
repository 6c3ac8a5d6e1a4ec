package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/cpucloud/cpucloud/bench/internal/report"
)

// placers is how many clients deploy while others search.
const placers = 8

// mixed measures how long searches take while VMs are deployed, and while none
// are: a search that waits for a placement shows in the slowest ones.
func (b *bench) mixed(ctx context.Context) error {
	d, err := b.newDeployer(ctx, "sqlite")
	if err != nil {
		return err
	}
	if err := b.measuring(); err != nil {
		return err
	}
	if err := b.mixedWith(ctx, "mixed.http", "ms", d.mixHTTP); err != nil {
		return err
	}
	if !b.inProcess { // the same marketplace, in this process
		if err := d.stop(ctx); err != nil {
			return err
		}
		d.binary = ""
		if _, err := d.start(ctx); err != nil {
			return err
		}
	}
	key, err := keyLine()
	if err != nil {
		return err
	}
	return b.mixedWith(ctx, "mixed.index", "us", func(ctx context.Context, placers int) ([]float64, int, error) {
		return d.mixInside(ctx, placers, b.phase, key)
	})
}

// mixedWith runs rounds of searches, which return how long each took and how
// many VMs were deployed meanwhile by so many clients.
func (b *bench) mixedWith(ctx context.Context, name, unit string, round func(ctx context.Context, placers int) ([]float64, int, error)) error {
	for _, n := range []int{0, placers} {
		var p50, p99 []float64
		for range b.rounds {
			took, placed, err := round(ctx, n)
			if err != nil {
				return err
			}
			report.Progress("%s: %d searches, %d VMs", name, len(took), placed)
			p50, p99 = append(p50, report.Quantile(took, 0.5)), append(p99, report.Quantile(took, 0.99))
		}
		what, bar := name+".alone", ""
		if n > 0 {
			what, bar = name, "<=5"
		}
		if err := report.Print(
			report.Figure{Name: what + ".p50", Value: report.Median(p50), Unit: unit},
			report.Figure{Name: what + ".p99", Value: report.Median(p99), Unit: unit, Floor: report.Median(p50), Bar: bar},
		); err != nil {
			return err
		}
	}
	return nil
}

// mixHTTP has clients search and deploy.
func (d *deployer) mixHTTP(ctx context.Context, placers int) (took []float64, vms int, err error) {
	requests, err := searchBodies(d.mix)
	if err != nil {
		return nil, 0, err
	}
	var placing, searching outcome
	var failed [2]error
	var both sync.WaitGroup
	if placers > 0 {
		both.Go(func() { placing, failed[0] = runLoad(ctx, d.task(placers)) })
	}
	both.Go(func() {
		searching, failed[1] = runLoad(ctx, task{
			Address: d.address(), Path: "/v1/offers", Key: d.key, Bodies: requests, First: d.next, Clients: searchers, For: d.tasks.For,
		})
	})
	both.Wait()
	if err := errors.Join(failed[:]...); err != nil {
		return nil, 0, err
	}
	if len(searching.Took) == 0 {
		return nil, 0, fmt.Errorf("no search was answered within %s", d.tasks.For)
	}
	d.done(placing)
	_, err = d.audit(ctx)
	return searching.Took, len(placing.Made), err
}
