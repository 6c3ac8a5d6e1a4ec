package control

import (
	"cmp"
	"context"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/id"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/usage"
)

// How metrics are kept: as agents tell them until their stretch of four hours is over for
// two hours, in points of a minute until that is a day ago, in points of ten minutes
// for two weeks. See docs/vm-metrics.md.
const (
	minuteSlots    = int64(time.Minute / usage.Width)
	tenMinuteSlots = 10 * minuteSlots
	stretch        = 4 * time.Hour  // in which points of a minute are kept together
	dayStretch     = 24 * time.Hour // in which points of ten minutes are
	keepRecent     = 2 * time.Hour
	keepMinutes    = 24 * time.Hour
	keepTens       = 14 * 24 * time.Hour

	// latest is how late an agent may tell of what was used, and clockOff how wrong its
	// clock may be. Both together are less than keepRecent: nothing comes any more for a
	// stretch that is put together.
	latest   = 75 * time.Minute
	clockOff = 5 * time.Minute
)

// usualGather is Config.Gather unless it is set.
const usualGather = 5 * time.Second

// Meter takes in what VMs of a server used. What is known already, by whomever it is told
// again, changes nothing; what is told of VMs that aren't the server's is left out, and
// so is what is too old. It returns once all is stored, some seconds later. Returns a
// Conflict fault when the server's clock is wrong.
func (s *Service) Meter(ctx context.Context, serverID string, r usage.Report) error {
	now := s.wall()
	if off := r.At.Sub(now).Abs(); off > clockOff {
		return fault.Newf(fault.Conflict, "the clock of this server is wrong by %s; set it, by NTP best, or its VMs have no metrics", off.Round(time.Second))
	}
	var number uint32
	var ours []string
	err := s.Store.Read(ctx, func(tx *store.Tx) (err error) {
		number, ours, err = tx.Metered(ctx, serverID)
		return err
	})
	if err != nil {
		return err
	}
	minutes := minutesOf(r, number, ours, usage.SlotOf(now.Add(-latest)), usage.SlotOf(now.Add(clockOff)))
	return s.metering.put(ctx, minutes, cmp.Or(s.Gather, usualGather), s.storeUsage)
}

// wall is the time by which metrics are kept: the real one, as agents have it, though
// the billing clock may be moved.
func (s *Service) wall() time.Time {
	if s.Wall == nil {
		return s.Now()
	}
	return s.Wall()
}

// minutesOf cuts a report into minutes, and leaves out what isn't ours or not within
// from and to.
func minutesOf(r usage.Report, number uint32, ours []string, from, to usage.Slot) minuteBatches {
	known := make(map[string]bool, len(ours))
	for _, vmID := range ours {
		known[vmID] = true
	}
	out := minuteBatches{}
	for _, v := range r.VMs {
		key, ok := keyOf(v.ID)
		if !ok || !known[v.ID] {
			continue
		}
		for _, p := range usage.Within(v.Points, from, to) {
			minute := store.UsageKey{Minute: minuteOf(p.At), Server: number}
			if out[minute] == nil {
				out[minute] = usage.Batch{}
			}
			out[minute][key] = append(out[minute][key], p)
		}
	}
	return out
}

// minuteOf returns the minute since 1970 in which a slot is.
func minuteOf(s usage.Slot) int64 { return int64(s.Floor(minuteSlots)) / minuteSlots }

// keyOf returns the bytes that a VM's id spells.
func keyOf(vmID string) (key usage.Key, ok bool) {
	b, err := hex.DecodeString(strings.TrimPrefix(vmID, "0x"))
	if err != nil || len(b) != len(key) {
		return key, false
	}
	return usage.Key(b), true
}

// vmOf returns the id that a key spells.
func vmOf(key usage.Key) (string, error) { return id.ParseVM("0x" + hex.EncodeToString(key[:])) }

// minuteBatches are what VMs used, by minute and server.
type minuteBatches map[store.UsageKey]usage.Batch

// metering gathers what is told in the same few seconds. The zero value is ready to use.
type metering struct {
	mu   sync.Mutex
	open *gathering // nil while nobody waits
}

// gathering is written in one piece.
type gathering struct {
	minutes minuteBatches
	done    chan struct{}
	err     error // once it is done
}

// put has write write minutes, together with what others put meanwhile. The first one
// to come waits for the others and writes for all.
func (m *metering) put(ctx context.Context, minutes minuteBatches, wait time.Duration, write func(context.Context, minuteBatches) error) error {
	if len(minutes) == 0 {
		return nil
	}
	m.mu.Lock()
	g, first := m.open, m.open == nil
	if first {
		g = &gathering{minutes: minuteBatches{}, done: make(chan struct{})}
		m.open = g
	}
	for key, batch := range minutes {
		if g.minutes[key] == nil {
			g.minutes[key] = usage.Batch{}
		}
		g.minutes[key].Merge(batch)
	}
	m.mu.Unlock()
	if !first {
		select {
		case <-g.done:
			return g.err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done(): // the others wait for it all the same
	}
	m.mu.Lock()
	m.open = nil
	m.mu.Unlock()
	g.err = write(context.WithoutCancel(ctx), g.minutes)
	close(g.done)
	return g.err
}

// storeUsage stores minutes beside what is stored of them.
func (s *Service) storeUsage(ctx context.Context, minutes minuteBatches) error {
	keys := slices.SortedFunc(maps.Keys(minutes), func(a, b store.UsageKey) int {
		return cmp.Or(cmp.Compare(a.Minute, b.Minute), cmp.Compare(a.Server, b.Server))
	})
	return s.Store.Write(ctx, func(tx *store.Tx) error {
		there, err := tx.RecentUsage(ctx, keys)
		if err != nil {
			return err
		}
		for _, row := range there {
			kept := s.batchOf(ctx, row)
			kept.Merge(minutes[row.UsageKey])
			minutes[row.UsageKey] = kept
		}
		list := make([]store.RecentUsage, 0, len(minutes))
		for _, key := range keys { // as they follow each other in the table
			list = append(list, store.RecentUsage{UsageKey: key, Body: usage.AppendBatch(nil, minutes[key], 1)})
		}
		return tx.PutRecentUsage(ctx, list)
	})
}
