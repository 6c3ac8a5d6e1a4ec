package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/payment"
	"github.com/cpucloud/cpucloud/internal/store"
)

// asked returns the nth withdrawal, with every field set.
func asked(n int) payment.Withdrawal {
	return payment.Withdrawal{
		ID: fmt.Sprint("wdr_", n), ProviderID: prov, Amount: amount(int64(n)), To: "it's a 'bank' ?", Note: "ünïcode \\", RequestKey: fmt.Sprint("k", n),
		State: payment.Requested, RequestedAt: now.Add(time.Duration(n) * time.Second).UTC().Truncate(time.Microsecond), RequestedBy: bert + "/key_1",
	}
}

var withdrawals = map[string]func(*db){
	"a withdrawal is kept and decided once": func(d *db) {
		d.furnish()
		w := asked(1)
		d.write(func(ctx context.Context, tx *store.Tx) error { return tx.InsertWithdrawal(ctx, w) })
		kept := func() payment.Withdrawal {
			return look(d, func(ctx context.Context, tx *store.Tx) (payment.Withdrawal, error) { return tx.Withdrawal(ctx, w.ID) })
		}
		d.same("as it was asked for", kept(), w)
		w.State, w.Decision = payment.Confirmed, payment.Decision{DecidedAt: w.RequestedAt.Add(time.Hour), DecidedBy: "acc_olga/key_1", Answer: "transfer '7'"}
		d.write(func(ctx context.Context, tx *store.Tx) error { return tx.DecideWithdrawal(ctx, w) })
		d.same("as it was decided", kept(), w)
		other := w
		other.State = payment.Rejected
		d.refuses("another decision", fault.Conflict, func(ctx context.Context, tx *store.Tx) error { return tx.DecideWithdrawal(ctx, other) })
		d.same("as before", kept(), w)
		d.refuses("none", fault.NotFound, func(ctx context.Context, tx *store.Tx) error {
			_, err := tx.Withdrawal(ctx, "wdr_0")
			return err
		})
	},
	"one of many decisions at once": func(d *db) {
		d.furnish()
		d.write(func(ctx context.Context, tx *store.Tx) error { return tx.InsertWithdrawal(ctx, asked(1)) })
		decided := 0
		for _, err := range together(10, func(i int) error {
			w := asked(1)
			w.State, w.Decision = payment.Confirmed, payment.Decision{DecidedAt: now, Answer: unique("transfer", i)}
			return d.try(func(ctx context.Context, tx *store.Tx) error { return tx.DecideWithdrawal(ctx, w) })
		}) {
			switch {
			case err == nil:
				decided++
			case !fault.Is(err, fault.Conflict):
				d.t.Errorf("DecideWithdrawal: %v", err)
			}
		}
		d.same("decisions", decided, 1)
	},
	"lists and sums of withdrawals": func(d *db) {
		d.furnish()
		d.write(func(ctx context.Context, tx *store.Tx) error {
			other := asked(5)
			other.ProviderID, other.RequestKey = "prv_2", "k1" // another's key may be the same
			return errors.Join(
				tx.InsertProvider(ctx, "prv_2", anna, "Sued", now),
				tx.InsertWithdrawal(ctx, asked(1)), tx.InsertWithdrawal(ctx, asked(2)), tx.InsertWithdrawal(ctx, asked(3)), tx.InsertWithdrawal(ctx, other),
			)
		})
		paid := asked(2)
		paid.State, paid.Decision = payment.Confirmed, payment.Decision{DecidedAt: now, Answer: "x"}
		d.write(func(ctx context.Context, tx *store.Tx) error { return tx.DecideWithdrawal(ctx, paid) })
		list := func(provider string, state payment.State, limit int) string {
			var ids []string
			for _, w := range look(d, func(ctx context.Context, tx *store.Tx) ([]payment.Withdrawal, error) {
				return tx.Withdrawals(ctx, provider, state, limit)
			}) {
				ids = append(ids, w.ID)
			}
			return strings.Join(ids, " ")
		}
		d.same("all", list("", "", 9), "wdr_5 wdr_3 wdr_2 wdr_1")
		d.same("of one provider", list(prov, "", 9), "wdr_3 wdr_2 wdr_1")
		d.same("the newest", list(prov, "", 1), "wdr_3")
		d.same("to be decided", list("", payment.Requested, 9), "wdr_1 wdr_3 wdr_5")
		d.same("the oldest of them", list("", payment.Requested, 1), "wdr_1")
		d.same("paid", list(prov, payment.Confirmed, 9), "wdr_2")
		d.same("none", list("prv_2", payment.Confirmed, 9), "")
		sums := func(provider string) store.Withdrawn {
			return look(d, func(ctx context.Context, tx *store.Tx) (store.Withdrawn, error) { return tx.Withdrawn(ctx, provider) })
		}
		d.same("sums", sums(prov), store.Withdrawn{Waiting: 2, Requested: 4, Confirmed: 2})
		d.same("sums of another", sums("prv_2"), store.Withdrawn{Waiting: 1, Requested: 5})
		d.same("sums of nobody", sums("prv_3"), store.Withdrawn{})
		census := look(d, func(ctx context.Context, tx *store.Tx) (store.Census, error) { return tx.Census(ctx, now) })
		d.same("of all wait", census.Withdrawals, int64(3))
	},
	"a key is that of one request": func(d *db) {
		d.furnish()
		d.write(func(ctx context.Context, tx *store.Tx) error { return tx.InsertWithdrawal(ctx, asked(1)) })
		byKey := func(provider, key string) (id string) {
			d.read(func(ctx context.Context, tx *store.Tx) error {
				w, err := tx.WithdrawalByKey(ctx, provider, key)
				if id = w.ID; fault.Is(err, fault.NotFound) {
					return nil
				}
				return err
			})
			return id
		}
		again := asked(2)
		again.RequestKey = "k1"
		if err := d.try(func(ctx context.Context, tx *store.Tx) error { return tx.InsertWithdrawal(ctx, again) }); err == nil {
			d.t.Error("two requests have the same key")
		}
		without, too := asked(3), asked(4)
		without.RequestKey, too.RequestKey = "", ""
		d.write(func(ctx context.Context, tx *store.Tx) error {
			return errors.Join(tx.InsertWithdrawal(ctx, without), tx.InsertWithdrawal(ctx, too))
		})
		d.same("found", []string{byKey(prov, "k1"), byKey(prov, "k2"), byKey("prv_2", "k1"), byKey(prov, "")}, []string{"wdr_1", "", "", ""})
	},
	"what is being withdrawn": func(d *db) {
		d.furnish()
		d.write(func(ctx context.Context, tx *store.Tx) error {
			return tx.PostAll(ctx, []ledger.Entry{
				{At: now, Kind: ledger.Deposit, From: ledger.External, To: ledger.Earned(prov), Amount: 9, Key: "a"},
				ledger.Asked(now, prov, "wdr_1", 5), ledger.Asked(now, prov, "wdr_2", 1), ledger.Paid(now, prov, "wdr_2", 1),
				ledger.Asked(now, prov, "wdr_3", 2), ledger.Restored(now, prov, "wdr_3", 2),
			})
		})
		held := look(d, func(ctx context.Context, tx *store.Tx) (map[string]money.Amount, error) { return tx.Withdrawing(ctx) })
		d.same("held", held, map[string]money.Amount{prov: 5})
		b := look(d, func(ctx context.Context, tx *store.Tx) (*ledger.Books, error) { return tx.Books(ctx) })
		d.same("payouts", b.Payouts(), map[string]ledger.Payout{"wdr_1": {Asked: 5}, "wdr_2": {Asked: 1, Paid: 1}, "wdr_3": {Asked: 2, Restored: 2}})
	},
}
