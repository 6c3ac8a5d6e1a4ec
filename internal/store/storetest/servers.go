package storetest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

func (d *db) server() store.Server {
	d.t.Helper()
	return look(d, func(ctx context.Context, tx *store.Tx) (store.Server, error) { return tx.Server(ctx, server) })
}

// take reports whether the server had room.
func (d *db) take(v capacity.Vector) bool {
	d.t.Helper()
	err := d.try(func(_ context.Context, tx *store.Tx) error {
		tx.Take([]store.Taking{{Server: server, Amount: v}})
		return nil
	})
	if err != nil && !fault.Is(err, fault.Conflict) {
		d.t.Errorf("Take: %v", err)
	}
	return err == nil
}

func (d *db) used() capacity.Vector {
	d.t.Helper()
	return d.server().Used
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
		d.write(func(ctx context.Context, tx *store.Tx) error { return tx.Revise(ctx, server) })
		d.write(func(ctx context.Context, tx *store.Tx) error { return tx.Heard(ctx, server, 9, now.Add(time.Minute)) })
		want := full
		want.Revision, want.ReportSequence, want.SeenAt = 2, 9, now.Add(time.Minute).UTC()
		d.same("Server after its changes", d.server(), want)
	},
	"a server is written whole": func(d *db) {
		d.furnish()
		before := d.revision()
		want := full
		want.Name, want.Problem, want.State, want.MeasureWanted, want.ListEpoch, want.Instances = "rack-8", "inventory: odd", market.ServerDraining, 3, 2, []string{"b", "a"}
		want.DrainDeadline, want.SilentSince = now.Add(time.Hour).UTC(), now.Add(-time.Hour).UTC()
		want.Inventory.Total = capacity.Vector{VCPU: 2, RAMGiB: 2, StorageGiB: 2, Addresses: 2}
		want.Inventory.Declared = []string{"hardware.cpu.brand"}
		want.Inventory.Measured = &capacity.Measured{At: now.UTC(), CPUSingle: 1234.5, DiskFsync: 0.25}
		d.write(func(ctx context.Context, tx *store.Tx) error { return tx.UpdateServer(ctx, want) })
		d.same("Server", d.server(), want)
		d.same("takes more than is left", d.take(capacity.Vector{VCPU: 3}), false)
		changes := d.changes(before)
		d.same("changes", changes.Servers, []market.Server{{
			Number: 1, OfferID: offer, Hardware: hardware, Capacity: want.Inventory.Total, VCPUPerThread: 2, Measured: want.Inventory.Measured,
		}})
	},
	"servers by what is wanted of them": func(d *db) {
		d.furnish()
		quiet, gone := full, full
		quiet.ID, quiet.AgentKey, quiet.Name, quiet.SeenAt = "srv_2", "key 2", "", now.Add(-time.Hour)
		gone.ID, gone.AgentKey, gone.Name, gone.SeenAt = "srv_3", "key 3", "", now.Add(-2*time.Hour)
		d.write(func(ctx context.Context, tx *store.Tx) error {
			return tx.InsertServers(ctx, []store.Server{quiet, gone})
		})
		silent := func() []string {
			return look(d, func(ctx context.Context, tx *store.Tx) ([]string, error) { return tx.SilentServers(ctx, now, 10) })
		}
		d.same("SilentServers, the longest silent first", silent(), []string{"srv_3", "srv_2"})
		gone.State, gone.Number = market.ServerRemoved, 3
		quiet.DrainDeadline, quiet.SilentSince, quiet.Number = now, now, 2
		d.write(func(ctx context.Context, tx *store.Tx) error {
			return errors.Join(tx.UpdateServer(ctx, gone), tx.UpdateServer(ctx, quiet))
		})
		d.same("SilentServers that are known", silent(), []string{})
		d.same("DrainedServers", look(d, func(ctx context.Context, tx *store.Tx) ([]string, error) { return tx.DrainedServers(ctx, now, 10) }), []string{"srv_2"})
		d.same("DrainedServers before", look(d, func(ctx context.Context, tx *store.Tx) ([]string, error) {
			return tx.DrainedServers(ctx, now.Add(-time.Microsecond), 10)
		}), []string{})
		ids := func(list []store.Server, err error) ([]string, error) {
			out := []string{}
			for _, s := range list {
				out = append(out, s.ID)
			}
			return out, err
		}
		d.same("ProviderServers", look(d, func(ctx context.Context, tx *store.Tx) ([]string, error) { return ids(tx.ProviderServers(ctx, prov)) }), []string{server, "srv_2"})
		d.same("ServersByNumber", look(d, func(ctx context.Context, tx *store.Tx) ([]string, error) {
			return ids(tx.ServersByNumber(ctx, []int64{3, 1, 9}))
		}), []string{server, "srv_3"})
		d.same("ServersByID", look(d, func(ctx context.Context, tx *store.Tx) ([]string, error) {
			return ids(tx.ServersByID(ctx, []string{"srv_2", "srv_9"}))
		}), []string{"srv_2"})
	},
	"a server's story is short": func(d *db) {
		d.furnish()
		d.write(func(ctx context.Context, tx *store.Tx) error {
			for i := range 510 {
				if err := tx.PutServerEvent(ctx, server, vm.Event{At: now.Add(time.Duration(i)), Key: fmt.Sprint(i), Text: "text"}); err != nil {
					return err
				}
			}
			return tx.PutServerEvent(ctx, server, vm.Event{At: now, Key: "509", Text: "newer text"})
		})
		events := look(d, func(ctx context.Context, tx *store.Tx) ([]vm.Event, error) { return tx.ServerEvents(ctx, server) })
		d.same("how many lines are kept", len(events), 500)
		d.same("the last line", events[499].Text, "newer text")
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
		together(len(taken), func(i int) error {
			taken[i] = d.take(capacity.Vector{VCPU: 2, RAMGiB: 4, StorageGiB: 30, Addresses: 1})
			return nil
		})
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
