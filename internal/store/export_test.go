package store

import (
	"context"
	"fmt"

	"github.com/pressly/goose/v3"
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
	return t.plan(ctx, query, args...)
}

// ExplainVMs returns how the database goes about a list of VMs.
func (t *Tx) ExplainVMs(ctx context.Context, f Filter) (string, error) {
	query, args := f.query()
	return t.plan(ctx, query, args...)
}

func (t *Tx) plan(ctx context.Context, query string, args ...any) (string, error) {
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

// MigrateTo brings the database at url to a version, upwards or downwards, and
// runs SQL on it as it is then.
func MigrateTo(ctx context.Context, url string, version int64, queries ...string) error {
	e := engineFor(url)
	db, err := e.open(url, true)
	if err != nil {
		return err
	}
	defer db.Close() //nolint:errcheck // nothing is left to be written
	steps, err := e.migrations()
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(e.goose, db.DB, steps)
	if err != nil {
		return err
	}
	now, err := provider.GetDBVersion(ctx)
	if err != nil {
		return err
	}
	if now < version {
		_, err = provider.UpTo(ctx, version)
	} else {
		_, err = provider.DownTo(ctx, version)
	}
	if err != nil {
		return err
	}
	for _, q := range queries {
		if _, err := db.ExecContext(ctx, q); err != nil {
			return fmt.Errorf("%s: %w", opening(q), err)
		}
	}
	return nil
}

// OtherCollations returns the columns of text of a PostgreSQL database that are not
// compared byte by byte.
func (s *Store) OtherCollations(ctx context.Context) (columns []string, err error) {
	err = s.Read(ctx, func(tx *Tx) error {
		list, err := rows[struct{ Name string }](ctx, tx, `SELECT table_name || '.' || column_name AS name FROM information_schema.columns
			WHERE table_schema = current_schema() AND data_type = 'text' AND collation_name IS DISTINCT FROM 'C' ORDER BY 1`)
		columns = convert(list, func(r struct{ Name string }) string { return r.Name })
		return err
	})
	return columns, err
}

// Settle returns once nothing is being written back.
func (s *Store) Settle() { s.ending.Wait() }
