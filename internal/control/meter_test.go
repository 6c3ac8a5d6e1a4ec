package control_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/usage"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// slots returns what a VM used in the slots from one moment to another: in each the
// same, but for the processor time, by which they can be told apart.
func slots(from, to time.Time) (series []usage.Point) {
	for at := usage.SlotOf(from); at < usage.SlotOf(to); at++ {
		p := usage.Point{At: at, Known: [3]int64{1, 1, 1}}
		p.Sum[usage.CPU] = uint64(at) % 1000
		p.Sum[usage.Memory], p.Sum[usage.WriteBytes], p.Sum[usage.PacketsOut] = 1<<20, 4096, 7
		series = append(series, p)
	}
	return series
}

// meters has the agent tell what its VMs used.
func (a *agent) meters(series []usage.Point, ids ...string) error {
	r := usage.Report{At: a.c.clock.Now()}
	for _, vmID := range ids {
		r.VMs = append(r.VMs, usage.OfVM{ID: vmID, Points: series})
	}
	return a.c.Meter(a.c.t.Context(), a.id, r)
}

func (c *cloud) metrics(who account.Actor, vmID string, w control.MetricsWish) control.Metrics {
	c.t.Helper()
	m, err := c.Metrics(c.t.Context(), who, vmID, w)
	c.must("Metrics", err)
	return m
}

func total(series []usage.Point) (sum usage.Point) {
	for _, p := range series {
		sum.Add(p)
	}
	return sum
}

// active returns a VM that runs, its server and its customer.
func (c *cloud) active() (who account.Actor, a *agent, vmID string) {
	c.t.Helper()
	a = c.join(room(2))
	who = c.account("Anna", 1000*price)
	vmID = c.deploy(who)
	a.reports(vm.Ready, vmID)
	return who, a, vmID
}

// What is told again, in another order, or in parts that overlap, is counted once.
func TestMetricsAreCountedOnce(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		anna, a, id := c.active()
		begun := c.clock.Now()
		c.clock.advance(10 * time.Minute)
		all := slots(begun, begun.Add(10*time.Minute))
		for _, part := range [][]usage.Point{all[20:30], all[:8], all[20:30], all[6:22], all[30:], all[:8]} {
			c.must("Meter", a.meters(part, id))
		}
		m := c.metrics(anna, id, control.MetricsWish{From: begun, Step: usage.Width})
		want(t, "points", m.Points, all)
		want(t, "step", m.Step, usage.Width)
		m = c.metrics(anna, id, control.MetricsWish{From: begun, Step: 5 * time.Minute})
		want(t, "points of five minutes", m.Points, usage.Coarsen(all, 20))

		// Of a group that wasn't known it may be told later, of others not anew.
		late := usage.Point{At: usage.SlotOf(begun.Add(10 * time.Minute)), Known: [3]int64{1, 0, 0}}
		late.Sum[usage.CPU] = 5
		c.clock.advance(time.Minute)
		c.must("Meter", a.meters([]usage.Point{late}, id))
		more := late
		more.Known, more.Sum[usage.CPU], more.Sum[usage.ReadOps] = [3]int64{1, 1, 0}, 99, 3
		c.must("Meter", a.meters([]usage.Point{more}, id))
		more.Sum[usage.CPU] = 5
		m = c.metrics(anna, id, control.MetricsWish{From: begun.Add(10 * time.Minute), Step: usage.Width})
		want(t, "point that was completed", m.Points, []usage.Point{more})
	})
}

// A server tells of its own VMs alone, and of now.
func TestMetricsThatAreNotTaken(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		anna, a, id := c.active()
		other := c.join(room(1))
		bert := c.account("Bert", price)
		begun := c.clock.Now()
		c.clock.advance(4 * time.Hour)
		now := c.clock.Now()

		c.must("Meter of a foreign VM", other.meters(slots(now.Add(-30*time.Minute), now.Add(-20*time.Minute)), id))
		c.must("Meter of no VM", a.meters(slots(now.Add(-time.Minute), now), "0xNothing", "../../etc"))
		c.must("Meter of long ago", a.meters(slots(begun, begun.Add(time.Hour)), id))
		c.must("Meter of the future", a.meters(slots(now.Add(10*time.Minute), now.Add(time.Hour)), id))
		want(t, "points", len(c.metrics(anna, id, control.MetricsWish{From: begun}).Points), 0)

		for _, off := range []time.Duration{-6 * time.Minute, 6 * time.Minute, 10_000 * time.Hour} {
			err := c.Meter(t.Context(), a.id, usage.Report{At: now.Add(off), VMs: []usage.OfVM{{ID: id, Points: slots(now.Add(-time.Minute), now)}}})
			wantFault(t, "a clock that is wrong", err, fault.Conflict)
		}
		wantFault(t, "no server", c.Meter(t.Context(), "srv_nobody", usage.Report{At: now}), fault.NotFound)
		c.must("Meter of now", a.meters(slots(now.Add(-time.Minute), now), id))
		want(t, "points", len(c.metrics(anna, id, control.MetricsWish{From: now.Add(-time.Hour), Step: usage.Width}).Points), 4)
		c.clock.advance(8 * time.Hour)
		_, err := c.TidyMetrics(t.Context())
		c.must("TidyMetrics", err)
		want(t, "slots once all is put together", total(c.metrics(anna, id, control.MetricsWish{From: begun}).Points).Known, [3]int64{4, 4, 4})

		_, err = c.Metrics(t.Context(), bert, id, control.MetricsWish{})
		wantFault(t, "by a stranger", err, fault.NotFound)
		c.remove(anna, id)
		_, err = c.Metrics(t.Context(), anna, id, control.MetricsWish{})
		wantFault(t, "of a VM that is gone", err, fault.NotFound)
	})
}

