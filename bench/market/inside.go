package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/cpucloud/cpucloud/bench/internal/report"
	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/market"
)

// mixing is goroutines that search and deploy in a control plane of this
// process.
type mixing struct {
	*deployer
	who   account.Actor
	key   string
	begin time.Time
	phase time.Duration

	mu     sync.Mutex
	took   []float64 // microseconds of each search
	placed int
	failed error
}

// mixInside is mixHTTP without HTTP.
func (d *deployer) mixInside(ctx context.Context, placers int, phase time.Duration, key string) ([]float64, int, error) {
	who, err := d.inside.Control.Authenticate(ctx, d.key)
	if err != nil {
		return nil, 0, err
	}
	m := &mixing{deployer: d, who: who, key: key, begin: report.Now(), phase: phase}
	var all sync.WaitGroup
	for k := range placers {
		all.Go(func() { m.each(ctx, k, placers, m.deploy) })
	}
	for k := range searchers {
		all.Go(func() {
			took := m.searches(ctx, k)
			m.mu.Lock()
			defer m.mu.Unlock()
			m.took = append(m.took, took...)
		})
	}
	all.Wait()
	if m.failed == nil {
		_, m.failed = d.audit(ctx)
	}
	d.next += m.placed
	return m.took, m.placed, m.failed
}

// each does one wish after another until the phase is over.
func (m *mixing) each(ctx context.Context, k, step int, do func(ctx context.Context, w *wish) error) {
	for i := m.next + k; ctx.Err() == nil && report.Now().Sub(m.begin) < m.phase; i += step {
		if err := do(ctx, &m.mix[i%len(m.mix)]); err != nil {
			m.mu.Lock()
			m.failed = err
			m.mu.Unlock()
			return
		}
	}
}

// searches is one goroutine that searches.
func (m *mixing) searches(ctx context.Context, k int) (took []float64) {
	m.each(ctx, k, searchers, func(_ context.Context, w *wish) error {
		want, n := w.constraints(), 0
		begin := report.Now()
		err := m.inside.Control.Summaries(want, 0, func(*market.Summary) bool {
			n++
			return n < page
		})
		took = append(took, float64(report.Now().Sub(begin).Nanoseconds())/1000)
		return err
	})
	return took
}

func (m *mixing) deploy(ctx context.Context, w *wish) error {
	made, err := m.inside.Control.Deploy(ctx, m.who, control.Deployment{
		Constraints: w.constraints(), Instances: 1, Name: "bench", Image: image, SSHKeys: []string{m.key},
	})
	if fault.Is(err, fault.Unsatisfiable) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("deploy: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.placed++
	m.ids = append(m.ids, made[0].ID)
	return nil
}
