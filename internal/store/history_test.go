package store_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/store/storetest"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// However many entries others have, a page is found in the indexes, in its order.
func TestHistoryPlan(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, e storetest.Engine) {
		s := e.Open(t)
		crowd(t, s, 0, 20_000)
		if err := s.Exec(t.Context(), "ANALYZE"); err != nil {
			t.Fatal(err)
		}
		middle := store.Mark{At: time.Unix(100, 0), ID: 50}
		for name, h := range map[string]store.History{
			"the newest":    {AccountID: "acc_7"},
			"the next page": {AccountID: "acc_7", Before: middle},
			"of a time":     {AccountID: "acc_7", From: time.Unix(1, 0), To: time.Unix(900, 0), Before: middle, UpTo: 9_000},
			"of a kind":     {AccountID: "acc_7", Kinds: []ledger.Kind{ledger.Charge}},
			"of a VM":       {AccountID: "acc_7", VM: "0x7"},
		} {
			var plan string
			if err := s.Read(t.Context(), func(tx *store.Tx) (err error) {
				plan, err = tx.Explain(t.Context(), h, 50)
				return err
			}); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			indexes := []string{"entries_customer"}
			if h.VM != "" {
				indexes = []string{"entries_key_key", "sqlite_autoindex_entries_1"}
			}
			if !slices.ContainsFunc(indexes, func(index string) bool { return strings.Contains(plan, index) }) {
				t.Errorf("%s: none of %v is used: %s", name, indexes, plan)
			}
			for _, whole := range []string{"SCAN e", "Seq Scan on entries"} {
				if strings.Contains(plan, whole) {
					t.Errorf("%s: there is a %q in %s", name, whole, plan)
				}
			}
		}
	})
}

// crowd writes entries of a hundred accounts, each of which has a VM: those from
// one number to another, of all that there are in the end.
func crowd(tb testing.TB, s *store.Store, from, to int) {
	tb.Helper()
	const accounts, batch = 100, 5_000
	ctx := tb.Context()
	write := func(fn func(tx *store.Tx) error) {
		if err := s.Write(ctx, fn); err != nil {
			tb.Fatal(err)
		}
	}
	if from == 0 {
		write(func(tx *store.Tx) error {
			var o store.Orders
			for i := range accounts {
				o.VMs = append(o.VMs, vm.VM{
					ID: fmt.Sprint("0x", i), AccountID: fmt.Sprint("acc_", i), ServerID: "srv", Address: netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}),
					Goal: vm.Run, State: vm.Active, Epoch: time.Hour, Name: fmt.Sprint("vm-", i),
				})
			}
			return tx.StoreOrders(ctx, o)
		})
	}
	for ; from < to; from += batch {
		list := make([]ledger.Entry, batch)
		for i := range list {
			number, account, vmID := (from+i)/accounts, fmt.Sprint("acc_", i%accounts), fmt.Sprint("0x", i%accounts)
			at := time.Unix(int64(number), 0)
			switch {
			case number == 0:
				list[i] = ledger.Credit(time.Unix(0, 1000), account, 1<<30, "", account)
			case number%2 == 1:
				list[i] = ledger.Entry{At: at, Kind: ledger.TopUp, From: ledger.Customer(account), To: ledger.Reserve(vmID), Amount: 2, VM: vmID, Key: fmt.Sprintf("topup:%s:%d", vmID, number)}
			default:
				list[i] = ledger.Rent(at, account, vmID, "prv", 2, int64(number))
			}
		}
		write(func(tx *store.Tx) error { return tx.PostAll(ctx, list) })
	}
}

// What a page costs among few entries of others, and among many.
func BenchmarkHistory(b *testing.B) {
	for _, e := range storetest.Engines() {
		s, there := e.Open(b), 0
		for _, entries := range []int{20_000, 1_000_000} {
			crowd(b, s, there, entries)
			there = entries
			b.Run(fmt.Sprintf("%s/%d", e.Name, entries), func(b *testing.B) {
				for b.Loop() {
					if err := s.Read(b.Context(), func(tx *store.Tx) error {
						list, err := tx.History(b.Context(), store.History{AccountID: "acc_7", Before: store.Mark{At: time.Unix(90, 0), ID: 1 << 40}}, 50)
						if err == nil && len(list) != 50 {
							err = fmt.Errorf("there are %d entries", len(list))
						}
						return err
					}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
