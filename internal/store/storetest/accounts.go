package storetest

import (
	"context"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/store"
)

var accounts = map[string]func(*db){
	"accounts": func(d *db) {
		d.furnish()
		a := account.Account{ID: anna, Name: "Anna", CreatedAt: now.UTC()}
		b := account.Account{ID: bert, Name: "Bert", CreatedAt: now.Add(time.Second).UTC()}
		d.same("Account", look(d, func(ctx context.Context, tx *store.Tx) (account.Account, error) { return tx.Account(ctx, anna) }), a)
		d.same("Accounts", look(d, func(ctx context.Context, tx *store.Tx) ([]account.Account, error) { return tx.Accounts(ctx) }), []account.Account{a, b})
		d.refuses("an unknown account", fault.NotFound, func(ctx context.Context, tx *store.Tx) error {
			_, err := tx.Account(ctx, "acc_nobody")
			return err
		})
		d.refuses("an account twice", fault.Internal, func(ctx context.Context, tx *store.Tx) error { return tx.InsertAccount(ctx, a) })
	},
	"API keys": func(d *db) {
		d.furnish()
		good := account.Key{ID: "key_1", AccountID: anna, Name: "first", Hash: "h1", Role: account.Customer, CreatedAt: now.UTC()}
		revoked := account.Key{ID: "key_2", AccountID: anna, Hash: "h2", Role: account.Operator, CreatedAt: now.UTC(), RevokedAt: now.Add(time.Hour).UTC()}
		insert := func(k account.Key) func(context.Context, *store.Tx) error {
			return func(ctx context.Context, tx *store.Tx) error { return tx.InsertKey(ctx, k) }
		}
		d.write(insert(good))
		d.write(insert(revoked))
		for _, want := range []account.Key{good, revoked} {
			d.same(want.ID, look(d, func(ctx context.Context, tx *store.Tx) (account.Key, error) { return tx.KeyByHash(ctx, want.Hash) }), want)
		}
		d.refuses("an unknown hash", fault.NotFound, func(ctx context.Context, tx *store.Tx) error {
			_, err := tx.KeyByHash(ctx, "h")
			return err
		})
		d.refuses("a hash twice", fault.Internal, insert(account.Key{ID: "key_3", AccountID: bert, Hash: "h1", Role: account.Customer, CreatedAt: now}))
		d.refuses("an unknown role", fault.Internal, insert(account.Key{ID: "key_3", AccountID: bert, Hash: "h3", Role: "king", CreatedAt: now}))
		d.refuses("an unknown account", fault.Internal, insert(account.Key{ID: "key_3", AccountID: "acc_no", Hash: "h3", Role: account.Customer, CreatedAt: now}))
	},
	"SSH keys": func(d *db) {
		d.furnish()
		key := account.SSHKey{
			AccountID: anna, Name: "laptop", Fingerprint: "SHA256:b", Algorithm: "ssh-ed25519", Comment: "it's", PublicKey: "line", CreatedAt: now.UTC(),
		}
		insert := func(k account.SSHKey) (added bool) {
			d.write(func(ctx context.Context, tx *store.Tx) (err error) {
				added, err = tx.InsertSSHKey(ctx, k)
				return err
			})
			return added
		}
		d.same("added", insert(key), true)
		again := key
		again.Name = "other"
		d.same("added again", insert(again), false)
		second := key
		second.Fingerprint, second.CreatedAt = "SHA256:a", now.Add(time.Second).UTC()
		d.same("added another", insert(second), true)
		again.AccountID = bert
		d.same("added to another account", insert(again), true)
		keys := func(of string) []account.SSHKey {
			return look(d, func(ctx context.Context, tx *store.Tx) ([]account.SSHKey, error) { return tx.SSHKeys(ctx, of) })
		}
		d.same("keys, oldest first", keys(anna), []account.SSHKey{key, second})
		d.same("keys of nobody", keys("acc_nobody"), []account.SSHKey{})
		for i, want := range []bool{true, false} {
			d.write(func(ctx context.Context, tx *store.Tx) error {
				removed, err := tx.DeleteSSHKey(ctx, anna, "SHA256:b")
				d.same(unique("removed", i), removed, want)
				return err
			})
		}
		d.same("keys that are left", keys(anna), []account.SSHKey{second})
		d.same("keys of the other", keys(bert), []account.SSHKey{again})
	},
	"answers to requests": func(d *db) {
		first := store.Answer{AccountID: anna, Key: "k", Request: "r", Answer: `[{"id":"it's ?"}]`, CreatedAt: now.UTC()}
		keep := func(a store.Answer) func(context.Context, *store.Tx) error {
			return func(ctx context.Context, tx *store.Tx) error {
				return tx.StoreOrders(ctx, store.Orders{Answers: []store.Answer{a}})
			}
		}
		kept := func(accountID, key string) []store.Answer {
			return look(d, func(ctx context.Context, tx *store.Tx) ([]store.Answer, error) {
				return tx.Answers(ctx, []store.Answer{{AccountID: accountID, Key: key}})
			})
		}
		d.write(keep(first))
		second := first
		second.Request, second.Answer = "other", "other"
		d.refuses("an answer under a key that is used", fault.Internal, keep(second))
		d.same("Answers", kept(anna, "k"), []store.Answer{first})
		second.AccountID = bert
		d.write(keep(second))
		d.same("Answers for another account", kept(bert, "k"), []store.Answer{second})
		d.same("Answers under an unknown key", kept(anna, "K"), []store.Answer{})
	},
	"text that is none": func(d *db) {
		d.furnish()
		for _, text := range []string{"a\x00b", "\x00", "a\xff", "';\x00"} {
			d.refuses("to find an account", fault.Invalid, func(ctx context.Context, tx *store.Tx) error {
				_, err := tx.Account(ctx, text)
				return err
			})
			d.refuses("to list keys", fault.Invalid, func(ctx context.Context, tx *store.Tx) error {
				_, err := tx.SSHKeys(ctx, text)
				return err
			})
			d.refuses("to keep it", fault.Invalid, func(ctx context.Context, tx *store.Tx) error {
				return tx.InsertAccount(ctx, account.Account{ID: "acc_1", Name: text, CreatedAt: now})
			})
		}
		// and odd text comes back as it went in
		for i, text := range []string{`'; DROP TABLE accounts; --`, `\'`, "?0 ?", "$1 %s \\x00", "\u202e\u2028\n\t\U0001F600", ""} {
			id := unique("acc", i)
			d.write(func(ctx context.Context, tx *store.Tx) error {
				return tx.InsertAccount(ctx, account.Account{ID: id, Name: text, CreatedAt: now})
			})
			got := look(d, func(ctx context.Context, tx *store.Tx) (account.Account, error) { return tx.Account(ctx, id) })
			d.same("name", got.Name, text)
		}
	},
}
