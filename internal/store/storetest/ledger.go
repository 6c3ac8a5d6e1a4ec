package storetest

import (
	"context"
	"fmt"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/store"
)

func amount(n int64) money.Amount { return money.Amount(n) }

func unique(what string, i int) string { return fmt.Sprint(what, " ", i) }

func (d *db) balance(a ledger.Account) money.Amount {
	d.t.Helper()
	return look(d, func(ctx context.Context, tx *store.Tx) (money.Amount, error) { return tx.Balance(ctx, a) })
}

// post writes an entry and returns whether it was new.
func (d *db) post(e ledger.Entry) (posted bool) {
	d.t.Helper()
	d.write(func(ctx context.Context, tx *store.Tx) (err error) {
		posted, err = tx.Post(ctx, e)
		return err
	})
	return posted
}

var ledgers = map[string]func(*db){
	"an entry moves its amount once": func(d *db) {
		e := ledger.Credit(now, anna, 100, "it's a \\ 'gift' ?", "1")
		e.Actor = "acc_olga/key_'1'"
		for i, want := range []bool{true, false, false} {
			d.same(unique("posted", i), d.post(e), want)
		}
		other := e
		other.Amount = 999 // the key decides, so that a retry with other numbers moves nothing
		d.same("posted under the same key", d.post(other), false)
		d.same("balance", d.balance(ledger.Customer(anna)), amount(100))
		d.same("outside", d.balance(ledger.External), amount(-100))
		e.At = now.UTC()
		entries := look(d, func(ctx context.Context, tx *store.Tx) ([]ledger.Entry, error) {
			return tx.Entries(ctx, ledger.Customer(anna))
		})
		d.same("entries", entries, []ledger.Entry{e})
		d.same("the entry with its key", look(d, func(ctx context.Context, tx *store.Tx) (ledger.Entry, error) { return tx.Entry(ctx, e.Key) }), e)
		d.refuses("another key", fault.NotFound, func(ctx context.Context, tx *store.Tx) error {
			_, err := tx.Entry(ctx, "deposit:2")
			return err
		})
	},
	"a key that is there ends what relies on it": func(d *db) {
		e := ledger.Credit(now, anna, 100, "", "1")
		d.post(e)
		if err := d.try(func(ctx context.Context, tx *store.Tx) error {
			return tx.PostAll(ctx, []ledger.Entry{ledger.Credit(now, anna, 7, "", "2"), e})
		}); err == nil {
			d.t.Error("PostAll wrote an entry under a key that is there")
		}
		d.same("balance", d.balance(ledger.Customer(anna)), amount(100))
	},
	"one of many at once": func(d *db) {
		posted := make([]bool, 20)
		for _, err := range together(len(posted), func(i int) error {
			return d.try(func(ctx context.Context, tx *store.Tx) (err error) {
				posted[i], err = tx.Post(ctx, ledger.Credit(now, anna, 100, "", "1"))
				return err
			})
		}) {
			if err != nil {
				d.t.Errorf("Post: %v", err)
			}
		}
		count := 0
		for _, p := range posted {
			if p {
				count++
			}
		}
		d.same("how many were posted", count, 1)
		d.same("balance", d.balance(ledger.Customer(anna)), amount(100))
	},
	"no more than is there": func(d *db) {
		d.post(ledger.Credit(now, anna, 100, "", "1"))
		hold, err := ledger.Reservation(now, anna, "0x1", 51)
		if err != nil {
			d.t.Fatal(err)
		}
		d.refuses("hold of 102", fault.Unaffordable, func(ctx context.Context, tx *store.Tx) error {
			_, err := tx.Post(ctx, hold)
			return err
		})
		d.refuses("withdrawal from an account never used", fault.Unaffordable, func(ctx context.Context, tx *store.Tx) error {
			_, err := tx.Post(ctx, ledger.Debit(now, bert, 1, "", "1"))
			return err
		})
		d.same("balance", d.balance(ledger.Customer(anna)), amount(100))
		d.same("reserve", d.balance(ledger.Reserve("0x1")), amount(0))
		hold.Amount = 100
		d.same("posted after its refusal", d.post(hold), true)
		d.same("balance", d.balance(ledger.Customer(anna)), amount(0))
	},
	"a balance can't be spent twice at once": func(d *db) {
		d.post(ledger.Credit(now, anna, 35, "", "1"))
		spent := 0
		for _, err := range together(20, func(i int) error {
			return d.try(func(ctx context.Context, tx *store.Tx) error {
				_, err := tx.Post(ctx, ledger.Debit(now, anna, 10, "", unique("", i)))
				return err
			})
		}) {
			switch {
			case err == nil:
				spent++
			case !fault.Is(err, fault.Unaffordable):
				d.t.Errorf("Post: %v", err)
			}
		}
		d.same("how many were paid", spent, 3)
		d.same("balance", d.balance(ledger.Customer(anna)), amount(5))
	},
	"nothing nonsensical": func(d *db) {
		good := ledger.Credit(now, anna, 100, "", "1")
		for name, spoil := range map[string]func(*ledger.Entry){
			"no amount":       func(e *ledger.Entry) { e.Amount = 0 },
			"negative amount": func(e *ledger.Entry) { e.Amount = -1 },
			"to itself":       func(e *ledger.Entry) { e.To = e.From },
		} {
			e := good
			spoil(&e)
			d.refuses(name, fault.Internal, func(ctx context.Context, tx *store.Tx) error {
				_, err := tx.Post(ctx, e)
				return err
			})
		}
	},
	"entries are in their order": func(d *db) {
		want := []ledger.Entry{}
		for i := range 5 {
			e := ledger.Credit(now.Add(-1), anna, amount(int64(5-i)), "", unique("", 9-i)) // neither key, time nor amount order them
			e.At = e.At.UTC().Truncate(1000)
			d.post(e)
			d.post(ledger.Credit(now, bert, 1, "", unique("bert", i)))
			want = append(want, e)
		}
		get := func(a ledger.Account) []ledger.Entry {
			return look(d, func(ctx context.Context, tx *store.Tx) ([]ledger.Entry, error) { return tx.Entries(ctx, a) })
		}
		d.same("entries", get(ledger.Customer(anna)), want)
		d.same("how many there are outside", len(get(ledger.External)), 10)
		d.same("entries of an account never used", get(ledger.Platform), []ledger.Entry{})
	},
	"what came from outside and left": func(d *db) {
		in, out := ledger.Credit(now.UTC(), anna, 100, "in", "1"), ledger.Debit(now.UTC(), anna, 10, "out", "1")
		out.Actor = "acc_olga/key_1"
		d.post(in)
		hold, err := ledger.Reservation(now, anna, "0x1", 5)
		d.post(hold)
		d.post(out)
		d.post(ledger.Release(now, anna, "0x1", 10, "", 1))
		d.post(ledger.Credit(now, bert, 1, "", "2"))
		if err != nil {
			d.t.Fatal(err)
		}
		transfers := func(limit int) []ledger.Entry {
			return look(d, func(ctx context.Context, tx *store.Tx) ([]ledger.Entry, error) {
				return tx.Transfers(ctx, anna, limit)
			})
		}
		d.same("all, newest first", transfers(9), []ledger.Entry{out, in})
		d.same("the newest", transfers(1), []ledger.Entry{out})
	},
	"what is written can be audited": func(d *db) {
		d.post(ledger.Credit(now, anna, most, "", "1"))
		d.post(ledger.Debit(now, anna, 10, "", "1"))
		hold, err := ledger.Reservation(now, anna, "0x1", 50)
		d.post(hold)
		d.post(ledger.Rent(now, anna, "0x1", prov, 50, 1))
		d.post(ledger.Release(now, anna, "0x1", 50, "", 2))
		if err != nil {
			d.t.Fatal(err)
		}
		d.books(5) // entries
	},
	"more money than can be counted": func(d *db) {
		d.post(ledger.Credit(now, anna, most, "", "1"))
		for name, to := range map[string]string{"to one account": anna, "out of the world": bert} {
			err := d.try(func(ctx context.Context, tx *store.Tx) error {
				_, err := tx.Post(ctx, ledger.Credit(now, to, most, "", "2"))
				return err
			})
			if err == nil {
				d.t.Errorf("%s went more than can be counted", name)
			}
		}
		d.same("balance", d.balance(ledger.Customer(anna)), most)
		d.books(1)
	},
}

// most is what an account can hold.
const most = ledger.Most

// books reports an error unless the ledger has so many entries, and all is well
// with them.
func (d *db) books(entries int64) {
	d.t.Helper()
	b := look(d, func(ctx context.Context, tx *store.Tx) (*ledger.Books, error) { return tx.Books(ctx) })
	if b.Entries != entries || len(b.Findings) > 0 {
		d.t.Errorf("Books: %d entries, want %d; findings: %+v", b.Entries, entries, b.Findings)
	}
}
