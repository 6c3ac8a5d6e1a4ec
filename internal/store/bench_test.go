package store_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/store/storetest"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// What a group of orders costs in the store, without their choice.
func BenchmarkOrders(b *testing.B) {
	for _, e := range storetest.Engines() {
		for _, size := range []int{1, 8, 32, 1000} {
			b.Run(fmt.Sprintf("%s/%d", e.Name, size), func(b *testing.B) { benchmarkOrders(b, e.Open(b), size) })
		}
	}
}

func benchmarkOrders(b *testing.B, s *store.Store, size int) {
	b.Helper()
	const servers = 2000
	ctx, now := b.Context(), benchTime
	furnish(b, s, servers)
	next := 0
	for b.Loop() {
		if err := s.Write(ctx, func(tx *store.Tx) error {
			var o store.Orders
			takings := map[string]*store.Taking{}
			for range size {
				next++
				server := fmt.Sprintf("srv_%06d", (next*7919)%servers)
				v := benchVM(next, server)
				hold, err := ledger.Reservation(now, "acc", v.ID, v.Price)
				if err != nil {
					return err
				}
				o.VMs, o.Entries = append(o.VMs, v), append(o.Entries, hold)
				o.Events = append(o.Events, store.EventOf{VM: v.ID, Event: vm.Event{At: now, Key: "accepted", Text: "accepted at 0.3 USDC per epoch and placed in us-nyc-1; a deposit of 0.6 USDC is reserved"}})
				if takings[server] == nil {
					takings[server] = &store.Taking{Server: server, Ordered: true}
				}
				takings[server].Address = v.Address
				takings[server].Amount = takings[server].Amount.Add(capacity.Vector{VCPU: 2, RAMGiB: 4, StorageGiB: 25, Addresses: 1})
			}
			var list []store.Taking
			for _, t := range takings {
				list = append(list, *t)
			}
			tx.Take(list)
			return tx.StoreOrders(ctx, o)
		}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*size), "us/VM")
}

// benchTime is when all that benches store is made.
var benchTime = time.Unix(1_800_000_000, 0)

// furnish writes an account and servers that are never full.
func furnish(b *testing.B, s *store.Store, servers int) {
	b.Helper()
	ctx, now := b.Context(), benchTime
	if err := s.Write(ctx, func(tx *store.Tx) error {
		if err := tx.InsertAccount(ctx, account.Account{ID: "acc", CreatedAt: now}); err != nil {
			return err
		}
		if err := tx.InsertProvider(ctx, "prv", "acc", "prv", now); err != nil {
			return err
		}
		place := market.Datacenter{ID: "dc", ProviderID: "prv", Country: "US", City: "NYC", Index: 1, Tier: 1}
		if err := tx.InsertDatacenter(ctx, place); err != nil {
			return err
		}
		if err := tx.InsertOffer(ctx, market.Offer{ID: "off", Name: "off", ProviderID: "prv", Datacenter: place}, now); err != nil {
			return err
		}
		list := make([]store.Server, servers)
		for i := range list {
			name := fmt.Sprintf("srv_%06d", i)
			huge := capacity.Vector{VCPU: 1 << 40, RAMGiB: 1 << 40, StorageGiB: 1 << 40, Addresses: 1 << 40}
			list[i] = store.Server{ID: name, Name: name, OfferID: "off", AgentKey: name, Inventory: capacity.Inventory{Total: huge, VCPUPerThread: 1}, SeenAt: now, CreatedAt: now}
		}
		if _, err := tx.Post(ctx, ledger.Credit(now, "acc", 1<<50, "", "1")); err != nil {
			return err
		}
		return tx.InsertServers(ctx, list)
	}); err != nil {
		b.Fatal(err)
	}
}

// benchVM returns the nth VM.
func benchVM(n int, server string) vm.VM {
	return vm.VM{
		ID: fmt.Sprintf("0x%040d", n), AccountID: "acc", ServerID: server, OfferID: "off", ProviderID: "prv", DatacenterID: "dc", Name: "bench",
		Spec: vm.Spec{Hostname: "bench", Image: "https://images.example/none.qcow2"}, Goal: vm.Run, Generation: 1, State: vm.New, Since: benchTime, Reason: "waiting for its server",
		Deadline: benchTime.Add(time.Hour), Epoch: 24 * time.Hour, CreatedAt: benchTime, Price: 1000, Parts: vm.Parts{400, 300, 200, 100},
		Address: netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}),
	}
}
