package main

import (
	"context"

	"github.com/cpucloud/cpucloud/bench/internal/database"
	"github.com/cpucloud/cpucloud/bench/internal/report"
)

// start times how long a control plane takes to start on a marketplace that is
// there: the index is built anew from the store each time.
func (b *bench) start(ctx context.Context) error {
	for _, engine := range database.Engines {
		p, err := b.plane(ctx, engine)
		if err != nil {
			return err
		}
		var took []float64
		for range b.rounds {
			if err := p.stop(ctx); err != nil {
				return err
			}
			d, err := p.start(ctx)
			if err != nil {
				return err
			}
			took = append(took, d.Seconds())
		}
		if err := report.Print(report.Figure{Name: "start." + engine, Value: report.Median(took), Unit: "s", Bar: "<=3"}); err != nil {
			return err
		}
	}
	return nil
}
