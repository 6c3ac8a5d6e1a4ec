package storetest

import (
	"context"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/store"
)

var markets = map[string]func(*db){
	"providers": func(d *db) {
		d.furnish()
		d.same("ProviderByName", look(d, func(ctx context.Context, tx *store.Tx) (string, error) { return tx.ProviderByName(ctx, "Nord") }), prov)
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
		bare.ID = "dc_3"
		d.refuses("a slug twice", fault.Internal, insert(bare))
		bare.Index, bare.Tier = 3, 5
		d.refuses("tier 5", fault.Internal, insert(bare))
	},
	"offers": func(d *db) {
		d.furnish()
		offers := func() []market.Offer {
			return look(d, func(ctx context.Context, tx *store.Tx) ([]market.Offer, error) { return tx.Offers(ctx) })
		}
		want := market.Offer{
			ID: offer, ProviderID: prov, Datacenter: place, Hardware: hardware, Prices: prices, MaxExtraStorage: 7,
			Servers: []market.Server{{ID: server, Capacity: inventory.Total, VCPUPerThread: 2}},
		}
		d.same("Offers", offers(), []market.Offer{want})
		second := market.Offer{ID: "off_0", ProviderID: prov, Datacenter: place, Hardware: hardware}
		d.write(func(ctx context.Context, tx *store.Tx) error {
			return tx.InsertOffer(ctx, second, now.Add(time.Second))
		})
		d.same("Offers, oldest first", offers(), []market.Offer{want, second})
		want.Prices = market.Prices{VCPU: 5, RAM: 6, Storage: 7, Address: 8}
		second.Prices = want.Prices
		d.write(func(ctx context.Context, tx *store.Tx) error { return tx.Reprice(ctx, prov, want.Prices) })
		d.write(func(ctx context.Context, tx *store.Tx) error { return tx.Reprice(ctx, "prv_other", market.Prices{}) })
		d.same("repriced", offers(), []market.Offer{want, second})
		d.refuses("a negative price", fault.Internal, func(ctx context.Context, tx *store.Tx) error {
			return tx.Reprice(ctx, prov, market.Prices{RAM: -1})
		})
	},
	"join tokens": func(d *db) {
		terms := store.Terms{ProviderID: prov, DatacenterID: center, Prices: prices, MaxExtraStorage: 9}
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
