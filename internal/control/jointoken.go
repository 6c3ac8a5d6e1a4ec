package control

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/id"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// Bounds of how long a join token is good.
const (
	ShortestToken = time.Hour
	LongestToken  = 365 * 24 * time.Hour
)

// ServerInvitation says where a server that joins a provider stands.
type ServerInvitation struct {
	Datacenter string        // slug
	Offer      string        // name of the one that lists it, "" for whichever names its hardware
	Name       string        // of the server, "" for none
	Valid      time.Duration // how long the token is good
}

// InviteServer makes a one-time token with which one server joins a provider.
// Only its hash is kept. Returns Invalid for a bad name or time, NotFound for a
// datacenter or offer that the provider hasn't, and Conflict for a name that one
// of its servers has.
func (s *Service) InviteServer(ctx context.Context, who account.Actor, provider string, in ServerInvitation) (token string, expires time.Time, err error) {
	if token, err = id.NewSecret("join", 20, s.Rand); err != nil {
		return "", time.Time{}, err
	}
	expires = s.Now().UTC().Add(in.Valid)
	err = s.Store.Write(ctx, func(tx *store.Tx) error {
		p, err := s.provider(ctx, tx, who, provider)
		if err != nil {
			return err
		}
		if err := in.check(); err != nil {
			return err
		}
		terms, err := termsOf(ctx, tx, p, in)
		if err != nil {
			return err
		}
		return tx.InsertToken(ctx, account.HashKey(token), terms, expires)
	})
	if err != nil {
		return "", time.Time{}, err
	}
	return lasting(ctx, token), expires, nil
}

func (in ServerInvitation) check() error {
	if in.Valid < ShortestToken || in.Valid > LongestToken {
		return fault.Newf(fault.Invalid, "a token is good for %.0f to %.0f hours", ShortestToken.Hours(), LongestToken.Hours())
	}
	if in.Name != "" && vm.CheckName(in.Name) != nil {
		return fault.Newf(fault.Invalid, "server name %.80q is not made of at most 255 letters, digits and hyphens", in.Name)
	}
	return nil
}

// termsOf returns what a server joins a provider under.
func termsOf(ctx context.Context, tx *store.Tx, p store.Provider, in ServerInvitation) (store.Terms, error) {
	terms := store.Terms{ProviderID: p.ID, Name: in.Name}
	place, err := tx.DatacenterBySlug(ctx, strings.ToLower(in.Datacenter))
	if fault.Is(err, fault.NotFound) || err == nil && place.ProviderID != p.ID {
		return terms, fault.Newf(fault.NotFound, "provider %s has no datacenter %.40q; add it to the listing and apply that", p.Name, in.Datacenter)
	}
	if err != nil {
		return terms, err
	}
	terms.DatacenterID = place.ID
	if in.Offer != "" {
		offers, err := tx.ProviderOffers(ctx, p.ID)
		if err != nil {
			return terms, err
		}
		at := slices.IndexFunc(offers, func(o market.Offer) bool { return o.Name == in.Offer && o.Datacenter.ID == place.ID && !o.Withdrawn })
		if at < 0 {
			return terms, fault.Newf(fault.NotFound, "provider %s has no offer %.120q in %s; add it to the listing and apply that", p.Name, in.Offer, place.Slug())
		}
		terms.OfferID = offers[at].ID
	}
	return terms, nameIsFree(ctx, tx, p.ID, in.Name)
}

// nameIsFree returns a Conflict fault when a server of a provider has the name.
func nameIsFree(ctx context.Context, tx *store.Tx, providerID, name string) error {
	if name == "" {
		return nil
	}
	_, err := tx.ProviderServer(ctx, providerID, name)
	switch {
	case err == nil:
		return fault.Newf(fault.Conflict, "another server of this provider is named %s; choose another name, or remove that one", name)
	case fault.Is(err, fault.NotFound):
		return nil
	}
	return err
}
