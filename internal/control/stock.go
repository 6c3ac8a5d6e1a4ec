package control

import (
	"context"

	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/store"
)

// stock is what is stored of a provider.
type stock struct {
	provider    store.Provider
	datacenters []market.Datacenter // by slug
	offers      []market.Offer      // by name, withdrawn ones too
	servers     []store.Server      // without those that were removed

	slugs map[string]int            // where datacenters are
	names map[string]int            // where offers are
	on    map[string][]store.Server // by the id of their offer
}

func stockOf(ctx context.Context, tx *store.Tx, p store.Provider) (k stock, err error) {
	k.provider = p
	if k.datacenters, err = tx.ProviderDatacenters(ctx, p.ID); err != nil {
		return k, err
	}
	if k.offers, err = tx.ProviderOffers(ctx, p.ID); err != nil {
		return k, err
	}
	k.servers, err = tx.ProviderServers(ctx, p.ID)
	k.slugs = placesOf(k.datacenters, market.Datacenter.Slug)
	k.names = placesOf(k.offers, func(o market.Offer) string { return o.Name })
	k.on = map[string][]store.Server{}
	for _, server := range k.servers {
		k.on[server.OfferID] = append(k.on[server.OfferID], server)
	}
	return k, err
}

// listing returns the stock as it would be declared.
func (k stock) listing() Listing {
	l := Listing{Datacenters: []market.Datacenter{}, Offers: []ListedOffer{}}
	for _, d := range k.datacenters {
		l.Datacenters = append(l.Datacenters, market.Datacenter{
			Country: d.Country, City: d.City, Index: d.Index, Tier: d.Tier, Certifications: append([]string{}, d.Certifications...),
		})
	}
	for _, o := range k.offers {
		if !o.Withdrawn {
			l.Offers = append(l.Offers, ListedOffer{o.Name, o.Datacenter.Slug(), o.Hardware, o.Prices, o.MaxExtraStorage})
		}
	}
	return l
}

// changes returns what a listing changes of the stock. A datacenter that is left
// out is kept while servers or offers, withdrawn ones too, are of it.
func (k stock) changes(wanted Listing) []Change {
	changes := Compare(k.listing(), wanted)
	for i := range changes {
		c := &changes[i]
		if at, known := k.slugs[c.Before]; known && c.Action == Removed {
			if why := k.keeps(k.datacenters[at], wanted); why != "" {
				c.Action, c.After, c.Text = Changed, c.Before, why
			}
		}
	}
	return changes
}

// keeps says why a datacenter that a listing leaves out can't be removed, ""
// when it can. An offer that is listed is elsewhere then.
func (k stock) keeps(d market.Datacenter, wanted Listing) (why string) {
	listed := placesOf(wanted.Offers, nameOf)
	for _, o := range k.offers {
		if _, there := listed[o.Name]; there || o.Datacenter.ID != d.ID {
			continue
		}
		why = "kept: has offers that are withdrawn"
		if len(k.on[o.ID]) > 0 {
			return "kept: has servers"
		}
	}
	return why
}
