package store

import (
	"context"
	"errors"

	"github.com/uptrace/bun"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/money"
)

// Post writes an entry and moves its amount. An entry whose key is written
// already changes nothing, and posted is false. Returns an Unaffordable fault
// when the account it comes from holds less than the amount.
func (t *Tx) Post(ctx context.Context, e ledger.Entry) (posted bool, err error) {
	if err := e.Check(); err != nil {
		return false, err
	}
	n, err := t.exec(ctx, `INSERT INTO entries (key, at, kind, from_account, to_account, amount, vm_id, epoch, reason)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO NOTHING`,
		e.Key, micros(e.At), string(e.Kind), string(e.From), string(e.To), int64(e.Amount), e.VM, e.Epoch, e.Reason)
	if err != nil || n == 0 {
		return false, err
	}
	if err := t.take(ctx, e.From, e.Amount); err != nil {
		return false, err
	}
	return true, t.add(ctx, e.To, e.Amount)
}

func (t *Tx) take(ctx context.Context, a ledger.Account, amount money.Amount) error {
	if a.MayOwe() {
		return t.add(ctx, a, -amount)
	}
	n, err := t.exec(ctx, `UPDATE balances SET amount = amount - ? WHERE account = ? AND amount >= ?`, int64(amount), string(a), int64(amount))
	if err == nil && n == 0 {
		return fault.Newf(fault.Unaffordable, "the balance is smaller than %s USDC", amount)
	}
	return err
}

func (t *Tx) add(ctx context.Context, a ledger.Account, amount money.Amount) error {
	_, err := t.exec(ctx, `INSERT INTO balances (account, amount) VALUES (?, ?)
		ON CONFLICT (account) DO UPDATE SET amount = balances.amount + excluded.amount`, string(a), int64(amount))
	return err
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
}

func (r entryRow) entry() ledger.Entry {
	return ledger.Entry{
		Key: r.Key, At: at(r.At), Kind: ledger.Kind(r.Kind), From: ledger.Account(r.FromAccount), To: ledger.Account(r.ToAccount),
		Amount: money.Amount(r.Amount), VM: r.VMID, Epoch: r.Epoch, Reason: r.Reason,
	}
}

// Entries returns the entries from and to an account, oldest first.
func (t *Tx) Entries(ctx context.Context, a ledger.Account) ([]ledger.Entry, error) {
	list, err := rows[entryRow](ctx, t, `SELECT key, at, kind, from_account, to_account, amount, vm_id, epoch, reason FROM entries
		WHERE from_account = ? OR to_account = ? ORDER BY id`, string(a), string(a))
	return convert(list, entryRow.entry), err
}

// errUnbalanced is what Audit finds.
var errUnbalanced = errors.New("the ledger does not balance")

// Audit compares every stored balance with the sum of its entries, and returns
// how many accounts there are. A difference is an error that names the account.
func (t *Tx) Audit(ctx context.Context) (accounts int, err error) {
	list, err := rows[struct {
		Account string
		Stored  int64
		Summed  int64
	}](ctx, t, `SELECT a.account AS account, COALESCE((SELECT amount FROM balances WHERE account = a.account), 0) AS stored,
		CAST(COALESCE((SELECT SUM(amount) FROM entries WHERE to_account = a.account), 0)
		   - COALESCE((SELECT SUM(amount) FROM entries WHERE from_account = a.account), 0) AS BIGINT) AS summed
		FROM (SELECT account FROM balances UNION SELECT to_account FROM entries UNION SELECT from_account FROM entries) a
		ORDER BY a.account`)
	if err != nil {
		return 0, err
	}
	total := money.Amount(0)
	for _, a := range list {
		total += money.Amount(a.Stored)
		if a.Stored != a.Summed {
			return len(list), fault.Newf(fault.Internal, "account %s: stored %s, entries say %s: %v",
				a.Account, money.Amount(a.Stored), money.Amount(a.Summed), errUnbalanced)
		}
	}
	if total != 0 {
		return len(list), fault.Newf(fault.Internal, "all balances add up to %s: %v", total, errUnbalanced)
	}
	return len(list), nil
}
