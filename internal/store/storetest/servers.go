package storetest

import (
	"context"
	"net/netip"
	"time"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/store"
)

func (d *db) server() store.Server {
	d.t.Helper()
	return look(d, func(ctx context.Context, tx *store.Tx) (store.Server, error) { return tx.Server(ctx, server) })
}

func (d *db) take(v capacity.Vector) (ok bool) {
	d.t.Helper()
	d.write(func(ctx context.Context, tx *store.Tx) (err error) {
		ok, err = tx.Take(ctx, server, v)
		return err
	})
	return ok
}

func (d *db) used() capacity.Vector {
	d.t.Helper()
	return look(d, func(ctx context.Context, tx *store.Tx) ([]market.Offer, error) { return tx.Offers(ctx) })[0].Servers[0].Used
}

var servers = map[string]func(*db){
	"servers": func(d *db) {
		d.furnish()
		d.same("Server", d.server(), full)
		d.same("ServerByKey", look(d, func(ctx context.Context, tx *store.Tx) (string, error) { return tx.ServerByKey(ctx, "key") }), server)
		d.refuses("an unknown server", fault.NotFound, func(ctx context.Context, tx *store.Tx) error {
			_, err := tx.Server(ctx, "srv_no")
			return err
		})
		d.refuses("an unknown key", fault.NotFound, func(ctx context.Context, tx *store.Tx) error {
			_, err := tx.ServerByKey(ctx, "")
			return err
		})
		d.refuses("an agent's key twice", fault.Internal, func(ctx context.Context, tx *store.Tx) error {
			return tx.InsertServer(ctx, store.Server{ID: "srv_2", OfferID: offer, AgentKey: "key", Inventory: inventory})
		})
		last := netip.MustParseAddr("192.0.2.3")
		d.write(func(ctx context.Context, tx *store.Tx) error { return tx.SetLastAddress(ctx, server, last) })
		d.write(func(ctx context.Context, tx *store.Tx) error { return tx.Revise(ctx, server) })
		want := full
		want.LastAddress, want.Revision = last, 2
		d.same("Server after its changes", d.server(), want)
	},
	"a report is heard once": func(d *db) {
		d.furnish()
		small := inventory
		small.Total = capacity.Vector{VCPU: 2, RAMGiB: 2, StorageGiB: 2, Addresses: 2}
		later := now.Add(time.Minute)
		for _, step := range []struct {
			sequence int64
			want     bool
		}{{0, false}, {5, true}, {5, false}, {4, false}, {6, true}} {
			d.write(func(ctx context.Context, tx *store.Tx) error {
				got, err := tx.Heard(ctx, server, step.sequence, small, later)
				d.same(unique("Heard", int(step.sequence)), got, step.want)
				return err
			})
		}
		want := full
		want.ReportSequence, want.Inventory, want.SeenAt = 6, small, later.UTC()
		d.same("Server", d.server(), want)
		d.same("takes more than is left", d.take(capacity.Vector{VCPU: 3}), false)
		d.write(func(ctx context.Context, tx *store.Tx) error {
			got, err := tx.Heard(ctx, "srv_no", 1, small, later)
			d.same("Heard of an unknown server", got, false)
			return err
		})
	},
	"capacity is taken whole or not at all": func(d *db) {
		d.furnish()
		total := inventory.Total
		for _, more := range []capacity.Vector{{VCPU: 1}, {RAMGiB: 1}, {StorageGiB: 1}, {Addresses: 1}} {
			d.same("takes "+total.Add(more).String(), d.take(total.Add(more)), false)
		}
		d.same("used", d.used(), capacity.Vector{})
		d.same("takes all", d.take(total), true)
		d.same("takes one more address", d.take(capacity.Vector{Addresses: 1}), false)
		d.same("used", d.used(), total)
		d.write(func(ctx context.Context, tx *store.Tx) error {
			return tx.GiveBack(ctx, server, capacity.Vector{VCPU: 1, RAMGiB: 2, StorageGiB: 3, Addresses: 4})
		})
		d.same("used after some was given back", d.used(), capacity.Vector{VCPU: 7, RAMGiB: 14, StorageGiB: 97})
		d.refuses("to give back what was never taken", fault.Internal, func(ctx context.Context, tx *store.Tx) error {
			return tx.GiveBack(ctx, server, capacity.Vector{Addresses: 1})
		})
	},
	"capacity is not taken twice at once": func(d *db) {
		d.furnish()
		taken := make([]bool, 20)
		for _, err := range together(len(taken), func(i int) error {
			return d.try(func(ctx context.Context, tx *store.Tx) (err error) {
				taken[i], err = tx.Take(ctx, server, capacity.Vector{VCPU: 2, RAMGiB: 4, StorageGiB: 30, Addresses: 1})
				return err
			})
		}) {
			if err != nil {
				d.t.Errorf("Take: %v", err)
			}
		}
		count := 0
		for _, ok := range taken {
			if ok {
				count++
			}
		}
		d.same("how many were taken", count, 3)
		d.same("used", d.used(), capacity.Vector{VCPU: 6, RAMGiB: 12, StorageGiB: 90, Addresses: 3})
	},
}
