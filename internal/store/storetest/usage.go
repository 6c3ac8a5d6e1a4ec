package storetest

import (
	"bytes"
	"context"
	"slices"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/usage"
	"github.com/cpucloud/cpucloud/internal/vm"
)

var usages = map[string]func(*db){
	"what servers tell is found by minute and server, and goes by minute": (*db).recentUsage,
	"what is kept of VMs is found by width and time, and goes by age":     (*db).keptUsage,
	"a server may tell of the VMs that it has":                            (*db).metered,
}

func recent(minute int64, number uint32, text string) store.RecentUsage {
	return store.RecentUsage{UsageKey: at(minute, number), Body: []byte(text)}
}

func at(minute int64, number uint32) store.UsageKey {
	return store.UsageKey{Minute: minute, Server: number}
}

func (d *db) recentUsage() {
	const most = 1<<32 - 1
	rows := []store.RecentUsage{recent(7, 1, "a\x00\xff'"), recent(7, most, "b"), recent(8, 1, ""), recent(29_000_000, 2, "d")}
	d.write(func(ctx context.Context, tx *store.Tx) error { return tx.PutRecentUsage(ctx, rows) })
	d.write(func(ctx context.Context, tx *store.Tx) error {
		return tx.PutRecentUsage(ctx, []store.RecentUsage{recent(7, most, "B")})
	})
	rows[1].Body = []byte("B")

	keys := []store.UsageKey{at(29_000_000, 2), at(7, 1), at(7, 2), at(8, 1), at(7, most)}
	for n := range int64(1500) { // that aren't there
		keys = append(keys, at(1000+n, 1))
	}
	got := look(d, func(ctx context.Context, tx *store.Tx) ([]store.RecentUsage, error) { return tx.RecentUsage(ctx, keys) })
	for i := range got {
		got[i].Body = bytes.Clone(got[i].Body)
		if got[i].Body == nil {
			got[i].Body = []byte{}
		}
	}
	d.same("rows", got, rows)
	list := func(from, before int64, limit int) []store.UsageKey {
		return look(d, func(ctx context.Context, tx *store.Tx) ([]store.UsageKey, error) {
			return tx.RecentUsageKeys(ctx, from, before, limit)
		})
	}
	d.same("keys", list(7, 9, 10), []store.UsageKey{at(7, 1), at(7, most), at(8, 1)})
	d.same("keys before a minute", list(0, 8, 10), []store.UsageKey{at(7, 1), at(7, most)})
	d.same("the oldest key", list(0, 1<<30, 1), []store.UsageKey{at(7, 1)})
	d.write(func(ctx context.Context, tx *store.Tx) error {
		n, err := tx.DropRecentUsage(ctx, 7, 8)
		d.same("removed", n, int64(2))
		return err
	})
	d.same("keys after that", list(0, 1<<30, 10), []store.UsageKey{at(8, 1), at(29_000_000, 2)})
}

func (d *db) keptUsage() {
	kept := func(vmID string, width int64, begins usage.Slot, text string) store.KeptUsage {
		return store.KeptUsage{VM: vmID, Width: width, Begins: begins, Body: []byte(text)}
	}
	rows := []store.KeptUsage{kept("0xA", 4, 0, "a\x00"), kept("0xA", 4, 960, "b"), kept("0xA", 40, 0, "c"), kept("0xB", 4, 0, "d")}
	d.write(func(ctx context.Context, tx *store.Tx) error { return tx.PutUsage(ctx, rows) })
	rows[1].Body = []byte("BB")
	d.write(func(ctx context.Context, tx *store.Tx) error { return tx.PutUsage(ctx, rows[1:2]) })
	list := func(vmID string, width int64, from, to usage.Slot) []store.KeptUsage {
		return look(d, func(ctx context.Context, tx *store.Tx) ([]store.KeptUsage, error) {
			return tx.Usage(ctx, vmID, width, from, to)
		})
	}
	d.same("minutes", list("0xA", 4, 0, 5000), rows[:2])
	d.same("minutes from then on", list("0xA", 4, 1, 961), rows[1:2])
	d.same("minutes before", list("0xA", 4, 0, 960), rows[:1])
	d.same("tens", list("0xA", 40, 0, 5000), rows[2:3])
	drop := func(width int64, before usage.Slot, limit int) (n int64) {
		d.write(func(ctx context.Context, tx *store.Tx) (err error) {
			n, err = tx.DropUsage(ctx, width, before, limit)
			return err
		})
		return n
	}
	d.same("removed at once", []int64{drop(4, 960, 1), drop(4, 960, 10), drop(4, 960, 10)}, []int64{1, 1, 0})
	d.same("what stays", slices.Concat(list("0xA", 4, 0, 5000), list("0xA", 40, 0, 5000), list("0xB", 4, 0, 5000)), rows[1:3])
}

func (d *db) metered() {
	d.furnish()
	there, other, left, gone := machine(1), machine(2), machine(3), machine(4)
	left.KnownAs, gone.Gone = other.ID, true
	gone.Address = gone.Address.Next()
	d.write(func(ctx context.Context, tx *store.Tx) error {
		for _, v := range []vm.VM{there, other, left, gone} {
			if err := tx.InsertVM(ctx, v); err != nil {
				return err
			}
		}
		return nil
	})
	d.write(func(ctx context.Context, tx *store.Tx) error { return tx.UpdateVM(ctx, gone) })
	d.read(func(ctx context.Context, tx *store.Tx) error {
		number, ids, err := tx.Metered(ctx, server)
		d.same("number", number, uint32(1))
		d.same("VMs", ids, []string{there.ID, other.ID})
		return err
	})
	if err := d.Read(d.t.Context(), func(tx *store.Tx) error {
		_, _, err := tx.Metered(d.t.Context(), "srv_nobody")
		return err
	}); !fault.Is(err, fault.NotFound) {
		d.t.Errorf("Metered of no server = %v, want a NotFound fault", err)
	}
	d.same("numbers", look(d, func(ctx context.Context, tx *store.Tx) (map[string]uint32, error) {
		return tx.NumbersOf(ctx, []string{"srv_nobody", server})
	}), map[string]uint32{server: 1})
}
