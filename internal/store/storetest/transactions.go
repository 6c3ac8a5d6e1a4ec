package storetest

import (
	"context"
	"errors"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/store"
)

var transactions = map[string]func(*db){
	"answers": func(d *db) {
		if err := d.Ping(d.t.Context()); err != nil {
			d.t.Errorf("Ping: %v", err)
		}
		if err := d.Close(); err != nil {
			d.t.Errorf("Close: %v", err)
		}
		if err := d.Ping(d.t.Context()); err == nil {
			d.t.Error("a closed store answers")
		}
	},
	"an error leaves nothing": func(d *db) {
		stop := errors.New("stop")
		err := d.try(func(ctx context.Context, tx *store.Tx) error {
			if err := tx.InsertAccount(ctx, account.Account{ID: anna, CreatedAt: now}); err != nil {
				return err
			}
			if _, err := tx.Post(ctx, ledger.Credit(now, anna, 5, "", "1")); err != nil {
				return err
			}
			return stop
		})
		if !errors.Is(err, stop) {
			d.t.Errorf("Write: got %v, want the error of its function", err)
		}
		d.same("accounts", look(d, func(ctx context.Context, tx *store.Tx) ([]account.Account, error) { return tx.Accounts(ctx) }), []account.Account{})
		d.same("balance", d.balance(ledger.Customer(anna)), amount(0))
	},
	"an end of the context leaves nothing": func(d *db) {
		ctx, cancel := context.WithCancel(d.t.Context())
		err := d.Write(ctx, func(tx *store.Tx) error {
			defer cancel()
			return tx.InsertAccount(ctx, account.Account{ID: anna, CreatedAt: now})
		})
		if err == nil {
			d.t.Error("Write: no error though its context ended before its commit")
		}
		d.same("accounts", look(d, func(ctx context.Context, tx *store.Tx) ([]account.Account, error) { return tx.Accounts(ctx) }), []account.Account{})
	},
	"a reader sees one moment": func(d *db) {
		d.furnish()
		d.read(func(ctx context.Context, tx *store.Tx) error {
			before, err := tx.Accounts(ctx)
			if err != nil {
				return err
			}
			d.write(func(ctx context.Context, tx *store.Tx) error {
				return tx.InsertAccount(ctx, account.Account{ID: "acc_late", CreatedAt: now})
			})
			after, err := tx.Accounts(ctx)
			d.same("accounts within one Read", after, before)
			return err
		})
	},
	"a reader can't write": func(d *db) {
		err := d.Read(d.t.Context(), func(tx *store.Tx) error {
			return tx.InsertAccount(d.t.Context(), account.Account{ID: anna, CreatedAt: now})
		})
		if err == nil {
			d.t.Error("Read let an account be inserted")
		}
	},
	// Whoever reads in a Write may build on it until the end: no two of them
	// see the same thing and both act on it.
	"writers come one after another": func(d *db) {
		d.furnish()
		for _, err := range together(20, func(i int) error {
			return d.try(func(ctx context.Context, tx *store.Tx) error {
				had, err := tx.Balance(ctx, ledger.Customer(anna))
				if err != nil || had > 0 {
					return err
				}
				_, err = tx.Post(ctx, ledger.Credit(now, anna, 1, "the first one gets it", unique("give", i)))
				return err
			})
		}) {
			if err != nil {
				d.t.Errorf("Write: %v", err)
			}
		}
		d.same("balance", d.balance(ledger.Customer(anna)), amount(1))
	},
	// Two transactions that touch the same things in another order never end in
	// an error.
	"crossing writers both succeed": func(d *db) {
		d.furnish()
		for i, err := range together(20, func(i int) error {
			return d.try(func(ctx context.Context, tx *store.Tx) error {
				first, second := anna, bert
				if i%2 == 1 {
					first, second = second, first
				}
				_, err := tx.Post(ctx, ledger.Credit(now, first, 1, "", unique("first", i)))
				_, err2 := tx.Post(ctx, ledger.Credit(now, second, 1, "", unique("second", i)))
				return errors.Join(err, err2)
			})
		}) {
			if err != nil {
				d.t.Errorf("writer %d: %v", i, err)
			}
		}
		d.same("balances", []any{d.balance(ledger.Customer(anna)), d.balance(ledger.Customer(bert))}, []any{amount(20), amount(20)})
	},
	"settings": func(d *db) {
		d.refuses("Setting", fault.NotFound, func(ctx context.Context, tx *store.Tx) error {
			_, err := tx.Setting(ctx, "color")
			return err
		})
		for i, give := range []string{"red", "blue"} {
			d.write(func(ctx context.Context, tx *store.Tx) error {
				got, err := tx.InitSetting(ctx, "color", give)
				d.same(unique("InitSetting", i), got, "red")
				return err
			})
		}
		d.write(func(ctx context.Context, tx *store.Tx) error {
			return errors.Join(tx.PutSetting(ctx, "shape", "round"), tx.PutSetting(ctx, "shape", "square"))
		})
		d.same("another Setting", look(d, func(ctx context.Context, tx *store.Tx) (string, error) { return tx.Setting(ctx, "shape") }), "square")
		d.same("Setting", look(d, func(ctx context.Context, tx *store.Tx) (string, error) { return tx.Setting(ctx, "color") }), "red")
	},
}
