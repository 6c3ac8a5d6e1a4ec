package store

import (
	"context"
	"time"
)

// Census counts what there is.
type Census struct {
	Accounts    int64
	VMs         map[string]int64 // by state; those that were deleted and are gone are left out
	Servers     map[string]int64 // by state, "silent" for those that are not heard; removed ones are left out
	Withdrawals int64            // that wait for an operator
	DueSince    time.Time        // when the VM fell due that waits longest to be billed; zero when none waits
}

// Census counts what there is. A VM that is short of money waits to be billed
// when it was due before a time.
func (t *Tx) Census(ctx context.Context, short time.Time) (c Census, err error) {
	count := func(query string) (map[string]int64, error) {
		list, err := rows[struct {
			State string
			N     int64
		}](ctx, t, query)
		out := make(map[string]int64, len(list))
		for _, r := range list {
			out[r.State] = r.N
		}
		return out, err
	}
	if c.VMs, err = count(`SELECT state, COUNT(*) AS n FROM vms WHERE NOT (state = 'Stopped' AND gone) GROUP BY state ORDER BY state`); err != nil {
		return c, err
	}
	if c.Servers, err = count(`SELECT CASE WHEN silent_since > 0 THEN 'silent' ELSE state END AS state, COUNT(*) AS n FROM servers
		WHERE state <> 'removed' GROUP BY 1 ORDER BY 1`); err != nil {
		return c, err
	}
	accounts, err := row[struct{ N int64 }](ctx, t, "", `SELECT COUNT(*) AS n FROM accounts`)
	if err != nil {
		return c, err
	}
	c.Accounts = accounts.N
	waiting, err := row[struct{ N int64 }](ctx, t, "", `SELECT COUNT(*) AS n FROM withdrawals WHERE state = 'requested'`)
	if err != nil {
		return c, err
	}
	c.Withdrawals = waiting.N
	due, err := row[struct{ At int64 }](ctx, t, "", `SELECT COALESCE(MIN(next_billing), 0) AS at FROM vms
		WHERE next_billing > 0 AND (state <> 'SmallBalance' OR next_billing <= ?)`, micros(short))
	c.DueSince = at(due.At)
	return c, err
}
