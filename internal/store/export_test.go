package store

import (
	"context"
	"fmt"

	"github.com/uptrace/bun/dialect"
)

// Exec runs SQL past the store, as someone does who tampers with the database.
func (s *Store) Exec(ctx context.Context, query string, args ...any) error {
	_, err := s.writer.NewRaw(query, args...).Exec(ctx)
	return err
}

// Explain returns how the database goes about a page of entries.
func (t *Tx) Explain(ctx context.Context, h History, limit int) (string, error) {
	query, args := h.page("DESC", limit)
	if t.db.Dialect().Name() == dialect.SQLite {
		list, err := rows[struct {
			ID, Parent, Notused int64
			Detail              string
		}](ctx, t, `EXPLAIN QUERY PLAN `+query, args...)
		return fmt.Sprint(list), err
	}
	list, err := rows[struct {
		Plan string `bun:"QUERY PLAN"`
	}](ctx, t, `EXPLAIN `+query, args...)
	return fmt.Sprint(list), err
}
