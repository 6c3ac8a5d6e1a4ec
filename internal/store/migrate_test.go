package store_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/store/storetest"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// The migration of limits adds up what was charged before, and can be taken back.
func TestMigrateLimits(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, e storetest.Engine) {
		s, at := e.Open(t), time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		write := func(fn func(ctx context.Context, tx *store.Tx) error) {
			t.Helper()
			if err := s.Write(t.Context(), func(tx *store.Tx) error { return fn(t.Context(), tx) }); err != nil {
				t.Fatal(err)
			}
		}
		v := vm.VM{ID: "0x1", AccountID: "acc", KeyID: "key", Goal: vm.Run, State: vm.Active, Price: 5, Epoch: time.Hour, CreatedAt: at, Address: netip.MustParseAddr("10.0.0.1")}
		write(func(ctx context.Context, tx *store.Tx) error {
			if err := tx.InsertVM(ctx, v); err != nil {
				return err
			}
			return tx.PostAll(ctx, []ledger.Entry{
				{At: at, Kind: ledger.TopUp, From: ledger.External, To: ledger.Reserve(v.ID), Amount: 100, Key: "x"},
				ledger.Rent(at, v.ID, "prv", 5, 1), ledger.Rent(at.Add(time.Hour), v.ID, "prv", 5, 2), ledger.Rent(at.Add(24*time.Hour), v.ID, "prv", 5, 3),
			})
		})
		charged := func() (c map[string]store.Charged) {
			t.Helper()
			write(func(ctx context.Context, tx *store.Tx) (err error) {
				wrong, err := tx.MiscountedSpending(ctx)
				if err != nil || !slices.Equal(wrong, []string{}) {
					t.Errorf("wrong sums: %v, %v", wrong, err)
				}
				c, err = tx.Charges(ctx, at, "acc", "key")
				return err
			})
			return c
		}
		want := store.Charged{Day: 10, Month: 15}
		if got := charged(); got["acc"] != want || got["key"] != want {
			t.Errorf("before: got %+v, want %+v of each", got, want)
		}
		if err := errors.Join(s.MigrateBefore(t.Context(), 7), s.Migrate(t.Context())); err != nil {
			t.Fatal(err)
		}
		if got := charged(); got["acc"] != want || got["key"] != (store.Charged{}) { // which key it was is not known any more
			t.Errorf("after: got %+v, want %+v of the account", got, want)
		}
		write(func(ctx context.Context, tx *store.Tx) error {
			return tx.PutBound(ctx, "acc", account.Bound{Subject: "acc", SetBy: account.ByOperator})
		})
	})
}
