package store

import (
	"context"
	"time"
)

// AccountEvent is something that an account was told.
type AccountEvent struct {
	N    int64 // counts the account's from 0
	Key  string
	At   time.Time
	Text string
}

// AddAccountEvent tells an account something, unless it was told it under that
// key.
func (t *Tx) AddAccountEvent(ctx context.Context, accountID string, e AccountEvent) error {
	_, err := t.exec(ctx, `INSERT INTO account_events (account_id, n, key, at, text)
		SELECT ?, COALESCE(MAX(n), -1) + 1, ?, ?, ? FROM account_events WHERE account_id = ?
		ON CONFLICT (account_id, key) DO NOTHING`, accountID, e.Key, micros(e.At), e.Text, accountID)
	return err
}

// AccountEvents returns up to limit of what an account was told, the newest
// first; of what is older than the one counted before, unless that is 0.
func (t *Tx) AccountEvents(ctx context.Context, accountID string, before int64, limit int) ([]AccountEvent, error) {
	query, args := `SELECT n, key, at, text FROM account_events WHERE account_id = ?`, []any{accountID}
	if before > 0 {
		query, args = query+` AND n < ?`, append(args, before)
	}
	list, err := rows[struct {
		N    int64
		Key  string
		At   int64
		Text string
	}](ctx, t, query+` ORDER BY n DESC LIMIT ?`, append(args, limit)...)
	out := make([]AccountEvent, len(list))
	for i, r := range list {
		out[i] = AccountEvent{N: r.N, Key: r.Key, At: at(r.At), Text: r.Text}
	}
	return out, err
}
