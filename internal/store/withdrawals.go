package store

import (
	"context"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/payment"
)

const withdrawalColumns = `id, provider_id, amount, destination, note, request_key, state, requested_at, requested_by, decided_at, decided_by, answer`

type withdrawalRow struct {
	ID          string
	ProviderID  string
	Amount      int64
	Destination string
	Note        string
	RequestKey  string
	State       string
	RequestedAt int64
	RequestedBy string
	DecidedAt   int64
	DecidedBy   string
	Answer      string
}

func (r withdrawalRow) withdrawal() payment.Withdrawal {
	return payment.Withdrawal{
		ID: r.ID, ProviderID: r.ProviderID, Amount: money.Amount(r.Amount), To: r.Destination, Note: r.Note, RequestKey: r.RequestKey,
		State: payment.State(r.State), RequestedAt: at(r.RequestedAt), RequestedBy: r.RequestedBy,
		Decision: payment.Decision{DecidedAt: at(r.DecidedAt), DecidedBy: r.DecidedBy, Answer: r.Answer},
	}
}

// InsertWithdrawal adds a withdrawal.
func (t *Tx) InsertWithdrawal(ctx context.Context, w payment.Withdrawal) error {
	_, err := t.exec(ctx, `INSERT INTO withdrawals (`+withdrawalColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		w.ID, w.ProviderID, int64(w.Amount), w.To, w.Note, w.RequestKey, string(w.State), micros(w.RequestedAt), w.RequestedBy,
		micros(w.DecidedAt), w.DecidedBy, w.Answer)
	return err
}

// DecideWithdrawal stores the decision of one that is requested. Returns a
// Conflict fault for one that is not.
func (t *Tx) DecideWithdrawal(ctx context.Context, w payment.Withdrawal) error {
	n, err := t.exec(ctx, `UPDATE withdrawals SET state = ?, decided_at = ?, decided_by = ?, answer = ? WHERE id = ? AND state = 'requested'`,
		string(w.State), micros(w.DecidedAt), w.DecidedBy, w.Answer, w.ID)
	if err == nil && n != 1 {
		return fault.Newf(fault.Conflict, "withdrawal %s was decided already", w.ID)
	}
	return err
}

// Withdrawal returns a withdrawal, or a NotFound fault.
func (t *Tx) Withdrawal(ctx context.Context, id string) (payment.Withdrawal, error) {
	r, err := row[withdrawalRow](ctx, t, "no such withdrawal", `SELECT `+withdrawalColumns+` FROM withdrawals WHERE id = ?`, id)
	return r.withdrawal(), err
}

// WithdrawalByKey returns the withdrawal of a provider that was requested under a
// key, or a NotFound fault.
func (t *Tx) WithdrawalByKey(ctx context.Context, providerID, key string) (payment.Withdrawal, error) {
	r, err := row[withdrawalRow](ctx, t, "no such withdrawal", `SELECT `+withdrawalColumns+` FROM withdrawals WHERE provider_id = ? AND request_key = ? AND request_key <> ''`,
		providerID, key)
	return r.withdrawal(), err
}

// Withdrawals returns those of a provider in a state, "" for any of either: what
// is to be decided oldest first, else the newest first; at most limit.
func (t *Tx) Withdrawals(ctx context.Context, providerID string, state payment.State, limit int) ([]payment.Withdrawal, error) {
	order := `DESC`
	if state == payment.Requested {
		order = `ASC`
	}
	list, err := rows[withdrawalRow](ctx, t, `SELECT `+withdrawalColumns+` FROM withdrawals WHERE (? = '' OR provider_id = ?) AND (? = '' OR state = ?)
		ORDER BY requested_at `+order+`, id `+order+` LIMIT ?`, providerID, providerID, string(state), string(state), limit)
	return convert(list, withdrawalRow.withdrawal), err
}

// Withdrawn is what a provider has asked for and what it was paid.
type Withdrawn struct {
	Waiting   int64 // how many wait for a decision
	Requested money.Amount
	Confirmed money.Amount
}

// Withdrawn adds up a provider's withdrawals.
func (t *Tx) Withdrawn(ctx context.Context, providerID string) (w Withdrawn, err error) {
	list, err := rows[struct {
		State  string
		N      int64
		Amount int64
	}](ctx, t, `SELECT state, COUNT(*) AS n, CAST(SUM(amount) AS BIGINT) AS amount FROM withdrawals
		WHERE provider_id = ? AND state IN ('requested', 'confirmed') GROUP BY state ORDER BY state`, providerID)
	for _, r := range list {
		if payment.State(r.State) == payment.Requested {
			w.Waiting, w.Requested = r.N, money.Amount(r.Amount)
		} else {
			w.Confirmed = money.Amount(r.Amount)
		}
	}
	return w, err
}
