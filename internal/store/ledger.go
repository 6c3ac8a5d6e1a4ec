package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/uptrace/bun"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/money"
)

// Sheet returns the sheet of a transaction that writes, which knows how accounts
// stand. What is posted on it is written with the transaction.
func (t *Tx) Sheet(ctx context.Context, accounts ...ledger.Account) (*ledger.Sheet, error) {
	var unknown []string
	for _, a := range accounts {
		if _, known := t.sheet.Standing(a); !known {
			unknown = append(unknown, string(a))
		}
	}
	if len(unknown) == 0 {
		return &t.sheet, nil
	}
	if err := checkText(convert(unknown, func(name string) any { return name })); err != nil {
		return nil, err
	}
	found, err := t.writing.standings(ctx, unknown) // which nothing is to be written of that it could overtake
	if err != nil {
		return nil, fmt.Errorf("read balances: %w", err)
	}
	for _, name := range unknown {
		t.sheet.Know(ledger.Account(name), found[ledger.Account(name)])
	}
	return &t.sheet, nil
}

// Post writes an entry and moves its amount. An entry whose key is written
// already changes nothing, and posted is false. Returns an Unaffordable fault
// when the account it comes from holds less than the amount.
func (t *Tx) Post(ctx context.Context, e ledger.Entry) (posted bool, err error) {
	there, err := rows[struct{ ID int64 }](ctx, t, `SELECT id FROM entries WHERE key = ? ORDER BY id`, e.Key)
	if err != nil || len(there) > 0 {
		return false, err
	}
	err = t.PostAll(ctx, []ledger.Entry{e})
	return err == nil, err
}

// PostAll writes entries whose keys are new; the transaction ends with an error
// when one is not. Returns an Unaffordable fault when an account holds too little.
func (t *Tx) PostAll(ctx context.Context, entries []ledger.Entry) error {
	accounts := make([]ledger.Account, 0, 2*len(entries))
	for _, e := range entries {
		accounts = append(accounts, e.From, e.To)
	}
	sheet, err := t.Sheet(ctx, accounts...)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := sheet.Post(e); err != nil {
			return err
		}
	}
	return nil
}

// noteSheet has what was taken from the sheet written.
func (t *Tx) noteSheet(posted []ledger.Sealed, touched []ledger.Account) {
	entries, standings := make([][]any, len(posted)), make([][]any, len(touched))
	for i, e := range posted {
		entries[i] = []any{
			e.Key, micros(e.At), string(e.Kind), string(e.From), string(e.To), int64(e.Amount), e.VM, e.Epoch, e.Reason, e.Actor, string(e.Hash), e.Owner(),
		}
	}
	for i, a := range touched {
		standing, _ := t.sheet.Standing(a)
		standings[i] = []any{string(a), int64(standing.Amount), string(standing.Head)}
	}
	s := &t.pending
	s.insert(`INSERT INTO entries (key, at, kind, from_account, to_account, amount, vm_id, epoch, reason, actor, hash, customer)`, entries)
	s.spent(posted)
	s.over(standings, func(table string) string {
		return `INSERT INTO balances (account, amount, head) SELECT * FROM ` + table + ` WHERE true
			ON CONFLICT (account) DO UPDATE SET amount = excluded.amount, head = excluded.head`
	})
}

// Balance returns what an account holds; one that never held anything holds 0.
func (t *Tx) Balance(ctx context.Context, a ledger.Account) (money.Amount, error) {
	r, err := row[struct{ Amount int64 }](ctx, t, "never used", `SELECT amount FROM balances WHERE account = ?`, string(a))
	if fault.Is(err, fault.NotFound) {
		return 0, nil
	}
	return money.Amount(r.Amount), err
}

// Balances returns what accounts hold.
func (t *Tx) Balances(ctx context.Context, accounts []ledger.Account) (map[ledger.Account]money.Amount, error) {
	names := convert(accounts, func(a ledger.Account) string { return string(a) })
	list, err := rows[struct {
		Account string
		Amount  int64
	}](ctx, t, `SELECT account, amount FROM balances WHERE account IN (?) ORDER BY account`, bun.List(names))
	held := make(map[ledger.Account]money.Amount, len(list))
	for _, r := range list {
		held[ledger.Account(r.Account)] = money.Amount(r.Amount)
	}
	return held, err
}

type entryRow struct {
	Key         string
	At          int64
	Kind        string
	FromAccount string
	ToAccount   string
	Amount      int64
	VMID        string `bun:"vm_id"`
	Epoch       int64
	Reason      string
	Actor       string
}

func (r entryRow) entry() ledger.Entry {
	return ledger.Entry{
		Key: r.Key, At: at(r.At), Kind: ledger.Kind(r.Kind), From: ledger.Account(r.FromAccount), To: ledger.Account(r.ToAccount),
		Amount: money.Amount(r.Amount), VM: r.VMID, Epoch: r.Epoch, Reason: r.Reason, Actor: r.Actor,
	}
}

// Entry returns the entry with a key, or a NotFound fault.
func (t *Tx) Entry(ctx context.Context, key string) (ledger.Entry, error) {
	r, err := row[entryRow](ctx, t, "no such entry", `SELECT key, at, kind, from_account, to_account, amount, vm_id, epoch, reason, actor
		FROM entries WHERE key = ?`, key)
	return r.entry(), err
}

