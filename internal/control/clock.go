package control

import (
	"context"
	"fmt"
	"time"

	"github.com/cpucloud/cpucloud/internal/store"
)

// mostStops is into how many parts a test clock's way is cut at most.
const mostStops = 2_000

// pass moves the clock on by a time, stopping where something falls due on the
// way, and does what is due there: as if the time had passed.
func (s *Service) pass(ctx context.Context, by time.Duration) (time.Time, error) {
	end := s.Now().Add(by)
	least := by / mostStops
	for {
		if err := s.duties(ctx); err != nil {
			return s.Now(), fmt.Errorf("do what is due: %w", err)
		}
		left := end.Sub(s.Now())
		if left <= 0 {
			return s.Now(), nil
		}
		var next time.Time
		err := s.Store.Read(ctx, func(tx *store.Tx) (err error) {
			next, err = tx.NextDue(ctx)
			return err
		})
		if err != nil {
			return s.Now(), err
		}
		step := left
		if !next.IsZero() {
			step = min(left, max(next.Sub(s.Now()), least, time.Microsecond))
		}
		s.Advance(step)
		s.listenFrom(s.Now()) // agents live in real time
	}
}
