package process

import (
	"context"
	"fmt"
	"time"

	"github.com/cpucloud/cpucloud/bench/internal/report"
)

// Load waits for the length of window and returns the processor time that
// processes used in it, in percent of one core.
func Load(ctx context.Context, window time.Duration, processes ...PID) (float64, error) {
	before, err := used(processes)
	if err != nil {
		return 0, err
	}
	begin := report.Now()
	if err := report.Pause(ctx, window); err != nil {
		return 0, err
	}
	after, err := used(processes)
	if err != nil {
		return 0, err
	}
	return 100 * float64(after-before) / float64(report.Now().Sub(begin)), nil
}

func used(processes []PID) (sum time.Duration, err error) {
	for _, p := range processes {
		t, err := p.CPU()
		if err != nil {
			return 0, fmt.Errorf("processor time of %d: %w", p, err)
		}
		sum += t
	}
	return sum, nil
}
