package storetest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// spent writes a life of Anna's VM, beside one of Bert's, and returns the ids.
func (d *db) spent() (annas, berts string) {
	d.t.Helper()
	d.furnish()
	a, b := machine(1), machine(2)
	b.AccountID = bert
	d.write(func(ctx context.Context, tx *store.Tx) error {
		if err := errors.Join(tx.InsertVM(ctx, a), tx.InsertVM(ctx, b)); err != nil {
			return err
		}
		for i, e := range []ledger.Entry{
			ledger.Credit(now, anna, 1000, "a gift", "1"),
			ledger.Credit(now, bert, 1000, "", "2"),
			{Kind: ledger.Hold, From: ledger.Customer(anna), To: ledger.Reserve(a.ID), Amount: 200, VM: a.ID, Key: "hold:" + a.ID},
			{Kind: ledger.Hold, From: ledger.Customer(bert), To: ledger.Reserve(b.ID), Amount: 200, VM: b.ID, Key: "hold:" + b.ID},
			ledger.Rent(now, a.AccountID, a.ID, prov, 100, 1),
			ledger.Rent(now, b.AccountID, b.ID, prov, 100, 1),
			{Kind: ledger.Settle, From: ledger.Pending(prov), To: ledger.Earned(prov), Amount: 60, Key: "settle:a"},
			ledger.Undelivered(now, a.AccountID, a.ID, prov, 30, 1),
			ledger.Release(now, anna, a.ID, 130, "deleted", 1),
			ledger.Debit(now, anna, 7, "", "1"),
		} {
			e.At = now.Add(time.Duration(i/2) * time.Second) // two at each time
			if _, err := tx.Post(ctx, e); err != nil {
				return err
			}
		}
		return nil
	})
	return a.ID, b.ID
}

func (d *db) history(h store.History, limit int) (lines []string) {
	d.t.Helper()
	for _, e := range look(d, func(ctx context.Context, tx *store.Tx) ([]store.HistoryEntry, error) {
		return tx.History(ctx, h, limit)
	}) {
		lines = append(lines, fmt.Sprint(e.Kind, " ", int64(e.Amount), " ", e.VMName))
	}
	return lines
}

