package store

import (
	"context"

	"github.com/uptrace/bun"

	"github.com/cpucloud/cpucloud/internal/usage"
)

// UsageKey names a row of what agents told lately: what the VMs of the server with this
// number used in a minute, counted since 1970.
type UsageKey struct {
	Minute int64
	Server uint32
}

func (k UsageKey) id() int64 { return k.Minute<<32 | int64(k.Server) }

func usageKey(id int64) UsageKey {
	return UsageKey{Minute: id >> 32, Server: uint32(id & 0xffffffff)} //nolint:gosec // cut off on purpose
}

// RecentUsage is one such row.
type RecentUsage struct {
	UsageKey
	Body []byte // a usage.Batch of single slots
}

type recentRow struct {
	ID   int64
	Body []byte
}

// sizeOfIn bounds how many values a list in a query has.
const sizeOfIn = 500

// PutRecentUsage writes rows, in the place of those that are there.
func (t *Tx) PutRecentUsage(ctx context.Context, list []RecentUsage) error {
	for _, r := range list {
		t.lines += 1 + len(r.Body)/256
		if _, err := t.exec(ctx, `INSERT INTO usage_recent (id, body) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET body = excluded.body`, r.id(), r.Body); err != nil {
			return err
		}
	}
	return nil
}

// RecentUsage returns the rows that there are of keys, by minute and server.
func (t *Tx) RecentUsage(ctx context.Context, keys []UsageKey) ([]RecentUsage, error) {
	ids := convert(keys, UsageKey.id)
	list := []RecentUsage{}
	for len(ids) > 0 {
		n := min(len(ids), sizeOfIn)
		some, err := rows[recentRow](ctx, t, `SELECT id, body FROM usage_recent WHERE id IN (?) ORDER BY id`, bun.List(ids[:n]))
		if err != nil {
			return nil, err
		}
		list = append(list, convert(some, func(r recentRow) RecentUsage { return RecentUsage{usageKey(r.ID), r.Body} })...)
		ids = ids[n:]
	}
	return list, nil
}

// RecentUsageKeys returns up to limit keys of rows from one minute on and before
// another, the oldest first.
func (t *Tx) RecentUsageKeys(ctx context.Context, from, before int64, limit int) ([]UsageKey, error) {
	list, err := rows[struct{ ID int64 }](ctx, t, `SELECT id FROM usage_recent WHERE id >= ? AND id < ? ORDER BY id LIMIT ?`,
		UsageKey{Minute: from}.id(), UsageKey{Minute: before}.id(), limit)
	return convert(list, func(r struct{ ID int64 }) UsageKey { return usageKey(r.ID) }), err
}

// DropRecentUsage removes all rows from one minute on and before another.
func (t *Tx) DropRecentUsage(ctx context.Context, from, before int64) (int64, error) {
	return t.exec(ctx, `DELETE FROM usage_recent WHERE id >= ? AND id < ?`, UsageKey{Minute: from}.id(), UsageKey{Minute: before}.id())
}

// KeptUsage is what a VM used in a stretch of time.
type KeptUsage struct {
	VM     string
	Width  int64 // of its points
	Begins usage.Slot
	Body   []byte // a series
}

type keptRow struct {
	VMID   string `bun:"vm_id"`
	Width  int64
	Begins int64
	Body   []byte
}

// PutUsage writes rows, in the place of those that are there.
func (t *Tx) PutUsage(ctx context.Context, list []KeptUsage) error {
	for _, k := range list {
		t.lines += 1 + len(k.Body)/256
		if _, err := t.exec(ctx, `INSERT INTO usage_kept (vm_id, width, begins, body) VALUES (?, ?, ?, ?)
			ON CONFLICT (vm_id, width, begins) DO UPDATE SET body = excluded.body`, k.VM, k.Width, int64(k.Begins), k.Body); err != nil {
			return err
		}
	}
	return nil
}

// Usage returns the rows of a VM whose stretches begin at from or later, before to, by
// width and time.
func (t *Tx) Usage(ctx context.Context, vmID string, width int64, from, to usage.Slot) ([]KeptUsage, error) {
	list, err := rows[keptRow](ctx, t, `SELECT vm_id, width, begins, body FROM usage_kept
		WHERE vm_id = ? AND width = ? AND begins >= ? AND begins < ? ORDER BY begins`, vmID, width, int64(from), int64(to))
	return convert(list, func(r keptRow) KeptUsage { return KeptUsage{r.VMID, r.Width, usage.Slot(r.Begins), r.Body} }), err
}

// DropUsage removes up to limit rows of a width whose stretches begin before a time, the
// oldest first, and returns how many there were.
func (t *Tx) DropUsage(ctx context.Context, width int64, before usage.Slot, limit int) (int64, error) {
	return t.exec(ctx, `DELETE FROM usage_kept WHERE width = ? AND (vm_id, begins) IN
		(SELECT vm_id, begins FROM usage_kept WHERE width = ? AND begins < ? ORDER BY begins, vm_id LIMIT ?)`, width, width, int64(before), limit)
}

// Metered returns the number of a server, and the ids of the VMs that it has and knows by
// them: what it may tell of. Returns a NotFound fault for no server.
func (t *Tx) Metered(ctx context.Context, serverID string) (number uint32, vms []string, err error) {
	server, err := row[struct{ Number uint32 }](ctx, t, "no such server", `SELECT number FROM servers WHERE id = ?`, serverID)
	if err != nil {
		return 0, nil, err
	}
	list, err := rows[struct{ ID string }](ctx, t, `SELECT id FROM vms WHERE server_id = ? AND NOT gone AND known_as = '' ORDER BY id`, serverID)
	return server.Number, convert(list, func(r struct{ ID string }) string { return r.ID }), err
}

// NumbersOf returns the numbers of servers by their ids; unknown ones are left out.
func (t *Tx) NumbersOf(ctx context.Context, serverIDs []string) (map[string]uint32, error) {
	out := make(map[string]uint32, len(serverIDs))
	for len(serverIDs) > 0 {
		n := min(len(serverIDs), sizeOfIn)
		list, err := rows[struct {
			ID     string
			Number uint32
		}](ctx, t, `SELECT id, number FROM servers WHERE id IN (?) ORDER BY id`, bun.List(serverIDs[:n]))
		if err != nil {
			return nil, err
		}
		for _, r := range list {
			out[r.ID] = r.Number
		}
		serverIDs = serverIDs[n:]
	}
	return out, nil
}
