package main

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/cpucloud/cpucloud/bench/internal/report"
)

// lookEvery is how often a condition is looked at.
const lookEvery = 5 * time.Millisecond

// await waits until a condition holds.
func await(ctx context.Context, what string, within time.Duration, holds func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for {
		done, err := holds()
		if err == nil && !done {
			err = report.Pause(ctx, lookEvery)
		}
		if err != nil {
			return fmt.Errorf("wait %s: %w", what, err)
		}
		if done {
			return nil
		}
	}
}

// newestEntry returns the number of the newest entry.
func newestEntry(ctx context.Context, db *sql.DB) (n int64, err error) {
	err = db.QueryRowContext(ctx, `SELECT MAX(id) FROM entries`).Scan(&n)
	return n, err
}
