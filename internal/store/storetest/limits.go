package storetest

import (
	"context"
	"fmt"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

var limits = map[string]func(*db){
	"bounds": func(d *db) {
		d.furnish()
		d.write(func(ctx context.Context, tx *store.Tx) error {
			return tx.InsertKey(ctx, account.Key{ID: "key_1", AccountID: anna, Hash: "h1", Role: account.Customer, CreatedAt: now})
		})
		first := d.limitsRevision()
		own := account.Bound{Subject: anna, SetBy: account.ByAccount, Limits: account.Limits{PerDay: new(money.Amount(0)), Running: new(money.Max)}}
		theirs := account.Bound{Subject: anna, SetBy: account.ByOperator, Limits: account.Limits{PerMonth: new(money.Amount(7))}}
		keys := account.Bound{Subject: "key_1", OfKey: true, SetBy: account.ByAccount, Limits: account.Limits{PerDay: new(money.Amount(1))}}
		put := func(b account.Bound) {
			d.write(func(ctx context.Context, tx *store.Tx) error { return tx.PutBound(ctx, anna, b, now) })
		}
		for _, b := range []account.Bound{own, theirs, keys} {
			put(b)
		}
		bounds := func(ctx context.Context, tx *store.Tx) ([]account.Bound, error) {
			return tx.Bounds(ctx, anna, "key_1", bert)
		}
		d.same("Bounds", look(d, bounds), []account.Bound{theirs, own, keys})
		own.Limits = account.Limits{PerMonth: new(money.Amount(9))}
		put(own)
		theirs.Limits = account.Limits{}
		put(theirs)
		d.same("Bounds that were changed and lifted", look(d, bounds), []account.Bound{own, keys})
		d.same("changes", d.limitsRevision()-first, int64(5))
	},
	"rents": func(d *db) {
		d.furnish()
		late := now.Add(time.Hour)
		n := 0
		insert := func(keyID string, s vm.State, epoch time.Duration, limited bool) {
			n++
			v := machine(n)
			v.KeyID, v.State, v.Price, v.Epoch, v.Deadline = keyID, s, money.Amount(n), epoch, late
			d.write(func(ctx context.Context, tx *store.Tx) error {
				v.Limited = limited
				return tx.InsertVM(ctx, v)
			})
		}
		rents := func(limited bool) []store.Rent {
			return look(d, func(ctx context.Context, tx *store.Tx) ([]store.Rent, error) { return tx.Rents(ctx, anna, limited) })
		}
		insert("a", vm.New, time.Hour, false)
		insert("a", vm.Active, time.Hour, false)
		insert("a", vm.Active, 2*time.Hour, false)
		insert("", vm.InsufficientFunds, time.Hour, false)
		for _, ended := range []vm.State{vm.Terminated, vm.Stopped, vm.Failed} {
			insert("a", ended, time.Hour, false)
		}
		all := []store.Rent{{KeyID: "", Epoch: time.Hour, All: 4}, {KeyID: "a", Epoch: time.Hour, All: 3, Waiting: 1}, {KeyID: "a", Epoch: 2 * time.Hour, All: 3}}
		d.same("rents", rents(false), all)
		d.same("rents before there were limits", rents(true), []store.Rent{})
		d.write(func(ctx context.Context, tx *store.Tx) error {
			return tx.PutBound(ctx, anna, account.Bound{Subject: anna, SetBy: account.ByAccount, Limits: account.Limits{PerDay: new(money.Amount(1))}}, now)
		})
		d.same("rents", rents(true), all)
		insert("b", vm.Launching, time.Hour, true)
		d.same("rents with one more", rents(true), append(all, store.Rent{KeyID: "b", Epoch: time.Hour, All: 8, Waiting: 8}))
		d.same("rents with one more", rents(false), rents(true))
	},
	"charges": func(d *db) {
		d.furnish()
		v := machine(1)
		v.KeyID = "key"
		midnight := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
		counted := false
		post := func(epoch int64, at time.Time) {
			d.write(func(ctx context.Context, tx *store.Tx) error {
				rent := ledger.Rent(at, v.AccountID, v.ID, prov, 10, epoch)
				rent.Counted, rent.KeyID = counted, v.KeyID
				_, err := tx.Post(ctx, rent)
				return err
			})
		}
		d.write(func(ctx context.Context, tx *store.Tx) error {
			if _, err := tx.Post(ctx, ledger.Entry{At: now, Kind: ledger.TopUp, From: ledger.External, To: ledger.Reserve(v.ID), Amount: 100, Key: "x"}); err != nil {
				return err
			}
			return tx.InsertVM(ctx, v)
		})
		post(1, midnight.Add(-time.Microsecond))
		post(2, midnight)
		bound := account.Bound{Subject: anna, SetBy: account.ByAccount, Limits: account.Limits{PerDay: new(money.Amount(1))}}
		d.write(func(ctx context.Context, tx *store.Tx) error {
			if err := tx.InsertKey(ctx, account.Key{ID: "key", AccountID: anna, Hash: "key", Role: account.Customer, CreatedAt: now}); err != nil {
				return err
			}
			if err := tx.PutBound(ctx, anna, account.Bound{Subject: "key", SetBy: account.ByAccount, Limits: bound.Limits}, midnight); err != nil {
				return err
			}
			return tx.PutBound(ctx, anna, bound, midnight) // what was charged before is added up
		})
		counted = true
		post(3, midnight.Add(24*time.Hour-time.Microsecond))
		post(4, midnight.Add(24*time.Hour))
		for at, want := range map[time.Time]store.Charged{
			midnight.Add(-time.Hour):     {Day: 10, Month: 10},
			midnight.Add(time.Hour):      {Day: 20, Month: 30},
			midnight.Add(30 * time.Hour): {Day: 10, Month: 30},
			midnight.AddDate(0, 1, 0):    {},
		} {
			for _, limited := range []bool{true, false} {
				got := look(d, func(ctx context.Context, tx *store.Tx) (map[string]store.Charged, error) {
					return tx.Charges(ctx, at, limited, anna, "key", "other")
				})
				d.same(fmt.Sprint("charged at ", at, limited), []store.Charged{got[anna], got["key"], got["other"]}, []store.Charged{want, want, {}})
			}
		}
		miscounted := func(ctx context.Context, tx *store.Tx) ([]string, error) { return tx.MiscountedSpending(ctx) }
		d.same("wrong sums", look(d, miscounted), []string{})
		counted = false
		post(5, midnight.Add(25*time.Hour))
		d.same("wrong sums", look(d, miscounted), []string{anna, "key"})
	},
	"keys of an account": func(d *db) {
		d.furnish()
		d.write(func(ctx context.Context, tx *store.Tx) error {
			for i, k := range []account.Key{{ID: "k1", AccountID: anna, Role: account.Operator}, {ID: "k2", AccountID: anna, Role: account.Customer}, {ID: "k3", AccountID: bert, Role: account.Operator}} {
				k.Hash, k.CreatedAt = k.ID, now.Add(time.Duration(i))
				if err := tx.InsertKey(ctx, k); err != nil {
					return err
				}
			}
			return nil
		})
		seen := func() (ids []string, operators int) {
			d.read(func(ctx context.Context, tx *store.Tx) error {
				keys, err := tx.Keys(ctx, anna)
				for _, k := range keys {
					ids = append(ids, k.ID)
				}
				if err == nil {
					operators, err = tx.OperatorKeys(ctx)
				}
				return err
			})
			return ids, operators
		}
		ids, operators := seen()
		d.same("keys", ids, []string{"k1", "k2"})
		d.same("operators", operators, 2)
		d.write(func(ctx context.Context, tx *store.Tx) error { return tx.RevokeKey(ctx, "k1", now) })
		d.write(func(ctx context.Context, tx *store.Tx) error { return tx.RevokeKey(ctx, "k1", now.Add(time.Hour)) })
		ids, operators = seen()
		d.same("keys", ids, []string{"k2"})
		d.same("operators", operators, 1)
		key := look(d, func(ctx context.Context, tx *store.Tx) (account.Key, error) { return tx.Key(ctx, anna, "k1") })
		d.same("revoked at", key.RevokedAt, now.UTC())
		d.refuses("another's key", fault.NotFound, func(ctx context.Context, tx *store.Tx) error {
			_, err := tx.Key(ctx, bert, "k1")
			return err
		})
	},
	"a rehearsal": func(d *db) {
		d.furnish()
		ctx := store.Rehearse(d.t.Context())
		revision := func() int64 {
			return look(d, func(ctx context.Context, tx *store.Tx) (int64, error) { return tx.MarketRevision(ctx) })
		}
		before := revision()
		add := func(id string) error {
			return d.Write(ctx, func(tx *store.Tx) error {
				if err := tx.InsertAccount(ctx, account.Account{ID: id, CreatedAt: now}); err != nil {
					return err
				}
				tx.Take([]store.Taking{{Server: server, Amount: inventory.Total}}) // written at the end
				return nil
			})
		}
		for range 2 {
			if err := add("acc_new"); err != nil {
				d.t.Errorf("a rehearsal that would succeed: %v", err)
			}
		}
		if err := add(anna); err == nil {
			d.t.Error("a rehearsal that would fail succeeded")
		}
		err := d.Write(ctx, func(tx *store.Tx) error {
			for range 2 {
				tx.Take([]store.Taking{{Server: server, Amount: inventory.Total}})
			}
			return nil
		})
		if err == nil {
			d.t.Error("a rehearsal of taking what is not there succeeded")
		}
		d.same("accounts", len(look(d, func(ctx context.Context, tx *store.Tx) ([]account.Account, error) { return tx.Accounts(ctx) })), 2)
		d.same("revision of the marketplace", revision(), before)
	},
}

func (d *db) limitsRevision() (revision int64) {
	d.t.Helper()
	d.write(func(_ context.Context, tx *store.Tx) error {
		revision = tx.LimitsRevision()
		return nil
	})
	return revision
}
