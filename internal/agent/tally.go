package agent

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cpucloud/cpucloud/internal/usage"
)

const (
	// talliesKept is how much of what the control plane doesn't know is kept: 30 KB of
	// memory for each VM.
	talliesKept = time.Hour
	// mostTold is how many points are told of at once: less than 1 MiB.
	mostTold = 20_000

	minute = int64(time.Minute / usage.Width)
)

// tallies are what VMs used and the control plane doesn't know yet, of the last hour:
// what is older is let go when nobody takes it.
type tallies struct {
	mu    sync.Mutex
	of    map[string][]usage.Point // series of single slots, by VM
	whole chan struct{}            // receives when a minute is
}

func newTallies() *tallies {
	return &tallies{of: map[string][]usage.Point{}, whole: make(chan struct{}, 1)}
}

// add takes in what was used before end, and lets go of what is too old.
func (t *tallies) add(all []usage.OfVM, end usage.Slot) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, v := range all {
		t.of[v.ID] = usage.Merge(t.of[v.ID], v.Points)
	}
	oldest := end - usage.Slot(usage.Slots(talliesKept))
	for id, series := range t.of {
		t.keep(id, usage.Within(series, oldest, end))
	}
	if end == end.Floor(minute) {
		select {
		case t.whole <- struct{}{}:
		default:
		}
	}
}

// next returns what is to be told of whole minutes before now, as much as fits.
func (t *tallies) next(now usage.Slot) (some []usage.OfVM) {
	t.mu.Lock()
	defer t.mu.Unlock()
	points := 0
	for _, id := range slices.Sorted(maps.Keys(t.of)) {
		part := usage.Within(t.of[id], t.of[id][0].At, now.Floor(minute))
		if points += len(part); points > mostTold {
			break
		}
		if len(part) > 0 {
			some = append(some, usage.OfVM{ID: id, Points: slices.Clone(part)})
		}
	}
	return some
}

// told lets go of what the control plane knows by now.
func (t *tallies) told(some []usage.OfVM) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, v := range some {
		t.keep(v.ID, slices.DeleteFunc(t.of[v.ID], func(p usage.Point) bool { return slices.Contains(v.Points, p) }))
	}
}

// keep makes series what is kept of a VM; mu is held.
func (t *tallies) keep(id string, series []usage.Point) {
	if len(series) == 0 {
		delete(t.of, id)
		return
	}
	t.of[id] = series
}
