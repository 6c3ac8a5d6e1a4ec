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

// MigrateDown takes migrations back, the newest first, until one is the newest.
func (s *Store) MigrateDown(ctx context.Context, to int64) error {
	steps, err := s.engine.migrations()
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(s.engine.goose, s.writer.DB, steps)
	if err != nil {
		return err
	}
	_, err = provider.DownTo(ctx, to)
	return err
}

// Migrate brings the database up again.
func (s *Store) Migrate(ctx context.Context) error { return s.engine.migrate(ctx, s.writer.DB) }
