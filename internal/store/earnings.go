package store

import (
	"context"
	"fmt"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/money"
)

// EarningsBy says what earnings are summed up by.
type EarningsBy string

// What earnings may be summed up by.
const (
	EarningsByVM     EarningsBy = "vm"
	EarningsByServer EarningsBy = "server"
	EarningsByDay    EarningsBy = "day" // in UTC
)

// Earning is what one VM, the VMs of one server, or one day brought in.
type Earning struct {
	Key        string // id of the VM or server; a date
	ServerName string // of the server, "" for none
	Charged    money.Amount
	Returned   money.Amount // for what was not delivered
	Epochs     int64        // how many were charged
}

// dayMicros is a day in what times are stored in.
const dayMicros = 24 * 60 * 60 * 1_000_000

// earningsKeys are the columns of each kind of sum. A day is a whole number: a
// division of whole numbers drops its rest on both engines.
var earningsKeys = map[EarningsBy]string{
	EarningsByVM:     `e.vm_id AS key, '' AS server_name, 0 AS day`,
	EarningsByServer: `v.server_id AS key, s.name AS server_name, 0 AS day`,
	EarningsByDay:    `'' AS key, '' AS server_name, e.at / 86400000000 AS day`,
}

type earningRow struct {
	Key        string
	ServerName string
	Day        int64
	Charged    int64
	Returned   int64
	Epochs     int64
}

func (r earningRow) earning() Earning {
	e := Earning{Key: r.Key, ServerName: r.ServerName, Charged: money.Amount(r.Charged), Returned: money.Amount(r.Returned), Epochs: r.Epochs}
	if r.Day != 0 {
		e.Key = at(r.Day * dayMicros).Format(time.DateOnly)
	}
	return e
}

// Earnings sums up what a provider's VMs were charged since a time and what of
// it was returned; the rows are those with the newest entries, newest first, at
// most limit.
func (t *Tx) Earnings(ctx context.Context, providerID string, by EarningsBy, since time.Time, limit int) ([]Earning, error) {
	keys, known := earningsKeys[by]
	if !known {
		return nil, fault.Newf(fault.Invalid, "earnings are summed up by vm, server or day, not %.40q", string(by))
	}
	pending := string(ledger.Pending(providerID))
	list, err := rows[earningRow](ctx, t, `SELECT key, server_name, day,
		CAST(SUM(CASE WHEN kind = 'charge' THEN amount ELSE 0 END) AS BIGINT) AS charged,
		CAST(SUM(CASE WHEN kind = 'return' THEN amount ELSE 0 END) AS BIGINT) AS returned,
		CAST(SUM(CASE WHEN kind = 'charge' THEN 1 ELSE 0 END) AS BIGINT) AS epochs
		FROM (SELECT `+keys+`, e.kind, e.amount, e.at FROM (
			SELECT vm_id, kind, amount, at FROM entries WHERE to_account = ? AND kind = 'charge'
			UNION ALL SELECT vm_id, kind, amount, at FROM entries WHERE from_account = ? AND kind = 'return') e
			JOIN vms v ON v.id = e.vm_id JOIN servers s ON s.id = v.server_id WHERE e.at >= ?) x
		GROUP BY key, server_name, day ORDER BY MAX(at) DESC, key LIMIT ?`, pending, pending, micros(since), limit)
	return convert(list, earningRow.earning), err
}

// Returned returns what a VM's provider gave back of what it charged for an epoch.
func (t *Tx) Returned(ctx context.Context, vmID string, epoch int64) (money.Amount, error) {
	r, err := row[struct{ Amount int64 }](ctx, t, "", `SELECT CAST(COALESCE(SUM(amount), 0) AS BIGINT) AS amount
		FROM entries WHERE key = ?`, fmt.Sprintf("return:%s:%d", vmID, epoch))
	return money.Amount(r.Amount), err
}
