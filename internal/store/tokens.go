package store

import (
	"context"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
)

// Terms are what a server joins under.
type Terms struct {
	ProviderID   string `json:"provider"`
	DatacenterID string `json:"datacenter"`
	OfferID      string `json:"offer"` // "" for the one that lists its hardware
	Name         string `json:"name"`  // of the server, "" for none
}

// InsertToken adds a join token by its hash.
func (t *Tx) InsertToken(ctx context.Context, hash string, terms Terms, expires time.Time) error {
	text, err := toJSON(terms)
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, `INSERT INTO join_tokens (hash, terms, expires_at, used_at) VALUES (?, ?, ?, 0)`, hash, text, micros(expires))
	return err
}

// UseToken uses a join token up and returns its terms. Returns a Denied fault
// when it is unknown, used or expired.
func (t *Tx) UseToken(ctx context.Context, hash string, now time.Time) (Terms, error) {
	var terms Terms
	n, err := t.exec(ctx, `UPDATE join_tokens SET used_at = ? WHERE hash = ? AND used_at = 0 AND expires_at > ?`, micros(now), hash, micros(now))
	if err != nil {
		return terms, err
	}
	if n == 0 {
		return terms, fault.New(fault.Denied, "this join token is unknown, used or expired; ask for a new one")
	}
	r, err := row[struct{ Terms string }](ctx, t, "no such token", `SELECT terms FROM join_tokens WHERE hash = ?`, hash)
	if err != nil {
		return terms, err
	}
	return terms, fromJSON(r.Terms, &terms)
}
