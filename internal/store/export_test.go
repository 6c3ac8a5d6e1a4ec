package store

import "context"

// Exec runs SQL past the store, as someone does who tampers with the database.
func (s *Store) Exec(ctx context.Context, query string, args ...any) error {
	_, err := s.writer.NewRaw(query, args...).Exec(ctx)
	return err
}
