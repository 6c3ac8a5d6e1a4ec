package benchmark

import (
	"context"
	"slices"
	"time"
)

const maxPings = 20

// roundTrip returns the median of several round trips, in milliseconds. The
// first one also opens a connection and counts only if there is no other.
func roundTrip(ctx context.Context, c Config) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, c.Network)
	defer cancel()
	var took []time.Duration
	for range maxPings {
		start := c.Now()
		if err := c.Ping(ctx); err != nil {
			if ctx.Err() != nil && len(took) > 0 {
				break
			}
			return 0, err
		}
		took = append(took, c.Now().Sub(start))
		if ctx.Err() != nil {
			break
		}
	}
	if len(took) > 1 {
		took = took[1:]
	}
	return milliseconds(median(took)), nil
}

// median returns the middle one; all is not empty.
func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}