var histories = map[string]func(*db){
	"the entries of an account and of its VMs": func(d *db) {
		first, second := d.spent()
		all := []string{"withdrawal 7 ", "refund 130 vm-1", "return 30 vm-1", "charge 100 vm-1", "hold 200 vm-1", "deposit 1000 "}
		d.same("all", d.history(store.History{AccountID: anna}, 10), all)
		d.same("of Bert", d.history(store.History{AccountID: bert}, 10), []string{"charge 100 vm-2", "hold 200 vm-2", "deposit 1000 "})
		d.same("of nobody", len(d.history(store.History{AccountID: "acc_none"}, 10)), 0)
		d.same("some", d.history(store.History{AccountID: anna}, 2), all[:2])
		d.same("of a VM", d.history(store.History{AccountID: anna, VM: first}, 10), all[1:5])
		d.same("of Bert's VM", d.history(store.History{AccountID: bert, VM: second}, 10), []string{"charge 100 vm-2", "hold 200 vm-2"})
		d.same("of kinds", d.history(store.History{AccountID: anna, Kinds: []ledger.Kind{ledger.Charge, ledger.Deposit}}, 10), []string{all[3], all[5]})
		d.same("of a time", d.history(store.History{AccountID: anna, From: now.Add(time.Second), To: now.Add(4 * time.Second)}, 10), all[2:5])
		entries := look(d, func(ctx context.Context, tx *store.Tx) ([]store.HistoryEntry, error) {
			return tx.History(ctx, store.History{AccountID: anna}, 10)
		})
		for i, e := range entries {
			d.same(unique("older", i), len(d.history(store.History{AccountID: anna, Before: e.Mark()}, 10)), len(all)-1-i)
			d.same(unique("newer", i), len(d.history(store.History{AccountID: anna, After: e.Mark()}, 10)), i)
			d.same(unique("up to", i), len(d.history(store.History{AccountID: anna, UpTo: e.ID}, 10)), len(all)-i)
		}
		up := look(d, func(ctx context.Context, tx *store.Tx) ([]store.HistoryEntry, error) {
			return tx.HistoryUp(ctx, store.History{AccountID: anna, After: entries[5].Mark()}, 2)
		})
		d.same("the oldest ones", up, []store.HistoryEntry{entries[4], entries[3]})
		d.same("the newest of all", look(d, func(ctx context.Context, tx *store.Tx) (int64, error) { return tx.LastEntry(ctx) }), entries[0].ID)
	},
	"what entries moved": func(d *db) {
		d.spent()
		moved := func(h store.History) ledger.Purse {
			return look(d, func(ctx context.Context, tx *store.Tx) (ledger.Purse, error) { return tx.Moved(ctx, h) })
		}
		d.same("all", moved(store.History{AccountID: anna}), ledger.Purse{Free: 1000 - 200 + 130 - 7})
		d.same("before the refund", moved(store.History{AccountID: anna, To: now.Add(4 * time.Second)}), ledger.Purse{Free: 800, Reserved: 130})
		d.same("of Bert", moved(store.History{AccountID: bert}), ledger.Purse{Free: 800, Reserved: 100})
		d.same("of nobody", moved(store.History{AccountID: "acc_none"}), ledger.Purse{})
		paid := func(since time.Time) any {
			return look(d, func(ctx context.Context, tx *store.Tx) (int64, error) {
				amount, err := tx.Paid(ctx, anna, since)
				return int64(amount), err
			})
		}
		d.same("paid", []any{paid(now), paid(now.Add(2 * time.Second)), paid(now.Add(3 * time.Second))}, []any{int64(70), int64(70), int64(-30)})
	},
	"the VMs that cost money": func(d *db) {
		d.furnish()
		a, b, c := machine(1), machine(2), machine(3)
		b.State, c.AccountID = vm.Stopped, bert
		d.insert(a, b, c)
		d.post(ledger.Credit(now, anna, 100, "", "1"))
		d.post(ledger.Entry{At: now, Kind: ledger.Hold, From: ledger.Customer(anna), To: ledger.Reserve(a.ID), Amount: 60, VM: a.ID, Key: "hold:" + a.ID})
		d.same("VMs", look(d, func(ctx context.Context, tx *store.Tx) ([]store.Costing, error) { return tx.CostingVMs(ctx, anna) }), []store.Costing{{
			AccountID: anna, Name: "vm-1", State: a.State, Since: stored(a).Since, Deadline: stored(a).Deadline,
			Line: ledger.Line{VM: a.ID, Price: a.Price, Epoch: a.Epoch, Next: stored(a).NextBilling, Reserve: 60},
		}})
		d.same("of both", len(look(d, func(ctx context.Context, tx *store.Tx) ([]store.Costing, error) {
			return tx.CostingVMs(ctx, anna, bert)
		})), 2)
	},
	"what accounts were told": func(d *db) {
		event := func(key string, n int64) store.AccountEvent {
			return store.AccountEvent{N: n, Key: key, At: now.UTC().Truncate(time.Microsecond), Text: "text of " + key}
		}
		for _, e := range []store.AccountEvent{event("a", 0), event("b", 0), event("a", 0), event("c", 0)} {
			d.write(func(ctx context.Context, tx *store.Tx) error { return tx.AddAccountEvent(ctx, anna, e) })
		}
		told := func(accountID string, before int64, limit int) []store.AccountEvent {
			return look(d, func(ctx context.Context, tx *store.Tx) ([]store.AccountEvent, error) {
				return tx.AccountEvents(ctx, accountID, before, limit)
			})
		}
		d.same("all", told(anna, 0, 9), []store.AccountEvent{event("c", 2), event("b", 1), event("a", 0)})
		d.same("a page", told(anna, 2, 1), []store.AccountEvent{event("b", 1)})
		d.same("of Bert", told(bert, 0, 9), []store.AccountEvent{})
	},
}
