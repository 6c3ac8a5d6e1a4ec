package main

import (
	"context"
	"fmt"

	"github.com/cpucloud/cpucloud/bench/internal/database"
	"github.com/cpucloud/cpucloud/bench/internal/report"
)

// bulkVMs is how many VMs one request asks for.
const bulkVMs = 1_000

// bulk times one request for many VMs, on a marketplace where nothing else goes
// on.
func (b *bench) bulk(ctx context.Context) error {
	key, err := keyLine()
	if err != nil {
		return err
	}
	small := wish{country: anything, maker: anything, arch: anything, memory: anything, disk: anything}
	for _, engine := range database.Engines {
		p, err := b.plane(ctx, engine)
		if err != nil {
			return err
		}
		if err := b.measuring(); err != nil {
			return err
		}
		var rates []float64
		for range b.rounds {
			begin := report.Now()
			made, err := p.cloud.Deploy(ctx, deployment(&small, bulkVMs, key))
			if err == nil && len(made) != bulkVMs {
				err = fmt.Errorf("%d were made", len(made))
			}
			if err != nil {
				return fmt.Errorf("%s: deploy %d VMs: %w", engine, bulkVMs, err)
			}
			rates = append(rates, bulkVMs/report.Now().Sub(begin).Seconds())
			for _, v := range made {
				p.ids = append(p.ids, v.ID)
			}
			if _, err := p.audit(ctx); err != nil {
				return fmt.Errorf("%s: %w", engine, err)
			}
		}
		if err := report.Print(report.Figure{Name: "bulk." + engine, Value: report.Median(rates), Unit: "VMs/s", Bar: ">=5000"}); err != nil {
			return err
		}
	}
	return nil
}
