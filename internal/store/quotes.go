package store

import (
	"context"
	"time"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/money"
)

// Quote holds price and capacity for an account.
type Quote struct {
	ID        string
	AccountID string
	Places    []Place
	Wish      string // what was asked of the places, as control wrote it
	CreatedAt time.Time
	ExpiresAt time.Time
	EndedAt   time.Time // when it was used, or expired; zero while it is good
}

// Place is the place of one VM that a quote holds.
type Place struct {
	Server     string          `json:"server"` // id
	Number     uint32          `json:"number"` // of the server
	Offer      string          `json:"offer"`
	Amount     capacity.Vector `json:"amount"` // taken of the server
	Config     string          `json:"config"` // slug of the configuration
	StorageGiB int64           `json:"storage_gib"`
	Price      money.Amount    `json:"price"` // per epoch
}

// InsertQuote adds a quote.
func (t *Tx) InsertQuote(ctx context.Context, q Quote) error {
	places, err := toJSON(q.Places)
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, `INSERT INTO quotes (id, account_id, places, wish, created_at, expires_at, ended_at) VALUES (?, ?, ?, ?, ?, ?, ?)`,
		q.ID, q.AccountID, places, q.Wish, micros(q.CreatedAt), micros(q.ExpiresAt), micros(q.EndedAt))
	return err
}

type quoteRow struct {
	ID        string
	AccountID string
	Places    string
	Wish      string
	CreatedAt int64
	ExpiresAt int64
	EndedAt   int64
}

func (r quoteRow) quote() (Quote, error) {
	q := Quote{ID: r.ID, AccountID: r.AccountID, Wish: r.Wish, CreatedAt: at(r.CreatedAt), ExpiresAt: at(r.ExpiresAt), EndedAt: at(r.EndedAt)}
	return q, fromJSON(r.Places, &q.Places)
}

const quoteColumns = `id, account_id, places, wish, created_at, expires_at, ended_at`

// Quote returns a quote, ended ones too, or a NotFound fault.
func (t *Tx) Quote(ctx context.Context, id string) (Quote, error) {
	r, err := row[quoteRow](ctx, t, "no such quote", `SELECT `+quoteColumns+` FROM quotes WHERE id = ?`, id)
	if err != nil {
		return Quote{}, err
	}
	return r.quote()
}

// OpenQuotes returns an account's quotes that have not ended, oldest first.
func (t *Tx) OpenQuotes(ctx context.Context, accountID string) ([]Quote, error) {
	return t.quotes(ctx, `SELECT `+quoteColumns+` FROM quotes WHERE account_id = ? AND ended_at = 0 ORDER BY created_at, id`, accountID)
}

// ExpiredQuotes returns up to limit quotes that have not ended though they have
// expired, the longest expired first.
func (t *Tx) ExpiredQuotes(ctx context.Context, now time.Time, limit int) ([]Quote, error) {
	return t.quotes(ctx, `SELECT `+quoteColumns+` FROM quotes WHERE ended_at = 0 AND expires_at <= ? ORDER BY expires_at, id LIMIT ?`, micros(now), limit)
}

func (t *Tx) quotes(ctx context.Context, query string, args ...any) ([]Quote, error) {
	list, err := rows[quoteRow](ctx, t, query, args...)
	if err != nil {
		return nil, err
	}
	out := make([]Quote, len(list))
	for i, r := range list {
		if out[i], err = r.quote(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// EndQuote ends a quote; ended is false when it had ended before.
func (t *Tx) EndQuote(ctx context.Context, id string, now time.Time) (ended bool, err error) {
	n, err := t.exec(ctx, `UPDATE quotes SET ended_at = ? WHERE id = ? AND ended_at = 0`, micros(now), id)
	return n == 1, err
}
