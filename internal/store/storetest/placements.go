package storetest

import (
	"context"
	"net/netip"
	"time"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

var placements = map[string]func(*db){
	"servers are taken from together": func(d *db) {
		d.furnish()
		second := full
		second.ID, second.AgentKey = "srv_2", "key 2"
		d.write(func(ctx context.Context, tx *store.Tx) error { return tx.InsertServer(ctx, second) })
		one := capacity.Vector{VCPU: 2, RAMGiB: 4, StorageGiB: 25, Addresses: 1}
		last := netip.MustParseAddr("192.0.2.3")
		d.write(func(_ context.Context, tx *store.Tx) error {
			tx.Take([]store.Taking{{Server: server, Amount: one, Address: last, Ordered: true}, {Server: "srv_2", Amount: one.Add(one)}})
			return nil
		})
		want := full
		want.Used, want.LastAddress, want.Revision = one, last, 2
		d.same("the first", d.server(), want)
		second.Number, second.Used = 2, one.Add(one)
		d.same("the second", look(d, func(ctx context.Context, tx *store.Tx) (store.Server, error) { return tx.Server(ctx, "srv_2") }), second)
		d.refuses("more than one of them has", fault.Conflict, func(_ context.Context, tx *store.Tx) error {
			tx.Take([]store.Taking{{Server: server, Amount: one}, {Server: "srv_2", Amount: inventory.Total}})
			return nil
		})
		d.refuses("an unknown server", fault.Conflict, func(_ context.Context, tx *store.Tx) error {
			tx.Take([]store.Taking{{Server: "srv_no", Amount: one}})
			return nil
		})
		d.same("the first after the refusals", d.server(), want)
	},
	"more rows than a statement carries": func(d *db) {
		d.furnish()
		const n = 600
		var list []vm.VM
		var entries []ledger.Entry
		var events []store.EventOf
		var answers []store.Answer
		for i := range n {
			v := machine(i + 1)
			v.Address = netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
			hold, err := ledger.Reservation(now, anna, v.ID, 3)
			if err != nil {
				d.t.Fatal(err)
			}
			list, entries = append(list, v), append(entries, hold)
			events = append(events, store.EventOf{VM: v.ID, Event: vm.Event{At: now, Key: "accepted", Text: "it's \"?\""}})
			answers = append(answers, store.Answer{AccountID: anna, Key: v.ID, Request: "r", Answer: "a", CreatedAt: now.UTC()})
		}
		all := store.Orders{VMs: list, Entries: entries, Events: events, Answers: answers}
		write := func(ctx context.Context, tx *store.Tx) error { return tx.StoreOrders(ctx, all) }
		d.refuses("holds of an empty account", fault.Unaffordable, write)
		d.write(func(ctx context.Context, tx *store.Tx) error {
			_, err := tx.Post(ctx, ledger.Credit(now, anna, 12*n+1, "test", "1"))
			return err
		})
		d.write(write)
		d.refuses("the same again", fault.Internal, write)
		taken := list[n-1]
		taken.ID = machine(n + 1).ID
		d.refuses("an address that is taken", fault.Internal, func(ctx context.Context, tx *store.Tx) error { return tx.InsertVM(ctx, taken) })
		balances := look(d, func(ctx context.Context, tx *store.Tx) (map[ledger.Account]money.Amount, error) {
			return tx.Balances(ctx, []ledger.Account{ledger.Customer(anna), ledger.Reserve(list[n-1].ID), ledger.Customer(bert)})
		})
		d.same("Balances", balances, map[ledger.Account]money.Amount{ledger.Customer(anna): 6*n + 1, ledger.Reserve(list[n-1].ID): 6})
		d.books(n + 1)
		want := stored(list[n-1])
		want.Reserved = 6
		d.same("the last VM", look(d, func(ctx context.Context, tx *store.Tx) (vm.VM, error) { return tx.VM(ctx, want.ID) }), want)
		d.same("its story", look(d, func(ctx context.Context, tx *store.Tx) ([]vm.Event, error) { return tx.Events(ctx, want.ID) }),
			[]vm.Event{{At: now.UTC(), Key: "accepted", Text: "it's \"?\""}})
		d.same("Answers", look(d, func(ctx context.Context, tx *store.Tx) ([]store.Answer, error) {
			return tx.Answers(ctx, []store.Answer{{AccountID: anna, Key: want.ID}, {AccountID: bert, Key: want.ID}, {AccountID: anna, Key: "no"}})
		}), answers[n-1:])
		d.same("Load", look(d, func(ctx context.Context, tx *store.Tx) (map[uint32]int, error) { return tx.Load(ctx, anna) }), map[uint32]int{1: n})
		d.same("Load of another", look(d, func(ctx context.Context, tx *store.Tx) (map[uint32]int, error) { return tx.Load(ctx, bert) }), map[uint32]int{})
		for group, servers := range map[string]map[uint32]int{"db": {1: n}, "web": {}, "": {}} {
			d.same("AffinityServers of "+group, look(d, func(ctx context.Context, tx *store.Tx) (map[uint32]int, error) {
				return tx.AffinityServers(ctx, anna, group)
			}), servers)
		}
	},
}

var quotes = map[string]func(*db){
	"quotes": func(d *db) {
		d.furnish()
		q := store.Quote{
			ID: "quo_1", AccountID: anna, CreatedAt: now.UTC(), ExpiresAt: now.Add(time.Minute).UTC(),
			Places: []store.Place{{Server: server, Number: 1, Offer: offer, Amount: inventory.Total, Config: "cpu-2-ram-4gb-storage-25gb", StorageGiB: 30, Price: 7}},
		}
		d.write(func(ctx context.Context, tx *store.Tx) error { return tx.InsertQuote(ctx, q) })
		quote := func() store.Quote {
			return look(d, func(ctx context.Context, tx *store.Tx) (store.Quote, error) { return tx.Quote(ctx, q.ID) })
		}
		open := func(accountID string) []store.Quote {
			return look(d, func(ctx context.Context, tx *store.Tx) ([]store.Quote, error) { return tx.OpenQuotes(ctx, accountID) })
		}
		expired := func(at time.Time) []store.Quote {
			return look(d, func(ctx context.Context, tx *store.Tx) ([]store.Quote, error) { return tx.ExpiredQuotes(ctx, at, 10) })
		}
		d.same("Quote", quote(), q)
		d.same("OpenQuotes", open(anna), []store.Quote{q})
		d.same("OpenQuotes of another", open(bert), []store.Quote{})
		d.same("ExpiredQuotes just before", expired(q.ExpiresAt.Add(-time.Microsecond)), []store.Quote{})
		d.same("ExpiredQuotes", expired(q.ExpiresAt), []store.Quote{q})
		end := func(want bool) {
			d.write(func(ctx context.Context, tx *store.Tx) error {
				ended, err := tx.EndQuote(ctx, q.ID, now)
				d.same("EndQuote", ended, want)
				return err
			})
		}
		end(true)
		end(false)
		q.EndedAt = now.UTC()
		d.same("Quote that ended", quote(), q)
		d.same("OpenQuotes at the end", open(anna), []store.Quote{})
		d.same("ExpiredQuotes at the end", expired(q.ExpiresAt), []store.Quote{})
		d.refuses("an unknown quote", fault.NotFound, func(ctx context.Context, tx *store.Tx) error {
			_, err := tx.Quote(ctx, "quo_no")
			return err
		})
	},
}
