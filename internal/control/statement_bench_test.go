package control_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/store/storetest"
)

// What a statement of 100,000 entries takes, and how much is in memory for it.
func BenchmarkStatement(b *testing.B) {
	const entries, batch = 100_000, 10_000
	for _, e := range storetest.Engines() {
		c := newCloud(b, e.Open(b))
		anna := c.account("Anna", 0)
		for n := 0; n < entries; n += batch {
			c.must("write", c.db.Write(b.Context(), func(tx *store.Tx) error {
				list := make([]ledger.Entry, batch)
				for i := range list {
					list[i] = ledger.Credit(start.Add(time.Duration(n+i)*time.Second), anna.AccountID, 1, "credit by the operator", fmt.Sprint("many:", n+i))
				}
				return tx.PostAll(b.Context(), list)
			}))
		}
		b.Run(e.Name, func(b *testing.B) {
			var most uint64
			for b.Loop() {
				st, err := c.Statement(b.Context(), anna, "2026-03")
				c.must("Statement", err)
				n := 0
				c.must("Each", st.Each(b.Context(), func(control.StatementItem) error {
					if n++; n%20_000 == 0 {
						var m runtime.MemStats
						runtime.GC()
						runtime.ReadMemStats(&m)
						most = max(most, m.HeapAlloc)
					}
					return nil
				}))
				if n != entries {
					b.Fatalf("%d entries", n)
				}
			}
			b.ReportMetric(float64(most)/(1<<20), "MiB")
		})
	}
}
