package control_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/store/storetest"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// What it takes to watch the funds of 100,000 accounts with a VM each: when
// nothing happens, and when the money of a thousand was moved.
func BenchmarkWarn(b *testing.B) {
	const accounts, batch = 100_000, 5_000
	for _, e := range storetest.Engines() {
		c := newCloud(b, e.Open(b))
		ctx, now := b.Context(), c.clock.Now()
		for n := 0; n < accounts; n += batch {
			c.must("write VMs", c.db.Write(ctx, func(tx *store.Tx) error {
				var o store.Orders
				for i := n; i < n+batch; i++ {
					v := vm.VM{
						ID: fmt.Sprintf("0x%040d", i), AccountID: fmt.Sprintf("acc_%026d", i), ServerID: "srv", Name: "web", Goal: vm.Run, State: vm.Active, Since: now,
						Price: price, Epoch: epoch, CreatedAt: now, ActivatedAt: now, NextBilling: now.Add(epoch),
						Address: netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}),
					}
					o.VMs = append(o.VMs, v)
					o.Entries = append(o.Entries, ledger.Credit(now, v.AccountID, money.Amount(3+i%90)*price, "", fmt.Sprint(i)),
						ledger.Entry{At: now, Kind: ledger.Hold, From: ledger.Customer(v.AccountID), To: ledger.Reserve(v.ID), Amount: price, VM: v.ID, Key: "hold:" + v.ID})
				}
				return tx.StoreOrders(ctx, o)
			}))
		}
		began := time.Now()
		_, err := c.Warn(ctx)
		c.must("Warn", err)
		b.Logf("%s: the first look at all took %s", e.Name, time.Since(began))
		moved := 0
		for _, touch := range []int{0, 1_000} {
			b.Run(fmt.Sprintf("%s/%d", e.Name, touch), func(b *testing.B) {
				for b.Loop() {
					b.StopTimer()
					c.must("move money", c.db.Write(ctx, func(tx *store.Tx) error {
						list := make([]ledger.Entry, touch)
						for i := range list {
							moved++
							list[i] = ledger.Credit(now, fmt.Sprintf("acc_%026d", (moved*7919)%accounts), 1, "", fmt.Sprint("more:", moved))
						}
						return tx.PostAll(ctx, list)
					}))
					b.StartTimer()
					_, err := c.Warn(ctx)
					c.must("Warn", err)
				}
			})
		}
	}
}
