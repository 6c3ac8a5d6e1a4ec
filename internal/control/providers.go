package control

import (
	"context"
	"fmt"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/id"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/store"
)

// Invitation is what a join token lets a server join under.
type Invitation struct {
	Provider        string            // name; it is made if there is none
	Datacenter      market.Datacenter // found by its slug, or made
	Prices          market.Prices
	MaxExtraStorage int64         // GiB that one VM may add, 0 for no limit
	Valid           time.Duration // how long the token is good
}

// Invite makes a one-time token with which one server may join. For operators.
// Returns an Invalid fault for a malformed place, and Conflict for a datacenter
// that belongs to another provider.
func (s *Service) Invite(ctx context.Context, who account.Actor, in Invitation) (token string, err error) {
	if err := who.RequireOperator(); err != nil {
		return "", err
	}
	if err := firstError(account.CheckName(in.Provider), in.Datacenter.Check(), in.Prices.Check()); err != nil {
		return "", err
	}
	if token, err = id.NewSecret("join", 20, s.Rand); err != nil {
		return "", err
	}
	err = s.Store.Write(ctx, func(tx *store.Tx) error {
		providerID, err := s.invited(ctx, tx, in.Provider)
		if err != nil {
			return err
		}
		datacenterID, err := s.datacenter(ctx, tx, providerID, in.Datacenter)
		if err != nil {
			return err
		}
		offerID, err := s.standardOffer(ctx, tx, providerID, datacenterID, in)
		if err != nil {
			return err
		}
		terms := store.Terms{ProviderID: providerID, DatacenterID: datacenterID, OfferID: offerID}
		return tx.InsertToken(ctx, account.HashKey(token), terms, s.Now().Add(in.Valid))
	})
	if err == nil {
		s.changed(ctx)
	}
	return lasting(ctx, token), err
}

// invited returns the id of the provider with that name, made with an account of
// its own if there is none.
func (s *Service) invited(ctx context.Context, tx *store.Tx, name string) (string, error) {
	known, err := tx.ProviderByName(ctx, name)
	if !fault.Is(err, fault.NotFound) {
		return known.ID, err
	}
	accountID, err := s.newID("acc")
	if err != nil {
		return "", err
	}
	providerID, err := s.newID("prv")
	return providerID, firstErrorOf(
		func() error { return err },
		func() error {
			return tx.InsertAccount(ctx, account.Account{ID: accountID, Name: name, CreatedAt: s.Now()})
		},
		func() error { return tx.InsertProvider(ctx, providerID, accountID, name, s.Now()) },
	)
}

// datacenter returns the id of the provider's datacenter at that place, made if
// there is none.
func (s *Service) datacenter(ctx context.Context, tx *store.Tx, providerID string, d market.Datacenter) (string, error) {
	known, err := tx.DatacenterBySlug(ctx, d.Slug())
	switch {
	case err == nil && known.ProviderID != providerID:
		return "", fault.Newf(fault.Conflict, "datacenter %s belongs to another provider; give yours another index", d.Slug())
	case !fault.Is(err, fault.NotFound):
		return known.ID, err
	}
	d.ProviderID = providerID
	if d.ID, err = s.newID("dc"); err != nil {
		return "", err
	}
	return d.ID, tx.InsertDatacenter(ctx, d)
}

// standardOffer returns the id of the provider's offer there that lists any
// hardware at those prices, made if there is none.
func (s *Service) standardOffer(ctx context.Context, tx *store.Tx, providerID, datacenterID string, in Invitation) (string, error) {
	offers, err := tx.ProviderOffers(ctx, providerID)
	if err != nil {
		return "", err
	}
	for _, o := range offers {
		if o.Datacenter.ID == datacenterID && o.Hardware == (capacity.Hardware{}) && o.Prices == in.Prices &&
			o.MaxExtraStorage == in.MaxExtraStorage && !o.Withdrawn {
			return o.ID, nil
		}
	}
	offerID, err := s.newID("off")
	if err != nil {
		return "", err
	}
	return offerID, tx.InsertOffer(ctx, market.Offer{
		ID: offerID, Name: fmt.Sprintf("standard-%d", len(offers)+1), ProviderID: providerID, Datacenter: market.Datacenter{ID: datacenterID},
		Prices: in.Prices, MaxExtraStorage: in.MaxExtraStorage,
	}, s.Now())
}

// Reprice gives all offers of a provider new prices; VMs keep theirs. For
// operators.
func (s *Service) Reprice(ctx context.Context, who account.Actor, provider string, p market.Prices) error {
	if err := who.RequireOperator(); err != nil {
		return err
	}
	if err := p.Check(); err != nil {
		return err
	}
	err := s.Store.Write(ctx, func(tx *store.Tx) error {
		known, err := tx.ProviderByName(ctx, provider)
		if err != nil {
			return err
		}
		offers, err := tx.ProviderOffers(ctx, known.ID)
		for _, o := range offers {
			o.Prices = p
			err = firstErrorOf(func() error { return err }, func() error { return tx.UpdateOffer(ctx, o, s.Now()) })
		}
		return err
	})
	if err == nil {
		s.changed(ctx)
	}
	return err
}
