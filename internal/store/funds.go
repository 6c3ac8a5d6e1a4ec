package store

import (
	"context"
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
	}](ctx, t, `SELECT v.account_id, v.id, v.name, v.state, v.since, v.deadline, v.price, v.epoch, v.next_billing, COALESCE(b.amount, 0) AS reserved
		FROM vms v LEFT JOIN balances b ON b.account = 'vm:' || v.id WHERE v.account_id IN (?)
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
	r, err := row[struct{ Amount int64 }](ctx, t, "", `SELECT CAST(COALESCE(SUM(CASE kind WHEN 'charge' THEN amount ELSE -amount END), 0) AS BIGINT) AS amount
		FROM entries WHERE customer <> '' AND customer = ? AND at >= ?`, accountID, micros(since))
	return money.Amount(r.Amount), err
}
