package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/store/storetest"
)

// What it takes to go through a ledger again.
func BenchmarkBooks(b *testing.B) {
	const entries, accounts, batch = 200_000, 20_000, 10_000
	for _, e := range storetest.Engines() {
		b.Run(e.Name, func(b *testing.B) {
			s, ctx := e.Open(b), b.Context()
			for n := 0; n < entries; n += batch {
				if err := s.Write(ctx, func(tx *store.Tx) error {
					list := make([]ledger.Entry, batch)
					for i := range list {
						list[i] = ledger.Credit(time.Unix(1, 0), fmt.Sprintf("acc_%026d", (n+i)%accounts), 1, "credit by the operator", fmt.Sprint(n+i))
					}
					return tx.PostAll(ctx, list)
				}); err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				if err := s.Read(ctx, func(tx *store.Tx) error {
					books, err := tx.Books(ctx)
					if err == nil {
						err = books.Err()
					}
					return err
				}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*entries), "us/entry")
		})
	}
}
