package control

import (
	"cmp"
	"context"
	"slices"

	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/usage"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// usageOf returns what is known of a VM's use, in points as short as they are kept: what
// its server told lately, what was made of that, and of that. Each stretch is told of by
// one of them.
func (s *Service) usageOf(ctx context.Context, tx *store.Tx, v vm.VM, from, to usage.Slot) ([]usage.Point, error) {
	width := usage.Slots(stretch)
	told := map[usage.Slot]bool{} // stretches
	untold := func(p usage.Point) bool { return !told[p.At.Floor(width)] }

	minutes, err := tx.Usage(ctx, v.ID, minuteSlots, from.Floor(width), to)
	if err != nil {
		return nil, err
	}
	var series []usage.Point
	for _, row := range minutes {
		series = append(series, s.seriesOf(ctx, row)...)
		told[row.Begins] = true
	}
	days, err := tx.Usage(ctx, v.ID, tenMinuteSlots, from.Floor(usage.Slots(dayStretch)), to)
	if err != nil {
		return nil, err
	}
	for _, row := range days {
		series = append(series, only(s.seriesOf(ctx, row), untold)...)
	}
	recent, err := s.recentUsage(ctx, tx, v, from, to)
	if err != nil {
		return nil, err
	}
	series = append(series, only(recent, untold)...)
	slices.SortStableFunc(series, func(a, b usage.Point) int { return cmp.Compare(a.At, b.At) })
	return usage.Within(series, from, to), nil
}

// only returns the points that are meant.
func only(series []usage.Point, meant func(usage.Point) bool) (out []usage.Point) {
	for _, p := range series {
		if meant(p) {
			out = append(out, p)
		}
	}
	return out
}

// recentUsage returns what a VM's server told lately.
func (s *Service) recentUsage(ctx context.Context, tx *store.Tx, v vm.VM, from, to usage.Slot) ([]usage.Point, error) {
	key, ok := keyOf(v.ID)
	numbers, err := tx.NumbersOf(ctx, []string{v.ServerID})
	number, placed := numbers[v.ServerID]
	if err != nil || !ok || !placed {
		return nil, err
	}
	now := usage.SlotOf(s.wall())
	oldest := now - usage.Slot(usage.Slots(2*stretch+2*keepRecent)) // what is older is put together, or late
	var keys []store.UsageKey
	for minute := minuteOf(max(from, oldest)); minute <= minuteOf(min(to, now+usage.Slot(usage.Slots(clockOff)))); minute++ {
		keys = append(keys, store.UsageKey{Minute: minute, Server: number})
	}
	rows, err := tx.RecentUsage(ctx, keys)
	if err != nil {
		return nil, err
	}
	var series []usage.Point
	for _, row := range rows {
		series = append(series, s.batchOf(ctx, row, key)[key]...)
	}
	return series, nil
}