// Those who tell at once are stored at once, each of them.
func TestMetricsOfManyServers(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		anna := c.account("Anna", 1000*price)
		agents, ids := make([]*agent, 10), make([]string, 10)
		for i := range agents {
			agents[i] = c.join(room(1))
			ids[i] = c.deploy(anna)
		}
		c.clock.advance(time.Minute)
		now := c.clock.Now()
		for i, err := range together(3*len(agents), func(i int) error {
			// Each of three tells of all; who doesn't have a VM is not believed.
			return agents[i%len(agents)].meters(slots(now.Add(-time.Minute), now), ids...)
		}) {
			c.must(ids[i%len(ids)], err)
		}
		for _, id := range ids {
			m := c.metrics(anna, id, control.MetricsWish{Step: usage.Width})
			want(t, "points of "+id, m.Points, slots(now.Add(-time.Minute), now))
		}
		latest, err := c.LatestMetrics(t.Context(), anna)
		c.must("LatestMetrics", err)
		want(t, "VMs", len(latest), len(ids))
		for _, l := range latest {
			if l.Point == nil || *l.Point != usage.Coarsen(slots(now.Add(-time.Minute), now), 4)[0] {
				t.Errorf("newest of %s = %+v", l.VM.ID, l.Point)
			}
		}
		c.clock.advance(5 * time.Minute)
		latest, err = c.LatestMetrics(t.Context(), anna)
		c.must("LatestMetrics", err)
		for _, l := range latest {
			if l.Point != nil {
				t.Errorf("newest of %s after five minutes = %+v, want none", l.VM.ID, l.Point)
			}
		}
	})
}

// Over days metrics become coarser and lose nothing; after two weeks they go.
func TestMetricsGrowCoarser(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		anna, a, id := c.active()
		begun := c.clock.Now()
		var all []usage.Point
		const hours = 40
		for hour := range hours {
			at := c.clock.Now()
			c.clock.advance(time.Hour)
			part := slots(at, at.Add(time.Hour))
			if hour == 7 {
				part = nil // it did not run
			}
			all = append(all, part...)
			c.must("Meter", a.meters(part, id))
			if hour%3 == 0 {
				_, err := c.TidyMetrics(t.Context())
				c.must("TidyMetrics", err)
			}
			for _, w := range []control.MetricsWish{{From: begun, Step: time.Hour}, {From: c.clock.Now().Add(-2 * time.Hour), Step: usage.Width}, {From: c.clock.Now().Add(-24 * time.Hour), Step: time.Minute}} {
				m := c.metrics(anna, id, w)
				if w.From.Before(begun) {
					w.From = begun
				}
				width := usage.Slots(m.Step)
				want(t, "points", m.Points, usage.Coarsen(usage.Within(all, usage.SlotOf(w.From).Floor(width), 1<<40), width))
			}
		}
		_, err := c.TidyMetrics(t.Context())
		c.must("TidyMetrics", err)
		m := c.metrics(anna, id, control.MetricsWish{From: begun, Step: usage.Width})
		want(t, "step where ten minutes are kept", m.Step, 10*time.Minute)
		want(t, "sums", total(m.Points), withAt(total(all), total(m.Points).At))

		c.clock.advance(12 * 24 * time.Hour)
		_, err = c.TidyMetrics(t.Context())
		c.must("TidyMetrics", err)
		want(t, "after 12 days", total(c.metrics(anna, id, control.MetricsWish{From: begun}).Points).Sum, total(all).Sum)
		c.clock.advance(5 * 24 * time.Hour)
		_, err = c.TidyMetrics(t.Context())
		c.must("TidyMetrics", err)
		want(t, "rows that are left", c.meterRows(id), 0)
	})
}

func withAt(p usage.Point, at usage.Slot) usage.Point { p.At = at; return p }

// meterRows returns how many rows are kept of a VM and of all servers.
func (c *cloud) meterRows(vmID string) (n int) {
	c.t.Helper()
	c.must("read rows", c.db.Read(c.t.Context(), func(tx *store.Tx) error {
		keys, err := tx.RecentUsageKeys(c.t.Context(), 0, 1<<30, 1000)
		for _, width := range []int64{4, 40} {
			list, err := tx.Usage(c.t.Context(), vmID, width, 0, 1<<40)
			c.must("Usage", err)
			n += len(list)
		}
		n += len(keys)
		return err
	}))
	return n
}

