package control

import (
	"context"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/usage"
	"github.com/cpucloud/cpucloud/internal/vm"
)

const (
	// MaxMetrics is how many points of a VM are told at once.
	MaxMetrics = 1500
	// usualMetrics is about how many are told where nobody says.
	usualMetrics = 240
)

// steps are those that are chosen where nobody says, in slots. Each is a multiple of what
// is kept of the time for which it is chosen.
var steps = []int64{
	1, 2, minuteSlots, 2 * minuteSlots, 5 * minuteSlots, tenMinuteSlots, 2 * tenMinuteSlots, 3 * tenMinuteSlots,
	6 * tenMinuteSlots, 12 * tenMinuteSlots, 24 * tenMinuteSlots, 72 * tenMinuteSlots, 144 * tenMinuteSlots,
}

// MetricsWish says which metrics are asked for.
type MetricsWish struct {
	From time.Time     // an hour before To if it is zero
	To   time.Time     // now if it is zero
	Step time.Duration // between points; 0 means one that suits the time asked for
}

// Metrics is what a VM used over time.
type Metrics struct {
	VM       vm.VM
	From, To time.Time // of the points: multiples of Step
	Step     time.Duration
	// Points are in the order of time, each of Step; what isn't known has none, or one
	// that knows less.
	Points []usage.Point
}

// Metrics returns what the actor's VM used. The step is longer than asked for where less
// is kept. Returns NotFound for an unknown, foreign or deleted VM, and Invalid for times
// that make no sense, or more points than are told at once.
func (s *Service) Metrics(ctx context.Context, who account.Actor, given string, w MetricsWish) (Metrics, error) {
	from, to, width, err := w.resolve(s.wall())
	if err != nil {
		return Metrics{}, err
	}
	m := Metrics{From: from.Time(), To: to.Time(), Step: time.Duration(width) * usage.Width}
	err = s.Store.Read(ctx, func(tx *store.Tx) (err error) {
		if m.VM, err = s.owned(ctx, tx, who, given); err != nil {
			return err
		}
		if m.VM.State == vm.Stopped {
			return noVM(m.VM.ID)
		}
		series, err := s.usageOf(ctx, tx, m.VM, from, to)
		m.Points = usage.Coarsen(series, width)
		return err
	})
	return m, err
}

// resolve returns which slots are meant, and how many are in a point.
func (w MetricsWish) resolve(now time.Time) (from, to usage.Slot, width int64, err error) {
	if w.To.IsZero() {
		w.To = now
	}
	if w.From.IsZero() {
		w.From = w.To.Add(-time.Hour)
	}
	switch {
	case !w.From.Before(w.To):
		return 0, 0, 0, fault.New(fault.Invalid, "from has to be before to")
	case w.From.Before(now.Add(-keepTens - dayStretch)):
		return 0, 0, 0, fault.Newf(fault.Invalid, "metrics are kept for %d days: from may be %s at the earliest",
			int(keepTens.Hours())/24, now.Add(-keepTens).UTC().Format(time.RFC3339))
	case w.Step < 0 || w.Step%usage.Width != 0:
		return 0, 0, 0, fault.Newf(fault.Invalid, "step has to be a multiple of %s", usage.Width)
	}
	kept := keptWidth(now.Sub(w.From))
	width = usage.Slots(w.Step)
	if width == 0 {
		width = usualStep(usage.Slots(w.To.Sub(w.From)), kept)
	}
	width = (width + kept - 1) / kept * kept
	from, to = usage.SlotOf(w.From).Floor(width), usage.SlotOf(w.To.Add(time.Duration(width)*usage.Width-1)).Floor(width)
	if n := int64(to-from) / width; n > MaxMetrics {
		return 0, 0, 0, fault.Newf(fault.Invalid, "these are %d points, at most %d are told at once: ask for a longer step, or less time", n, MaxMetrics)
	}
	return from, to, width, nil
}

// keptWidth returns how many slots are in the points that are kept of a time that is so
// long ago.
func keptWidth(ago time.Duration) int64 {
	switch {
	case ago <= keepRecent:
		return 1
	case ago <= keepMinutes:
		return minuteSlots
	}
	return tenMinuteSlots
}

// usualStep returns the shortest of the usual steps by which slots are not too many points.
func usualStep(slots, kept int64) int64 {
	for _, width := range steps {
		if width >= kept && slots/width <= usualMetrics {
			return width
		}
	}
	return steps[len(steps)-1]
}
