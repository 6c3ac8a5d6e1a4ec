package storetest

import (
	"context"
	"errors"
	"time"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/store"
)

// revision returns the revision of the marketplace.
func (d *db) revision() int64 {
	d.t.Helper()
	return look(d, func(ctx context.Context, tx *store.Tx) (int64, error) { return tx.MarketRevision(ctx) })
}

func (d *db) changes(since int64) market.Changes {
	d.t.Helper()
	return look(d, func(ctx context.Context, tx *store.Tx) (market.Changes, error) { return tx.MarketChanges(ctx, since) })
}

func (d *db) serverIn(ctx context.Context, tx *store.Tx) store.Server {
	d.t.Helper()
	s, err := tx.Server(ctx, server)
	if err != nil {
		d.t.Fatal(err)
	}
	return s
}

var markets = map[string]func(*db){
	"providers": func(d *db) {
		d.furnish()
		nord := store.Provider{ID: prov, AccountID: bert, Name: "Nord", CreatedAt: now.UTC()}
		for _, name := range []string{"Nord", prov} {
			d.same("ProviderByName", look(d, func(ctx context.Context, tx *store.Tx) (store.Provider, error) { return tx.ProviderByName(ctx, name) }), nord)
		}
		for accountID, want := range map[string][]store.Provider{"": {nord}, bert: {nord}, anna: {}} {
			d.same("Providers of "+accountID, look(d, func(ctx context.Context, tx *store.Tx) ([]store.Provider, error) { return tx.Providers(ctx, accountID) }), want)
		}
		d.refuses("an unknown name", fault.NotFound, func(ctx context.Context, tx *store.Tx) error {
			_, err := tx.ProviderByName(ctx, "nord")
			return err
		})
		d.refuses("a name twice", fault.Internal, func(ctx context.Context, tx *store.Tx) error {
			return tx.InsertProvider(ctx, "prv_2", anna, "Nord", now)
		})
	},
	"datacenters": func(d *db) {
		d.furnish()
		bare := market.Datacenter{ID: "dc_0", ProviderID: prov, Country: "DE", City: "FRA", Index: 2, Tier: 1}
		insert := func(dc market.Datacenter) func(context.Context, *store.Tx) error {
			return func(ctx context.Context, tx *store.Tx) error { return tx.InsertDatacenter(ctx, dc) }
		}
		d.write(insert(bare))
		want := bare
		want.Certifications = []string{}
		d.same("Datacenters by slug", look(d, func(ctx context.Context, tx *store.Tx) ([]market.Datacenter, error) { return tx.Datacenters(ctx) }),
			[]market.Datacenter{want, place})
		d.same("DatacenterBySlug", look(d, func(ctx context.Context, tx *store.Tx) (market.Datacenter, error) {
			return tx.DatacenterBySlug(ctx, "de-fra-2")
		}), want)
		d.same("DatacentersByID", look(d, func(ctx context.Context, tx *store.Tx) ([]market.Datacenter, error) {
			return tx.DatacentersByID(ctx, []string{"dc_0", "dc_9"})
		}), []market.Datacenter{want})
		bare.ID = "dc_3"
		d.refuses("a slug twice", fault.Internal, insert(bare))
		bare.Index, bare.Tier = 3, 5
		d.refuses("tier 5", fault.Internal, insert(bare))
	},
	"offers": func(d *db) {
		d.furnish()
		offers := func() []market.Offer {
			return look(d, func(ctx context.Context, tx *store.Tx) ([]market.Offer, error) { return tx.ProviderOffers(ctx, prov) })
		}
		want := market.Offer{
			ID: offer, Name: "epyc", ProviderID: prov, Provider: "Nord", Datacenter: place, Hardware: hardware, Prices: prices, MaxExtraStorage: 7,
		}
		d.same("ProviderOffers", offers(), []market.Offer{want})
		second := market.Offer{ID: "off_0", Name: "any", ProviderID: prov, Provider: "Nord", Datacenter: place}
		d.write(func(ctx context.Context, tx *store.Tx) error { return tx.InsertOffer(ctx, second, now) })
		d.same("ProviderOffers by name", offers(), []market.Offer{second, want})
		d.refuses("a name twice", fault.Internal, func(ctx context.Context, tx *store.Tx) error {
			return tx.InsertOffer(ctx, market.Offer{ID: "off_2", Name: "any", ProviderID: prov, Datacenter: place}, now)
		})
		want.Prices, want.Hardware.CPU.Brand, want.MaxExtraStorage, want.Withdrawn = market.Prices{VCPU: 5, RAM: 6, Storage: 7, Address: 8}, "", 9, true
		d.write(func(ctx context.Context, tx *store.Tx) error { return tx.UpdateOffer(ctx, want, now) })
		d.same("after UpdateOffer", offers(), []market.Offer{second, want})
		want.Prices.RAM = -1
		d.refuses("a negative price", fault.Internal, func(ctx context.Context, tx *store.Tx) error { return tx.UpdateOffer(ctx, want, now) })
	},
	"what changed is found by its revision": func(d *db) {
		d.furnish()
		all := d.changes(0)
		sold := market.Server{Number: 1, OfferID: offer, Hardware: hardware, Capacity: inventory.Total, VCPUPerThread: 2, Open: true}
		d.same("servers at first", all.Servers, []market.Server{sold})
		d.same("offers at first", len(all.Offers), 1)
		if later := d.changes(all.Revision); later.Revision != all.Revision || len(later.Offers)+len(later.Servers) > 0 {
			d.t.Errorf("nothing changed, got %+v", later)
		}
		one := capacity.Vector{VCPU: 2, RAMGiB: 4, StorageGiB: 25, Addresses: 1}
		d.same("takes", d.take(one), true)
		taken := d.changes(all.Revision)
		sold.Used = one
		d.same("the server that was taken from", taken.Servers, []market.Server{sold})
		d.same("offers that did not change", len(taken.Offers), 0)
		d.write(func(ctx context.Context, tx *store.Tx) error {
			dc := place
			dc.Tier = 4
			return tx.UpdateDatacenter(ctx, dc)
		})
		moved := d.changes(taken.Revision)
		d.same("an offer changes with its datacenter", moved.Offers[0].Datacenter.Tier, int64(4))
		d.write(func(ctx context.Context, tx *store.Tx) error {
			gone := d.serverIn(ctx, tx)
			gone.State = market.ServerRemoved
			return tx.UpdateServer(ctx, gone)
		})
		d.same("a server that was removed", d.changes(moved.Revision).Servers[0].Removed, true)
		d.same("servers of a new reader", len(d.changes(0).Servers), 0)
		d.same("MarketNotes", look(d, func(ctx context.Context, tx *store.Tx) (int64, error) { return tx.MarketNotes(ctx) }), moved.Revision-all.Revision+1)
		d.write(func(ctx context.Context, tx *store.Tx) error {
			n, err := tx.PruneMarket(ctx, 1)
			d.same("PruneMarket", n, 2)
			return err
		})
		newest := d.revision()
		d.same("servers behind the newest", len(d.changes(newest).Servers), 0)
		d.same("servers behind a revision that is remembered", len(d.changes(newest-1).Servers), 1)
		d.same("servers behind one that is forgotten: all", len(d.changes(newest-2).Servers), 1)
		d.same("servers behind none: all that ever were", len(d.changes(-1).Servers), 1)
		d.refuses("a transaction that fails", fault.Invalid, func(ctx context.Context, tx *store.Tx) error {
			return errors.Join(tx.GiveBack(ctx, server, capacity.Vector{VCPU: 1}), fault.New(fault.Invalid, "no"))
		})
	},
	"join tokens": func(d *db) {
		terms := store.Terms{ProviderID: prov, DatacenterID: center, OfferID: offer, Name: "rack-9"}
		d.write(func(ctx context.Context, tx *store.Tx) error {
			return tx.InsertToken(ctx, "good", terms, now.Add(time.Hour))
		})
		d.write(func(ctx context.Context, tx *store.Tx) error { return tx.InsertToken(ctx, "late", terms, now) })
		use := func(hash string) func(context.Context, *store.Tx) error {
			return func(ctx context.Context, tx *store.Tx) error {
				got, err := tx.UseToken(ctx, hash, now)
				if err == nil {
					d.same("terms", got, terms)
				}
				return err
			}
		}
		d.refuses("a guessed token", fault.Denied, use("guess"))
		d.refuses("a token that expires now", fault.Denied, use("late"))
		d.write(use("good"))
		d.refuses("a token twice", fault.Denied, use("good"))
		d.refuses("its hash twice", fault.Internal, func(ctx context.Context, tx *store.Tx) error {
			return tx.InsertToken(ctx, "good", terms, now.Add(time.Hour))
		})
	},
	"a join token is used once of many at once": func(d *db) {
		d.write(func(ctx context.Context, tx *store.Tx) error {
			return tx.InsertToken(ctx, "good", store.Terms{}, now.Add(time.Hour))
		})
		used := 0
		for _, err := range together(20, func(int) error {
			return d.try(func(ctx context.Context, tx *store.Tx) error {
				_, err := tx.UseToken(ctx, "good", now)
				return err
			})
		}) {
			switch {
			case err == nil:
				used++
			case !fault.Is(err, fault.Denied):
				d.t.Errorf("UseToken: %v", err)
			}
		}
		d.same("how often it was used", used, 1)
	},
}
