package store

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/money"
)

// LimitsRevision returns a number that rises with every change of limits, as it
// was when this transaction began; 0 if it only reads.
func (t *Tx) LimitsRevision() int64 { return t.limits }

// Bounds returns the limits of accounts and API keys, those of operators first.
func (t *Tx) Bounds(ctx context.Context, subjects ...string) ([]account.Bound, error) {
	list, err := rows[struct {
		Subject  string
		SetBy    string
		OfKey    bool
		PerDay   *int64
		PerMonth *int64
		Running  *int64
	}](ctx, t, `SELECT l.subject, l.set_by, k.id IS NOT NULL AS of_key, l.per_day, l.per_month, l.running FROM limits l
		LEFT JOIN api_keys k ON k.id = l.subject WHERE l.subject IN (?) ORDER BY l.set_by DESC, l.subject`, bun.List(subjects))
	out := make([]account.Bound, len(list))
	for i, r := range list {
		out[i] = account.Bound{Subject: r.Subject, OfKey: r.OfKey, SetBy: account.SetBy(r.SetBy), Limits: account.Limits{
			PerDay: (*money.Amount)(r.PerDay), PerMonth: (*money.Amount)(r.PerMonth), Running: (*money.Amount)(r.Running),
		}}
	}
	return out, err
}

// PutBound sets limits of an account or one of its keys in the place of those that
// the same one set before. What the account's VMs cost and were charged is counted
// as limited from now on.
func (t *Tx) PutBound(ctx context.Context, accountID string, b account.Bound, now time.Time) error {
	_, err := t.exec(ctx, `DELETE FROM limits WHERE subject = ? AND set_by = ?`, b.Subject, string(b.SetBy))
	if err == nil && b.Any() {
		_, err = t.exec(ctx, `INSERT INTO limits (subject, set_by, per_day, per_month, running) VALUES (?, ?, ?, ?, ?)`,
			b.Subject, string(b.SetBy), (*int64)(b.PerDay), (*int64)(b.PerMonth), (*int64)(b.Running))
	}
	if err != nil {
		return err
	}
	if _, err := t.exec(ctx, `UPDATE vms SET limited = TRUE WHERE id IN
		(SELECT v.id FROM vms v WHERE v.account_id = ? AND `+present+` AND NOT v.limited AND v.`+live+`)`, accountID); err != nil {
		return err
	}
	if err := t.count(ctx, accountID, now); err != nil {
		return err
	}
	_, err = t.exec(ctx, `UPDATE market SET limits = limits + 1 WHERE id = 1`)
	return err
}

// live is the condition of VMs that have not ended, in the words of the index.
const live = `state IN ('New', 'Launching', 'Active', 'SmallBalance', 'InsufficientFunds')`

// Rent is what VMs of one account and API key that have not ended cost per epoch
// of one length.
type Rent struct {
	KeyID   string
	Epoch   time.Duration
	All     money.Amount
	Waiting money.Amount // of those that are not charged yet, or not again
}

// Rents returns the rent of an account's VMs that have not ended. With limited it is
// that of VMs alone whose account or key has limits, in an index that holds just them.
func (t *Tx) Rents(ctx context.Context, accountID string, limited bool) ([]Rent, error) {
	which := present + ` AND ` + live
	if limited {
		which = `limited AND ` + live
	}
	list, err := rows[struct {
		KeyID        string
		Epoch        int64
		All, Waiting int64
	}](ctx, t, `SELECT key_id, epoch, CAST(SUM(price) AS BIGINT) AS "all",
		CAST(SUM(CASE WHEN state IN ('New', 'Launching') THEN price ELSE 0 END) AS BIGINT) AS waiting FROM vms v
		WHERE account_id = ? AND `+which+`
		GROUP BY key_id, epoch ORDER BY key_id, epoch`, accountID)
	out := make([]Rent, len(list))
	for i, r := range list {
		out[i] = Rent{r.KeyID, time.Duration(r.Epoch) * time.Microsecond, money.Amount(r.All), money.Amount(r.Waiting)}
	}
	return out, err
}

// Charged is what an account or an API key was charged.
type Charged struct{ Day, Month money.Amount }

