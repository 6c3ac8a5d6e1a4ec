package store

import (
	"context"
	"strconv"
	"time"

	"github.com/uptrace/bun"

	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// Costing is a VM that costs money, or will when it runs again.
type Costing struct {
	AccountID string
	Name      string
	State     vm.State
	Since     time.Time // of State
	Deadline  time.Time
	ledger.Line
}

// CostingVMs returns the VMs of accounts that have not ended, by account and id.
func (t *Tx) CostingVMs(ctx context.Context, accountIDs ...string) ([]Costing, error) {
	list, err := rows[struct {
		AccountID   string
		ID          string
		Name        string
		State       string
		Since       int64
		Deadline    int64
		Price       int64
		Epoch       int64
		NextBilling int64
		Reserved    int64
	}](ctx, t, `SELECT v.account_id, v.id, v.name, v.state, v.since, v.deadline, v.price, v.epoch, v.next_billing,
		COALESCE((SELECT b.amount FROM balances b WHERE b.account = 'vm:' || v.id), 0) AS reserved FROM vms v WHERE v.account_id IN (?) AND `+present+`
		AND v.state IN ('New', 'Launching', 'Active', 'SmallBalance', 'InsufficientFunds') ORDER BY v.account_id, v.id`, bun.List(accountIDs))
	out := make([]Costing, len(list))
	for i, r := range list {
		out[i] = Costing{
			AccountID: r.AccountID, Name: r.Name, State: vm.State(r.State), Since: at(r.Since), Deadline: at(r.Deadline),
			Line: ledger.Line{
				VM: r.ID, Price: money.Amount(r.Price), Epoch: time.Duration(r.Epoch) * time.Microsecond, Next: at(r.NextBilling),
				Reserve: money.Amount(r.Reserved),
			},
		}
	}
	return out, err
}

// Paid returns what an account's VMs were charged since a time, less what was
// returned.
func (t *Tx) Paid(ctx context.Context, accountID string, since time.Time) (money.Amount, error) {
	r, err := row[struct{ Amount int64 }](ctx, t, "", `SELECT CAST(COALESCE(SUM(CASE kind WHEN 'charge' THEN amount WHEN 'return' THEN -amount ELSE 0 END), 0) AS BIGINT) AS amount
		FROM entries WHERE customer <> '' AND customer = ? AND at >= ?`, accountID, micros(since))
	return money.Amount(r.Amount), err
}

// Funds is what is kept of how long the funds of an account last.
type Funds struct {
	AccountID string
	LookAt    time.Time // when to look at it again, if nothing changes before; zero for never
	Level     int64     // of how many days of funds it was warned, 0 of none
}

// fundsEntry is the setting that holds the id of the newest entry after which
// funds were looked at.
const fundsEntry = "funds_entry"

// FundsEntry returns the id of the newest entry after which funds were looked at.
func (t *Tx) FundsEntry(ctx context.Context) (int64, error) {
	text, err := t.Setting(ctx, fundsEntry)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(text, 10, 64)
}

// PutFundsEntry keeps it.
func (t *Tx) PutFundsEntry(ctx context.Context, id int64) error {
	return t.PutSetting(ctx, fundsEntry, strconv.FormatInt(id, 10))
}

// Touched returns the accounts whose money the next entries behind one moved, up
// to limit entries, and the id of the last of these: that of the one before when
// there are none.
func (t *Tx) Touched(ctx context.Context, after int64, limit int) (accountIDs []string, last int64, err error) {
	list, err := rows[struct {
		Account string
		Last    int64
	}](ctx, t, `SELECT account, MAX(id) AS last FROM (SELECT id, customer AS account
		FROM entries WHERE id > ? ORDER BY id LIMIT ?) x GROUP BY account ORDER BY account`, after, limit)
	last = after
	for _, r := range list {
		last = max(last, r.Last)
		if r.Account != "" {
			accountIDs = append(accountIDs, r.Account)
		}
	}
	return accountIDs, last, err
}

// DueFunds returns up to limit accounts whose funds are to be looked at again,
// the one that is due longest first.
func (t *Tx) DueFunds(ctx context.Context, now time.Time, limit int) ([]string, error) {
	list, err := rows[struct{ AccountID string }](ctx, t,
		`SELECT account_id FROM account_funds WHERE look_at > 0 AND look_at <= ? ORDER BY look_at, account_id LIMIT ?`, micros(now), limit)
	return convert(list, func(r struct{ AccountID string }) string { return r.AccountID }), err
}

// Funds returns what is kept of accounts, by account; nothing of those of which
// nothing is.
func (t *Tx) Funds(ctx context.Context, accountIDs []string) (map[string]Funds, error) {
	list, err := rows[struct {
		AccountID string
		LookAt    int64
		Level     int64
	}](ctx, t, `SELECT account_id, look_at, level FROM account_funds WHERE account_id IN (?) ORDER BY account_id`, bun.List(accountIDs))
	kept := make(map[string]Funds, len(list))
	for _, r := range list {
		kept[r.AccountID] = Funds{r.AccountID, at(r.LookAt), r.Level}
	}
	return kept, err
}

// PutFunds keeps them.
func (t *Tx) PutFunds(list []Funds) {
	lines := make([][]any, len(list))
	for i, f := range list {
		lines[i] = []any{f.AccountID, micros(f.LookAt), f.Level}
	}
	s := &script{}
	s.over(lines, func(table string) string {
		return `INSERT INTO account_funds (account_id, look_at, level) SELECT * FROM ` + table + ` WHERE true
			ON CONFLICT (account_id) DO UPDATE SET look_at = excluded.look_at, level = excluded.level`
	})
	t.later(s)
}