// Entries returns the entries from and to an account, oldest first. It goes through
// all that there are.
func (t *Tx) Entries(ctx context.Context, a ledger.Account) ([]ledger.Entry, error) {
	return t.entries(ctx, `WHERE from_account = ? OR to_account = ? ORDER BY id`, string(a), string(a))
}

// VMEntries returns the entries from and to the reserve of a VM, oldest first. They
// are found by their keys.
func (t *Tx) VMEntries(ctx context.Context, vmID string) ([]ledger.Entry, error) {
	ranges, args := keysOf(vmID)
	return t.entries(ctx, `WHERE (`+ranges+`) AND vm_id = ? ORDER BY id`, append(args, vmID)...)
}

// keysOf returns the condition of the keys that entries of a VM have, which those
// of one whose id begins with its own have, too.
func keysOf(vmID string) (condition string, args []any) {
	kinds := []ledger.Kind{ledger.Hold, ledger.Charge, ledger.TopUp, ledger.Refund, ledger.Return}
	ranges := make([]string, len(kinds))
	for i, kind := range kinds {
		begin := string(kind) + ":" + vmID
		ranges[i], args = `key >= ? AND key < ?`, append(args, begin, begin+";") // what follows an id is less than that
	}
	return strings.Join(ranges, " OR "), args
}

func (t *Tx) entries(ctx context.Context, where string, args ...any) ([]ledger.Entry, error) {
	list, err := rows[struct {
		ID int64
		entryRow
	}](ctx, t, `SELECT id, key, at, kind, from_account, to_account, amount, vm_id, epoch, reason, actor FROM entries `+where, args...)
	out := make([]ledger.Entry, len(list))
	for i, r := range list {
		out[i] = r.entry()
	}
	return out, err
}

// Transfers returns the newest entries between an account and the world outside,
// newest first, at most limit.
func (t *Tx) Transfers(ctx context.Context, accountID string, limit int) ([]ledger.Entry, error) {
	own, outside := string(ledger.Customer(accountID)), string(ledger.External)
	return t.entries(ctx, `WHERE customer <> '' AND customer = ? AND (to_account = ? AND from_account = ? OR from_account = ? AND to_account = ?) ORDER BY at DESC, id DESC LIMIT ?`,
		accountID, own, outside, own, outside, limit)
}

// Books goes through all entries again and compares what follows from them with
// the stored balances. What can't be is among its findings.
func (t *Tx) Books(ctx context.Context) (*ledger.Books, error) {
	b := &ledger.Books{}
	parts, done := make(chan part, 4), make(chan struct{})
	go func() { // while others are read
		defer close(done)
		for p := range parts {
			for _, e := range p.entries() {
				b.Read(&e.Sealed)
			}
		}
	}()
	err := t.eachPart(ctx, func(p part) { parts <- p })
	close(parts)
	<-done
	if err != nil {
		return nil, err
	}
	var r [3]any
	err = t.scan(ctx, `SELECT account, amount, head FROM balances ORDER BY account`, func(list *sql.Rows) error {
		err := scanAll(list, r[:])
		b.Compare(ledger.Account(text(r[0])), ledger.Standing{Amount: money.Amount(number(r[1])), Head: ledger.Hash(text(r[2]))})
		return err
	})
	b.Close()
	return b, err
}

// scan calls fn for each row of a query, of which there may be many.
func (t *Tx) scan(ctx context.Context, query string, fn func(list *sql.Rows) error, args ...any) error {
	if err := checkText(args); err != nil {
		return err
	}
	if err := t.flush(ctx); err != nil {
		return err
	}
	list, err := t.db.QueryContext(ctx, query, args...)
	if err != nil {
		return fmt.Errorf("%s: %w", opening(query), err)
	}
	defer list.Close() //nolint:errcheck // its error is that of Err
	for list.Next() {
		if err := fn(list); err != nil {
			return fmt.Errorf("%s: %w", opening(query), err)
		}
	}
	return list.Err()
}

// scanAll reads a row as the driver has it: numbers as int64, texts as string.
func scanAll(list *sql.Rows, row []any) error {
	var to [32]any
	for i := range row {
		to[i] = &row[i]
	}
	return list.Scan(to[:len(row)]...)
}

// text and number return a value of a row.
func text(value any) string {
	s, _ := value.(string)
	return s
}

func number(value any) int64 {
	n, _ := value.(int64)
	return n
}

// seal gives seals to entries from before there were any, once and for good.
func (t *Tx) seal(ctx context.Context) error {
	list, err := rows[struct {
		ID int64
		entryRow
	}](ctx, t, `SELECT id, key, at, kind, from_account, to_account, amount, vm_id, epoch, reason, actor FROM entries WHERE hash = '' ORDER BY id`)
	if err != nil || len(list) == 0 {
		return err
	}
	heads := map[ledger.Account]ledger.Hash{}
	for _, r := range list {
		sealed := ledger.Seal(r.entry(), heads[ledger.Account(r.FromAccount)], heads[ledger.Account(r.ToAccount)])
		heads[sealed.From], heads[sealed.To] = sealed.Hash, sealed.Hash
		if _, err := t.exec(ctx, `UPDATE entries SET hash = ? WHERE id = ?`, string(sealed.Hash), r.ID); err != nil {
			return err
		}
	}
	for account, head := range heads {
		if _, err := t.exec(ctx, `UPDATE balances SET head = ? WHERE account = ?`, string(head), string(account)); err != nil {
			return err
		}
	}
	return nil
}
