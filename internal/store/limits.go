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
// the same one set before. The account's VMs are found by Rents as limited then.
func (t *Tx) PutBound(ctx context.Context, accountID string, b account.Bound) error {
	_, err := t.exec(ctx, `DELETE FROM limits WHERE subject = ? AND set_by = ?`, b.Subject, string(b.SetBy))
	if err == nil && b.Any() {
		_, err = t.exec(ctx, `INSERT INTO limits (subject, set_by, per_day, per_month, running) VALUES (?, ?, ?, ?, ?)`,
			b.Subject, string(b.SetBy), (*int64)(b.PerDay), (*int64)(b.PerMonth), (*int64)(b.Running))
	}
	if err != nil {
		return err
	}
	if _, err := t.exec(ctx, `UPDATE vms SET limited = TRUE WHERE account_id = ? AND NOT limited AND `+live, accountID); err != nil {
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
// that of VMs alone whose account or key has limits, and quick: all VMs that there
// ever were are looked at otherwise.
func (t *Tx) Rents(ctx context.Context, accountID string, limited bool) ([]Rent, error) {
	which := live
	if limited {
		which = `limited AND ` + live
	}
	list, err := rows[struct {
		KeyID        string
		Epoch        int64
		All, Waiting int64
	}](ctx, t, `SELECT key_id, epoch, CAST(SUM(price) AS BIGINT) AS "all",
		CAST(SUM(CASE WHEN state IN ('New', 'Launching') THEN price ELSE 0 END) AS BIGINT) AS waiting FROM vms
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

// Charges returns what accounts and API keys were charged in the calendar day and
// month of UTC that a time is in.
func (t *Tx) Charges(ctx context.Context, now time.Time, subjects ...string) (map[string]Charged, error) {
	year, month, _ := now.UTC().Date()
	list, err := rows[struct {
		Subject    string
		Day, Month int64
	}](ctx, t, `SELECT subject, CAST(SUM(CASE WHEN day = ? THEN amount ELSE 0 END) AS BIGINT) AS day, CAST(SUM(amount) AS BIGINT) AS month
		FROM spending WHERE subject IN (?) AND day BETWEEN ? AND ? GROUP BY subject ORDER BY subject`,
		dayOf(now), bun.List(subjects), dayOf(time.Date(year, month, 1, 0, 0, 0, 0, time.UTC)), dayOf(time.Date(year, month+1, 0, 0, 0, 0, 0, time.UTC)))
	out := make(map[string]Charged, len(list))
	for _, r := range list {
		out[r.Subject] = Charged{money.Amount(r.Day), money.Amount(r.Month)}
	}
	return out, err
}

// dayOf returns the day of UTC that a time is in, counted from 1970.
func dayOf(t time.Time) int64 { return micros(t) / (24 * time.Hour).Microseconds() }

// spent adds what was charged to the sums of its accounts and API keys.
func (s *script) spent(posted []ledger.Sealed) {
	var lines [][]any
	for _, e := range posted {
		if e.Kind == ledger.Charge {
			lines = append(lines, []any{e.VM, dayOf(e.At), int64(e.Amount)})
		}
	}
	for _, subject := range []string{"account_id", "key_id"} {
		s.over(lines, func(table string) string {
			return `INSERT INTO spending (subject, day, amount) SELECT v.` + subject + `, t.column2, CAST(SUM(t.column3) AS BIGINT) FROM ` + table + `
				JOIN vms v ON v.id = t.column1 WHERE v.` + subject + ` <> '' GROUP BY v.` + subject + `, t.column2
				ON CONFLICT (subject, day) DO UPDATE SET amount = spending.amount + excluded.amount`
		})
	}
}

// MiscountedSpending returns the accounts and API keys of which the sums of what
// they were charged are not those of the entries.
func (t *Tx) MiscountedSpending(ctx context.Context) ([]string, error) {
	list, err := rows[struct{ Subject string }](ctx, t, `SELECT DISTINCT subject FROM (SELECT subject FROM (
		SELECT subject, day, amount FROM spending
		UNION ALL SELECT v.account_id, e.at / 86400000000, -e.amount FROM entries e JOIN vms v ON v.id = e.vm_id WHERE e.kind = 'charge'
		UNION ALL SELECT v.key_id, e.at / 86400000000, -e.amount FROM entries e JOIN vms v ON v.id = e.vm_id WHERE e.kind = 'charge' AND v.key_id <> ''
		) counted GROUP BY subject, day HAVING SUM(amount) <> 0) wrong ORDER BY subject`)
	return convert(list, func(r struct{ Subject string }) string { return r.Subject }), err
}
