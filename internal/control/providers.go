package control

import (
	"context"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
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
	if err := firstError(account.CheckName(in.Provider), in.Datacenter.Check()); err != nil {
		return "", err
	}
	if min(in.Prices.VCPU, in.Prices.RAM, in.Prices.Storage, in.Prices.Address) < 0 {
		return "", fault.New(fault.Invalid, "a price is not negative")
	}
	if token, err = id.NewSecret("join", 20, s.Rand); err != nil {
		return "", err
	}
	return token, s.Store.Write(ctx, func(tx *store.Tx) error {
		providerID, err := s.provider(ctx, tx, in.Provider)
		if err != nil {
			return err
		}
		datacenterID, err := s.datacenter(ctx, tx, providerID, in.Datacenter)
		if err != nil {
			return err
		}
		terms := store.Terms{ProviderID: providerID, DatacenterID: datacenterID, Prices: in.Prices, MaxExtraStorage: in.MaxExtraStorage}
		return tx.InsertToken(ctx, account.HashKey(token), terms, s.Now().Add(in.Valid))
	})
}

// provider returns the id of the provider with that name, made with an account
// of its own if there is none.
func (s *Service) provider(ctx context.Context, tx *store.Tx, name string) (string, error) {
	providerID, err := tx.ProviderByName(ctx, name)
	if !fault.Is(err, fault.NotFound) {
		return providerID, err
	}
	accountID, err := s.newID("acc")
	if err != nil {
		return "", err
	}
	if providerID, err = s.newID("prv"); err != nil {
		return "", err
	}
	return providerID, firstError(
		tx.InsertAccount(ctx, account.Account{ID: accountID, Name: name, CreatedAt: s.Now()}),
		tx.InsertProvider(ctx, providerID, accountID, name, s.Now()),
	)
}

// datacenter returns the id of the provider's datacenter at that place, made if
// there is none.
func (s *Service) datacenter(ctx context.Context, tx *store.Tx, providerID string, d market.Datacenter) (string, error) {
	known, err := tx.Datacenters(ctx)
	if err != nil {
		return "", err
	}
	for _, k := range known {
		if k.Slug() != d.Slug() {
			continue
		}
		if k.ProviderID != providerID {
			return "", fault.Newf(fault.Conflict, "datacenter %s belongs to another provider; give yours another index", d.Slug())
		}
		return k.ID, nil
	}
	d.ProviderID = providerID
	if d.ID, err = s.newID("dc"); err != nil {
		return "", err
	}
	return d.ID, tx.InsertDatacenter(ctx, d)
}

// Reprice gives all offers of a provider new prices; VMs keep theirs. For
// operators.
func (s *Service) Reprice(ctx context.Context, who account.Actor, provider string, p market.Prices) error {
	if err := who.RequireOperator(); err != nil {
		return err
	}
	return s.Store.Write(ctx, func(tx *store.Tx) error {
		providerID, err := tx.ProviderByName(ctx, provider)
		if err != nil {
			return err
		}
		return tx.Reprice(ctx, providerID, p)
	})
}
