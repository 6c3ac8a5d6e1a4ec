package storetest

import (
	"context"
	"errors"
	"time"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/store"
)

// earned writes a day of charges of two VMs, and a return on the next.
func (d *db) earned() (first, second string) {
	d.t.Helper()
	d.furnish()
	a, b := machine(1), machine(2)
	day := time.Date(2026, 3, 1, 23, 59, 59, 999_999_000, time.UTC)
	d.write(func(ctx context.Context, tx *store.Tx) error {
		if err := errors.Join(tx.InsertVM(ctx, a), tx.InsertVM(ctx, b)); err != nil {
			return err
		}
		for _, e := range []ledger.Entry{
			ledger.Credit(day, anna, 1000, "", "1"),
			{At: day, Kind: ledger.Hold, From: ledger.Customer(anna), To: ledger.Reserve(a.ID), Amount: 500, VM: a.ID, Key: "hold:a"},
			{At: day, Kind: ledger.Hold, From: ledger.Customer(anna), To: ledger.Reserve(b.ID), Amount: 500, VM: b.ID, Key: "hold:b"},
			ledger.Rent(day.Add(-time.Hour), a.AccountID, a.ID, prov, 100, 1),
			ledger.Rent(day.Add(-time.Minute), b.AccountID, b.ID, prov, 40, 1),
			ledger.Rent(day, a.AccountID, a.ID, prov, 100, 2),
			ledger.Rent(day, b.AccountID, b.ID, "prv_other", 7, 2),
			ledger.Undelivered(day.Add(time.Microsecond), a.AccountID, a.ID, prov, 30, 2),
			ledger.Undelivered(day.Add(time.Microsecond), b.AccountID, b.ID, "prv_other", 5, 2),
		} {
			if _, err := tx.Post(ctx, e); err != nil {
				return err
			}
		}
		return nil
	})
	return a.ID, b.ID
}

var earnings = map[string]func(*db){
	"earnings by VM, server and day": func(d *db) {
		first, second := d.earned()
		sum := func(by store.EarningsBy, since time.Time, limit int) []store.Earning {
			return look(d, func(ctx context.Context, tx *store.Tx) ([]store.Earning, error) {
				return tx.Earnings(ctx, prov, by, since, limit)
			})
		}
		a, b := store.Earning{Key: first, Charged: 200, Returned: 30, Epochs: 2}, store.Earning{Key: second, Charged: 40, Epochs: 1}
		d.same("by VM", sum(store.EarningsByVM, time.Time{}, 9), []store.Earning{a, b})
		d.same("the newest one", sum(store.EarningsByVM, time.Time{}, 1), []store.Earning{a})
		d.same("by server", sum(store.EarningsByServer, time.Time{}, 9), []store.Earning{{Key: server, ServerName: full.Name, Charged: 240, Returned: 30, Epochs: 3}})
		next, last := store.Earning{Key: "2026-03-02", Returned: 30}, store.Earning{Key: "2026-03-01", Charged: 240, Epochs: 3}
		d.same("by day", sum(store.EarningsByDay, time.Time{}, 9), []store.Earning{next, last})
		d.same("since midnight", sum(store.EarningsByDay, time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC), 9), []store.Earning{next})
		d.refuses("earnings by year", fault.Invalid, func(ctx context.Context, tx *store.Tx) error {
			_, err := tx.Earnings(ctx, prov, "year", time.Time{}, 9)
			return err
		})
	},
	"what was returned of an epoch": func(d *db) {
		first, _ := d.earned()
		returned := func(vmID string, epoch int64) money.Amount {
			return look(d, func(ctx context.Context, tx *store.Tx) (money.Amount, error) { return tx.Returned(ctx, vmID, epoch) })
		}
		d.same("returned", []money.Amount{returned(first, 2), returned(first, 1), returned("0x3", 1)}, []money.Amount{30, 0, 0})
	},
	"a provider's servers": func(d *db) {
		d.furnish()
		named := store.Server{ID: "srv_2", Name: "one", OfferID: offer, AgentKey: "key 2", Inventory: inventory, SeenAt: now.UTC(), CreatedAt: now.UTC()}
		here, there := machine(1), machine(2)
		there.Gone = true
		d.write(func(ctx context.Context, tx *store.Tx) error {
			return errors.Join(tx.InsertServer(ctx, named), tx.InsertVM(ctx, here), tx.InsertVM(ctx, there))
		})
		find := func(provider, given string) (id string) {
			d.read(func(ctx context.Context, tx *store.Tx) error {
				s, err := tx.ProviderServer(ctx, provider, given)
				if id = s.ID; fault.Is(err, fault.NotFound) {
					return nil
				}
				return err
			})
			return id
		}
		counts := func(accountID string) map[string]int {
			return look(d, func(ctx context.Context, tx *store.Tx) (map[string]int, error) {
				return tx.ServerCounts(ctx, accountID)
			})
		}
		d.same("found", []string{find(prov, server), find(prov, "srv_2"), find(prov, "one"), find(prov, ""), find("prv_2", server), find(prov, "x")},
			[]string{server, "srv_2", "srv_2", "", "", ""})
		d.same("counts", []map[string]int{counts(""), counts(bert), counts(anna)}, []map[string]int{{prov: 2}, {prov: 2}, {}})
		d.same("VMs", look(d, func(ctx context.Context, tx *store.Tx) (map[string]int, error) { return tx.VMCounts(ctx, prov) }), map[string]int{server: 1})
		d.write(func(ctx context.Context, tx *store.Tx) error {
			s, err := tx.Server(ctx, "srv_2")
			s.State = market.ServerRemoved
			return errors.Join(err, tx.UpdateServer(ctx, s))
		})
		d.same("found once it is removed", []string{find(prov, "srv_2"), find(prov, "one")}, []string{"srv_2", ""})
		d.same("counts", counts(""), map[string]int{prov: 1})
	},
	"a provider's datacenters": func(d *db) {
		d.furnish()
		other := market.Datacenter{ID: "dc_2", ProviderID: prov, Country: "US", City: "NYC", Index: 12, Tier: 1, Certifications: []string{}}
		d.write(func(ctx context.Context, tx *store.Tx) error { return tx.InsertDatacenter(ctx, other) })
		own := func() []market.Datacenter {
			return look(d, func(ctx context.Context, tx *store.Tx) ([]market.Datacenter, error) {
				return tx.ProviderDatacenters(ctx, prov)
			})
		}
		city := func(name string) []market.Datacenter {
			return look(d, func(ctx context.Context, tx *store.Tx) ([]market.Datacenter, error) {
				return tx.CityDatacenters(ctx, "US", name)
			})
		}
		d.same("own ones", own(), []market.Datacenter{place, other})
		d.same("in the city", city("NYC"), []market.Datacenter{place, other})
		d.same("in another city", len(city("LAX")), 0)
		d.write(func(ctx context.Context, tx *store.Tx) error { return tx.DeleteDatacenter(ctx, other.ID) })
		d.same("own ones", own(), []market.Datacenter{place})
		d.refuses("to delete one with offers", fault.Internal, func(ctx context.Context, tx *store.Tx) error { return tx.DeleteDatacenter(ctx, center) })
		d.same("capacity", d.server().Used, capacity.Vector{})
	},
}
