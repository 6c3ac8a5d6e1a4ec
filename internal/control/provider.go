package control

import (
	"context"
	"strings"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/store"
)

// maxProviders is how many providers may act for one account.
const maxProviders = 10

// Provider is who lists servers, with what came of it.
type Provider struct {
	store.Provider
	Servers int          // without those that were removed
	Pending money.Amount // charged for epochs that may still have to be returned in part
	Earned  money.Amount // for good
}

// provider returns the provider with that name or id that the actor may act
// for: one of its own account, any for operators. All others are unknown to it.
// No other place authorises a provider's operation.
func (s *Service) provider(ctx context.Context, tx *store.Tx, who account.Actor, given string) (store.Provider, error) {
	p, err := tx.ProviderByName(ctx, given)
	if fault.Is(err, fault.NotFound) || err == nil && p.AccountID != who.AccountID && who.Role != account.Operator {
		return store.Provider{}, fault.Newf(fault.NotFound, "no provider %.120q", given)
	}
	return p, err
}

// CreateProvider makes a provider that acts for the actor's account. Returns
// Invalid for a bad name, Conflict for one that is taken, and Exhausted when the
// account has as many as it may.
func (s *Service) CreateProvider(ctx context.Context, who account.Actor, name string) (Provider, error) {
	if err := checkProviderName(name); err != nil {
		return Provider{}, err
	}
	providerID, err := s.newID("prv")
	if err != nil {
		return Provider{}, err
	}
	made := Provider{Provider: store.Provider{ID: providerID, AccountID: who.AccountID, Name: name, CreatedAt: s.Now().UTC()}}
	err = s.Store.Write(ctx, func(tx *store.Tx) error {
		_, err := tx.ProviderByName(ctx, name)
		if err == nil {
			return fault.Newf(fault.Conflict, "the name %q is taken; choose another", name)
		}
		if !fault.Is(err, fault.NotFound) {
			return err
		}
		own, err := tx.Providers(ctx, who.AccountID)
		if err != nil {
			return err
		}
		if len(own) >= maxProviders {
			return fault.Newf(fault.Exhausted, "an account has at most %d providers", maxProviders)
		}
		return tx.InsertProvider(ctx, made.ID, made.AccountID, made.Name, made.CreatedAt)
	})
	if err != nil {
		return Provider{}, err
	}
	made.ID = lasting(ctx, made.ID)
	return made, nil
}

// checkProviderName returns an Invalid fault for what can't name a provider. A
// name that reads like an id would stand for another provider.
func checkProviderName(name string) error {
	if err := account.CheckName(name); err != nil {
		return err
	}
	if strings.HasPrefix(name, "prv_") || strings.TrimSpace(name) != name || strings.Trim(name, ".") == "" {
		return fault.New(fault.Invalid, "a provider's name does not begin with prv_, begin or end with a space, or consist of dots")
	}
	return nil
}

// Providers returns the providers of the actor's account by name; all of them
// for operators.
func (s *Service) Providers(ctx context.Context, who account.Actor) ([]Provider, error) {
	list, accountID := []Provider{}, who.AccountID
	switch {
	case who.Role == account.Operator:
		accountID = "" // stands for all
	case accountID == "":
		return list, nil
	}
	err := s.Store.Read(ctx, func(tx *store.Tx) error {
		known, err := tx.Providers(ctx, accountID)
		if err != nil || len(known) == 0 {
			return err
		}
		servers, err := tx.ServerCounts(ctx, accountID)
		if err != nil {
			return err
		}
		var purses []ledger.Account
		for _, p := range known {
			purses = append(purses, ledger.Pending(p.ID), ledger.Earned(p.ID))
		}
		held, err := tx.Balances(ctx, purses)
		for _, p := range known {
			list = append(list, Provider{Provider: p, Servers: servers[p.ID], Pending: held[ledger.Pending(p.ID)], Earned: held[ledger.Earned(p.ID)]})
		}
		return err
	})
	return list, err
}
