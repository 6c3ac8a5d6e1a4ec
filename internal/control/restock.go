package control

import (
	"context"
	"slices"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/store"
)

// restock stores a listing without faults in the place of a provider's stock.
func (s *Service) restock(ctx context.Context, tx *store.Tx, k stock, wanted Listing) error {
	places, err := s.restockPlaces(ctx, tx, k, wanted)
	if err != nil {
		return err
	}
	if err := s.restockOffers(ctx, tx, k, wanted, places); err != nil {
		return err
	}
	if len(k.servers) > 0 {
		if err := s.relistAll(ctx, tx, k); err != nil {
			return err
		}
	}
	for _, i := range leftOut(k.datacenters, wanted.Datacenters, market.Datacenter.Slug) {
		if d := k.datacenters[i]; k.keeps(d, wanted) == "" {
			if err := tx.DeleteDatacenter(ctx, d.ID); err != nil {
				return err
			}
		}
	}
	return nil
}

// restockPlaces stores the datacenters, and returns their ids by slug.
func (s *Service) restockPlaces(ctx context.Context, tx *store.Tx, k stock, wanted Listing) (map[string]string, error) {
	places := map[string]string{}
	for _, d := range wanted.Datacenters {
		at, there := k.slugs[d.Slug()]
		switch {
		case !there:
			var err error
			if d.ID, err = s.newID("dc"); err != nil {
				return nil, err
			}
			d.ProviderID = k.provider.ID
			if err := tx.InsertDatacenter(ctx, d); err != nil {
				return nil, err
			}
		default:
			d.ID = k.datacenters[at].ID
			if slices.Equal(datacenterMembers(k.datacenters[at]), datacenterMembers(d)) {
				break
			}
			if err := tx.UpdateDatacenter(ctx, d); err != nil {
				return nil, err
			}
		}
		places[d.Slug()] = d.ID
	}
	return places, nil
}

// restockOffers stores the offers, and withdraws those that are left out. One
// that was withdrawn and is listed again goes on under its id.
func (s *Service) restockOffers(ctx context.Context, tx *store.Tx, k stock, wanted Listing, places map[string]string) error {
	listed := placesOf(wanted.Offers, nameOf)
	for _, o := range wanted.Offers {
		next := market.Offer{
			Name: o.Name, ProviderID: k.provider.ID, Datacenter: market.Datacenter{ID: places[o.Datacenter]}, Hardware: o.Hardware,
			Prices: o.Prices, MaxExtraStorage: o.MaxExtraStorage,
		}
		at, there := k.names[o.Name]
		if !there {
			var err error
			if next.ID, err = s.newID("off"); err != nil {
				return err
			}
			if err := tx.InsertOffer(ctx, next, s.Now()); err != nil {
				return err
			}
			continue
		}
		was := k.offers[at]
		next.ID = was.ID
		if was.Withdrawn || was.Datacenter.ID != next.Datacenter.ID || was.Hardware != next.Hardware || was.Prices != next.Prices ||
			was.MaxExtraStorage != next.MaxExtraStorage {
			if err := tx.UpdateOffer(ctx, next, s.Now()); err != nil {
				return err
			}
		}
	}
	for _, o := range k.offers {
		if _, there := listed[o.Name]; there || o.Withdrawn {
			continue
		}
		o.Withdrawn = true
		if err := tx.UpdateOffer(ctx, o, s.Now()); err != nil {
			return err
		}
	}
	return nil
}

// relistAll puts servers into the offers of their datacenters that list their
// hardware. One that none lists stays where it is.
func (s *Service) relistAll(ctx context.Context, tx *store.Tx, k stock) error {
	offers, err := tx.ProviderOffers(ctx, k.provider.ID)
	if err != nil {
		return err
	}
	at, near := map[string]string{}, map[string][]market.Offer{}
	for _, o := range offers {
		at[o.ID] = o.Datacenter.ID
		near[o.Datacenter.ID] = append(near[o.Datacenter.ID], o)
	}
	now := s.Now().UTC()
	for _, server := range k.servers {
		hw := server.Inventory.Hardware
		if hw == (capacity.Hardware{}) {
			continue // its next report tells
		}
		o := market.ForHardware(near[at[server.OfferID]], hw)
		if o == nil || o.ID == server.OfferID {
			continue
		}
		server.OfferID = o.ID
		if err := firstError(tx.UpdateServer(ctx, server), tx.PutServerEvent(ctx, server.ID, s.happened("listed", now, "listed by offer "+o.Name))); err != nil {
			return err
		}
	}
	return nil
}