// Charges returns what an account and its API keys were charged in the calendar
// day and month of UTC that a time is in. With limited it is right of those alone
// that have limits, and quick: all of the month's charges are looked at otherwise.
func (t *Tx) Charges(ctx context.Context, now time.Time, limited bool, accountID string, keyIDs ...string) (map[string]Charged, error) {
	year, month, _ := now.UTC().Date()
	first, next := time.Date(year, month, 1, 0, 0, 0, 0, time.UTC), time.Date(year, month+1, 1, 0, 0, 0, 0, time.UTC)
	query, args := `SELECT subject, CAST(SUM(CASE WHEN day = ? THEN amount ELSE 0 END) AS BIGINT) AS day, CAST(SUM(amount) AS BIGINT) AS month
		FROM spending WHERE subject IN (?) AND day >= ? AND day < ? GROUP BY subject ORDER BY subject`,
		[]any{dayOf(now), bun.List(append([]string{accountID}, keyIDs...)), dayOf(first), dayOf(next)}
	if !limited {
		query, args = `SELECT subject, CAST(SUM(CASE WHEN day = ? THEN amount ELSE 0 END) AS BIGINT) AS day, CAST(SUM(amount) AS BIGINT) AS month
			FROM (`+charges+`) c WHERE subject <> '' GROUP BY subject ORDER BY subject`,
			[]any{dayOf(now), accountID, micros(first), micros(next), accountID, micros(first), micros(next)}
	}
	list, err := rows[struct {
		Subject    string
		Day, Month int64
	}](ctx, t, query, args...)
	out := make(map[string]Charged, len(list))
	for _, r := range list {
		out[r.Subject] = Charged{money.Amount(r.Day), money.Amount(r.Month)}
	}
	return out, err
}

// charges is what an account and its API keys were charged in a time, one by one.
const charges = `SELECT e.customer AS subject, e.at / 86400000000 AS day, e.amount FROM entries e
	WHERE e.customer <> '' AND e.customer = ? AND e.at >= ? AND e.at < ? AND e.kind = 'charge'
	UNION ALL SELECT v.key_id, e.at / 86400000000, e.amount FROM entries e JOIN vms v ON v.id = e.vm_id
	WHERE e.customer <> '' AND e.customer = ? AND e.at >= ? AND e.at < ? AND e.kind = 'charge'`

// dayOf returns the day of UTC that a time is in, counted from 1970.
func dayOf(t time.Time) int64 { return micros(t) / (24 * time.Hour).Microseconds() }

// spent adds what was charged of VMs with limits to the sums of their accounts and
// API keys.
func (s *script) spent(posted []ledger.Sealed) {
	type sum struct {
		subject string
		day     int64
	}
	amounts := map[sum]money.Amount{}
	var order []sum
	for i := range posted {
		e := &posted[i]
		if e.Kind != ledger.Charge || !e.Counted {
			continue
		}
		for _, subject := range []string{e.Customer, e.KeyID} {
			to := sum{subject, dayOf(e.At)}
			if _, there := amounts[to]; !there && subject != "" {
				order = append(order, to)
			}
			amounts[to] += e.Amount
		}
	}
	lines := convert(order, func(to sum) []any { return []any{to.subject, to.day, int64(amounts[to])} })
	s.over(lines, func(table string) string {
		return `INSERT INTO spending (subject, day, amount) SELECT * FROM ` + table + ` WHERE true
			ON CONFLICT (subject, day) DO UPDATE SET amount = spending.amount + excluded.amount`
	})
}

// count adds up anew what an account and its API keys were charged in this month
// and the last one, from now on to be counted as it is charged.
func (t *Tx) count(ctx context.Context, accountID string, now time.Time) error {
	if _, err := t.exec(ctx, `DELETE FROM spending WHERE subject = ? OR subject IN (SELECT id FROM api_keys WHERE account_id = ?)`, accountID, accountID); err != nil {
		return err
	}
	year, month, _ := now.UTC().Date()
	from, to := micros(time.Date(year, month-1, 1, 0, 0, 0, 0, time.UTC)), micros(time.Date(year, month+2, 1, 0, 0, 0, 0, time.UTC))
	_, err := t.exec(ctx, `INSERT INTO spending (subject, day, amount) SELECT subject, day, CAST(SUM(amount) AS BIGINT) FROM (`+charges+`) c
		WHERE subject <> '' GROUP BY subject, day`, accountID, from, to, accountID, from, to)
	return err
}

// MiscountedSpending returns the accounts and API keys with limits of which sums of
// what they were charged are not those of the entries.
func (t *Tx) MiscountedSpending(ctx context.Context) ([]string, error) {
	list, err := rows[struct{ Subject string }](ctx, t, `SELECT DISTINCT s.subject FROM spending s JOIN limits l ON l.subject = s.subject
		LEFT JOIN api_keys k ON k.id = s.subject
		WHERE s.amount <> (SELECT COALESCE(SUM(e.amount), 0) FROM entries e JOIN vms v ON v.id = e.vm_id
			WHERE e.customer <> '' AND e.customer = COALESCE(k.account_id, s.subject) AND e.kind = 'charge' AND e.at >= s.day * 86400000000
				AND e.at < (s.day + 1) * 86400000000 AND (k.id IS NULL OR v.key_id = k.id)) ORDER BY s.subject`)
	return convert(list, func(r struct{ Subject string }) string { return r.Subject }), err
}
