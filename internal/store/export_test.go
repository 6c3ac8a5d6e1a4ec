package store

import (
	"context"

	"github.com/pressly/goose/v3"
)

// Exec runs SQL past the store, as someone does who tampers with the database.
func (s *Store) Exec(ctx context.Context, query string, args ...any) error {
	_, err := s.writer.NewRaw(query, args...).Exec(ctx)
	return err
}

// MigrateBefore takes a migration back, and all newer ones.
func (s *Store) MigrateBefore(ctx context.Context, version int64) error {
	steps, err := s.engine.migrations()
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(s.engine.goose, s.writer.DB, steps)
	if err != nil {
		return err
	}
	_, err = provider.DownTo(ctx, version-1)
	return err
}

// Migrate brings the database up again.
func (s *Store) Migrate(ctx context.Context) error { return s.engine.migrate(ctx, s.writer.DB) }