// Whatever ends it where, putting metrics together again gives the same.
func TestTidyMetricsAgain(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		anna, a, id := c.active()
		other := c.deploy(anna)
		begun := c.clock.Now()
		for range 4 {
			at := c.clock.Now()
			c.clock.advance(time.Hour)
			c.must("Meter", a.meters(slots(at, at.Add(time.Hour)), id, other))
		}
		all := slots(begun, begun.Add(4*time.Hour))
		var rows []store.RecentUsage
		c.must("read rows", c.db.Read(t.Context(), func(tx *store.Tx) error {
			keys, err := tx.RecentUsageKeys(t.Context(), 0, 1<<30, 1000)
			c.must("keys", err)
			rows, err = tx.RecentUsage(t.Context(), keys)
			return err
		}))
		want(t, "rows of four hours", len(rows), 240)
		c.clock.advance(4 * time.Hour)
		for _, again := range []int{0, 240, 17, 1} { // rows that weren't removed yet
			c.must("put rows back", c.db.Write(t.Context(), func(tx *store.Tx) error { return tx.PutRecentUsage(t.Context(), rows[240-again:]) }))
			for _, vmID := range []string{id, other} {
				want(t, "sums before", total(c.metrics(anna, vmID, control.MetricsWish{From: begun}).Points).Sum, total(all).Sum)
			}
			_, err := c.TidyMetrics(t.Context())
			c.must("TidyMetrics", err)
			for _, vmID := range []string{id, other} {
				want(t, "sums after", total(c.metrics(anna, vmID, control.MetricsWish{From: begun}).Points).Sum, total(all).Sum)
			}
		}
		want(t, "rows", c.meterRows(id), 2)
	})
}

// A row that is damaged is told of, and keeps nothing else from being kept.
func TestDamagedMetrics(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		var log strings.Builder
		c.log = &log
		c.restart()
		anna, a, id := c.active()
		begun := c.clock.Now()
		c.clock.advance(10 * time.Minute)
		c.must("Meter", a.meters(slots(begun, begun.Add(10*time.Minute)), id))
		c.must("damage", c.db.Write(t.Context(), func(tx *store.Tx) error {
			keys, err := tx.RecentUsageKeys(t.Context(), 0, 1<<30, 1)
			c.must("keys", err)
			return tx.PutRecentUsage(t.Context(), []store.RecentUsage{{UsageKey: keys[0], Body: []byte("nonsense")}})
		}))
		want(t, "points", len(c.metrics(anna, id, control.MetricsWish{From: begun, Step: time.Minute}).Points), 9)
		c.clock.advance(7 * time.Hour)
		_, err := c.TidyMetrics(t.Context())
		c.must("TidyMetrics", err)
		want(t, "points", len(c.metrics(anna, id, control.MetricsWish{From: begun, Step: time.Minute}).Points), 9)
		want(t, "told", strings.Contains(log.String(), "metrics of a server are damaged"), true)
	})
}

func TestMetricsWishes(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		anna, _, id := c.active()
		now := c.clock.Now()
		day := 24 * time.Hour
		for _, tt := range []struct {
			wish control.MetricsWish
			step time.Duration
		}{
			{control.MetricsWish{}, 15 * time.Second},
			{control.MetricsWish{From: now.Add(-2 * time.Hour)}, 30 * time.Second},
			{control.MetricsWish{From: now.Add(-4 * time.Hour)}, time.Minute},
			{control.MetricsWish{From: now.Add(-day)}, 10 * time.Minute},
			{control.MetricsWish{From: now.Add(-7 * day)}, time.Hour},
			{control.MetricsWish{From: now.Add(-14 * day)}, 2 * time.Hour},
			{control.MetricsWish{From: now.Add(-14 * day), To: now.Add(-13 * day)}, 10 * time.Minute},
			{control.MetricsWish{From: now.Add(-3 * day), Step: 15 * time.Minute}, 20 * time.Minute},
			{control.MetricsWish{From: now.Add(-time.Hour), To: now.Add(100 * time.Hour)}, 30 * time.Minute},
		} {
			m := c.metrics(anna, id, tt.wish)
			if m.Step != tt.step || m.From.After(now) || m.From.Truncate(m.Step) != m.From || m.To.Sub(m.From)/m.Step > control.MaxMetrics {
				t.Errorf("%+v: got %s from %s to %s, want %s", tt.wish, m.Step, m.From, m.To, tt.step)
			}
		}
		for name, w := range map[string]control.MetricsWish{
			"no time":         {From: now, To: now},
			"backwards":       {From: now.Add(time.Hour)},
			"too long ago":    {From: now.Add(-16 * day)},
			"half a slot":     {Step: 20 * time.Second},
			"a negative step": {Step: -time.Minute},
			"too many points": {From: now.Add(-day), Step: 15 * time.Second, To: now.Add(100 * day)},
		} {
			_, err := c.Metrics(t.Context(), anna, id, w)
			wantFault(t, name, err, fault.Invalid)
		}
	})
}
