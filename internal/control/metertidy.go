package control

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/usage"
)

const (
	tidyEvery = time.Minute
	// Of one transaction, so that nobody waits for it long.
	tidyVMs     = 20
	tidyMinutes = 20
	tidyRows    = 500
)

// TidyMetrics puts together what is due: stretches that are over for keepRecent, one after
// the other, and removes what was kept its time. It returns how many stretches and
// rows that were. Whatever ends it in between, the next one begins again and nothing
// is lost or counted twice.
func (s *Service) TidyMetrics(ctx context.Context) (int, error) {
	now, done := s.wall(), 0
	for {
		begun, found, err := s.oldestStretch(ctx)
		if err != nil || !found || begun.Add(stretch+keepRecent).After(now) {
			if err != nil {
				return done, err
			}
			break
		}
		if err := s.putTogether(ctx, begun); err != nil {
			return done, err
		}
		done++
	}
	for width, kept := range map[int64]time.Duration{minuteSlots: keepMinutes + stretch, tenMinuteSlots: keepTens + dayStretch} {
		for {
			n, err := s.dropUsage(ctx, width, usage.SlotOf(now.Add(-kept)))
			if done += int(n); err != nil || n == 0 {
				if err != nil {
					return done, err
				}
				break
			}
		}
	}
	return done, nil
}

func (s *Service) dropUsage(ctx context.Context, width int64, before usage.Slot) (n int64, err error) {
	err = s.Store.Write(ctx, func(tx *store.Tx) (err error) {
		n, err = tx.DropUsage(ctx, width, before, tidyRows)
		return err
	})
	return n, err
}

// oldestStretch returns when the oldest stretch began of which anything is not put
// together.
func (s *Service) oldestStretch(ctx context.Context) (begun time.Time, found bool, err error) {
	err = s.Store.Read(ctx, func(tx *store.Tx) error {
		keys, err := tx.RecentUsageKeys(ctx, 0, minuteOf(usage.SlotOf(s.wall().Add(clockOff))), 1)
		if err == nil && len(keys) > 0 {
			begun, found = time.Unix(keys[0].Minute*60, 0).Truncate(stretch), true
		}
		return err
	})
	return begun, found, err
}

// putTogether makes of all that servers told of a stretch what is kept of each VM.
func (s *Service) putTogether(ctx context.Context, begun time.Time) error {
	from := begun.Unix() / 60
	to := begun.Add(stretch).Unix() / 60
	servers, err := s.metersOf(ctx, from, to)
	if err != nil {
		return err
	}
	for _, number := range servers {
		whole, err := s.recentOf(ctx, number, from, to)
		if err != nil {
			return err
		}
		for keys := range slices.Chunk(slices.Collect(maps.Keys(whole)), tidyVMs) {
			if err := s.keepUsage(ctx, begun, keys, whole); err != nil {
				return err
			}
		}
	}
	for minute := from; minute < to; minute += tidyMinutes {
		if err := s.Store.Write(ctx, func(tx *store.Tx) error {
			_, err := tx.DropRecentUsage(ctx, minute, min(minute+tidyMinutes, to))
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

// metersOf returns the numbers of the servers that told of minutes.
func (s *Service) metersOf(ctx context.Context, from, to int64) ([]uint32, error) {
	found := map[uint32]bool{}
	for minute := from; minute < to; minute++ {
		err := s.Store.Read(ctx, func(tx *store.Tx) error {
			keys, err := tx.RecentUsageKeys(ctx, minute, minute+1, mostServers)
			for _, key := range keys {
				found[key.Server] = true
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return slices.Sorted(maps.Keys(found)), nil
}

// mostServers bounds a list that is as long as there are servers.
const mostServers = 1 << 20

// recentOf returns what a server told of minutes, in points of a minute.
func (s *Service) recentOf(ctx context.Context, number uint32, from, to int64) (usage.Batch, error) {
	keys := make([]store.UsageKey, 0, to-from)
	for minute := from; minute < to; minute++ {
		keys = append(keys, store.UsageKey{Minute: minute, Server: number})
	}
	whole := usage.Batch{}
	err := s.Store.Read(ctx, func(tx *store.Tx) error {
		rows, err := tx.RecentUsage(ctx, keys)
		if err != nil {
			return err
		}
		for _, row := range rows {
			for key, series := range s.batchOf(ctx, row) {
				whole[key] = append(whole[key], usage.Coarsen(series, minuteSlots)...)
			}
		}
		return nil
	})
	return whole, err
}

// keepUsage stores what is kept of some VMs, beside what is stored.
func (s *Service) keepUsage(ctx context.Context, begun time.Time, keys []usage.Key, whole usage.Batch) error {
	return s.Store.Write(ctx, func(tx *store.Tx) error {
		for _, key := range keys {
			vmID, err := vmOf(key)
			if err != nil {
				return err
			}
			err = firstErrorOf(
				func() error { return s.addUsage(ctx, tx, vmID, minuteSlots, begun, whole[key]) },
				func() error {
					return s.addUsage(ctx, tx, vmID, tenMinuteSlots, begun.Truncate(dayStretch), usage.Coarsen(whole[key], tenMinuteSlots))
				},
			)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// addUsage adds a series to what is kept of a VM in the stretch that began then.
func (s *Service) addUsage(ctx context.Context, tx *store.Tx, vmID string, width int64, begun time.Time, series []usage.Point) error {
	begins := usage.SlotOf(begun)
	there, err := tx.Usage(ctx, vmID, width, begins, begins+1)
	if err != nil {
		return err
	}
	for _, row := range there {
		series = usage.Merge(s.seriesOf(ctx, row), series)
	}
	return tx.PutUsage(ctx, []store.KeptUsage{{VM: vmID, Width: width, Begins: begins, Body: usage.Append(nil, series, width)}})
}

// mostKept is how many points a row holds at most.
const mostKept = int(max(stretch/time.Minute, dayStretch/(10*time.Minute)))

// seriesOf reads a row. One that is damaged is told to the operator and taken as empty:
// it must not keep what follows from being kept.
func (s *Service) seriesOf(ctx context.Context, row store.KeptUsage) []usage.Point {
	series, width, err := usage.Decode(row.Body, mostKept)
	if err != nil || width != row.Width {
		s.Log.ErrorContext(ctx, "metrics of a vm are damaged", "vm_id", row.VM, "begins", row.Begins.Time(), "error", err)
		return nil
	}
	return series
}

// batchOf is seriesOf for what a server told.
func (s *Service) batchOf(ctx context.Context, row store.RecentUsage, only ...usage.Key) usage.Batch {
	batch, err := usage.DecodeBatch(row.Body, int(minuteSlots), only...)
	if err != nil {
		s.Log.ErrorContext(ctx, "metrics of a server are damaged", "server_number", row.Server, "minute", row.Minute, "error", err)
		return usage.Batch{}
	}
	return batch
}
