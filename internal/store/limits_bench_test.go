package store_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/store/storetest"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// What a transaction reads for an account with limits, of which 2,000 VMs run and
// 20,000 have ended, each charged for some days.
func BenchmarkLimits(b *testing.B) {
	for _, e := range storetest.Engines() {
		b.Run(e.Name, func(b *testing.B) { benchmarkLimits(b, e.Open(b)) })
	}
}

func benchmarkLimits(b *testing.B, s *store.Store) {
	b.Helper()
	ctx, now := b.Context(), time.Date(2026, 3, 20, 12, 0, 0, 0, time.UTC)
	for n := 0; n < 22_000; n += 1_000 {
		if err := s.Write(ctx, func(tx *store.Tx) error {
			var o store.Orders
			for i := n; i < n+1_000; i++ {
				v := vm.VM{
					ID: fmt.Sprintf("0x%040d", i), AccountID: "acc", KeyID: fmt.Sprint("key_", i%5), ServerID: fmt.Sprint(i), Goal: vm.Run, State: vm.Active,
					Price: 1000, Epoch: 24 * time.Hour, CreatedAt: now, Address: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}),
				}
				if i >= 2_000 {
					v.State = vm.Stopped
				}
				v.Limited = true
				o.VMs = append(o.VMs, v)
				o.Entries = append(o.Entries, ledger.Entry{At: now, Kind: ledger.TopUp, From: ledger.External, To: ledger.Reserve(v.ID), Amount: 2000, Key: "x" + v.ID})
				for epoch := range 2 {
					rent := ledger.Rent(now.AddDate(0, 0, -i%20), v.AccountID, v.ID, "prv", 1000, int64(epoch)+1)
					rent.Counted, rent.KeyID = true, v.KeyID
					o.Entries = append(o.Entries, rent)
				}
			}
			return tx.StoreOrders(ctx, o)
		}); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if err := s.Read(ctx, func(tx *store.Tx) error {
			if _, err := tx.Rents(ctx, "acc", true); err != nil {
				return err
			}
			_, err := tx.Charges(ctx, now, true, "acc", "key_1")
			return err
		}); err != nil {
			b.Fatal(err)
		}
	}
}
