package control

import (
	"context"
	"fmt"
	"slices"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/store"
)

// Listing returns what a provider sells.
func (s *Service) Listing(ctx context.Context, who account.Actor, provider string) (Listing, error) {
	var l Listing
	err := s.Store.Read(ctx, func(tx *store.Tx) error {
		p, err := s.provider(ctx, tx, who, provider)
		if err != nil {
			return err
		}
		stock, err := stockOf(ctx, tx, p)
		l = stock.listing()
		return err
	})
	return l, err
}

// ApplyListing makes a listing what a provider sells, all of it or nothing, and
// puts its servers into the offers that list their hardware. VMs keep the price
// they were deployed at. It returns what changed. Returns a ListingError with all that is wrong.
func (s *Service) ApplyListing(ctx context.Context, who account.Actor, provider string, d Declared) (changes []Change, err error) {
	err = s.Store.Write(ctx, func(tx *store.Tx) error {
		p, err := s.provider(ctx, tx, who, provider)
		if err != nil {
			return err
		}
		stock, err := stockOf(ctx, tx, p)
		if err != nil {
			return err
		}
		wanted, faults := d.listing()
		more, err := stock.faults(ctx, tx, wanted)
		if err != nil {
			return err
		}
		if faults = append(faults, more...); len(faults) > 0 {
			return &ListingError{faults}
		}
		changes = stock.changes(wanted)
		return s.restock(ctx, tx, stock, wanted)
	})
	if err != nil {
		return nil, err
	}
	s.changed(ctx)
	return changes, nil
}

// faults returns what of a listing contradicts the marketplace.
func (k stock) faults(ctx context.Context, tx *store.Tx, wanted Listing) ([]ListingFault, error) {
	var r reader
	for i, d := range wanted.Datacenters {
		if err := k.checkPlace(ctx, tx, &r, i, wanted); err != nil {
			return nil, fmt.Errorf("check datacenter %s: %w", d.Slug(), err)
		}
	}
	for i, o := range wanted.Offers {
		if at, known := k.names[o.Name]; known {
			k.checkServers(&r, fmt.Sprintf("offers[%d]", i), k.offers[at], o, wanted)
		}
	}
	return r.faults, nil
}

// checkPlace finds a datacenter that is another provider's.
func (k stock) checkPlace(ctx context.Context, tx *store.Tx, r *reader, i int, wanted Listing) error {
	d := wanted.Datacenters[i]
	if _, own := k.slugs[d.Slug()]; own || !wellFormed(d) {
		return nil
	}
	there, err := tx.CityDatacenters(ctx, d.Country, d.City)
	if err != nil || !slices.ContainsFunc(there, func(e market.Datacenter) bool { return e.Index == d.Index }) {
		return err
	}
	taken := map[int64]bool{}
	for _, e := range slices.Concat(there, wanted.Datacenters) {
		taken[e.Index] = taken[e.Index] || e.Country == d.Country && e.City == d.City
	}
	free := int64(1)
	for taken[free] {
		free++
	}
	r.fault(fmt.Sprintf("datacenters[%d].index", i), "datacenter %s belongs to another provider; the next free index there is %d", d.Slug(), free)
	return nil
}

func wellFormed(d market.Datacenter) bool { return d.Check() == nil }

// checkServers finds servers that an offer would take to another place, or keep
// though neither it nor another one lists their hardware any more.
func (k stock) checkServers(r *reader, path string, was market.Offer, o ListedOffer, wanted Listing) {
	for _, server := range k.on[was.ID] {
		if slug := was.Datacenter.Slug(); slug != o.Datacenter {
			if !slices.ContainsFunc(wanted.Datacenters, func(d market.Datacenter) bool { return d.Slug() == o.Datacenter }) {
				return // which is told already
			}
			r.fault(path+".datacenter", "offer %s has servers in %s, which do not move; name the offer in %.40s otherwise", o.Name, slug, o.Datacenter)
			return
		}
		hw := server.Inventory.Hardware
		if hw == (capacity.Hardware{}) || !was.Withdrawn && (was.Hardware == o.Hardware || !was.Lists(hw)) {
			continue
		}
		if market.ForHardware(wanted.in(o.Datacenter), hw) == nil {
			r.fault(path+".hardware", "no offer would list server %s, which is %s; add one, or give this one another name to stop selling the server",
				nameOfServer(server), describe(hw))
			return
		}
	}
}

// in returns the offers of a listing in a datacenter, as far as hardware goes.
func (l Listing) in(slug string) (list []market.Offer) {
	for _, o := range l.Offers {
		if o.Datacenter == slug {
			list = append(list, market.Offer{Name: o.Name, Hardware: o.Hardware})
		}
	}
	return list
}

func nameOfServer(s store.Server) string {
	if s.Name != "" {
		return s.Name
	}
	return s.ID
}
