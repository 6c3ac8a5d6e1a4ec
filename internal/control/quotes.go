package control

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/store"
)

// Bounds of quotes: what they hold, nobody else can rent.
const (
	ShortestQuote = time.Minute
	LongestQuote  = 5 * time.Minute
	maxQuotes     = 10  // open ones per account
	maxQuoted     = 100 // VMs that an account's open quotes hold
)

// Quote holds price and capacity for an account until it expires.
type Quote struct {
	ID        string
	ExpiresAt time.Time
	Estimate
	Configuration market.Configuration
	StorageGiB    int64 // per VM, with what was added
}

// Quote holds the places that a deploy of d would get now, for a time within
// ShortestQuote and LongestQuote; Deploy takes them by the quote's id. Only what
// says where VMs are placed counts of d. Returns Exhausted when the account holds
// as much as it may or its limits leave no room for a deploy, and the faults of a
// deploy. What a quote holds is not counted as used.
func (s *Service) Quote(ctx context.Context, who account.Actor, d Deployment, hold time.Duration) (q Quote, err error) {
	if hold < ShortestQuote || hold > LongestQuote {
		return q, fault.Newf(fault.Invalid, "a quote holds for %s to %s, not %s", ShortestQuote, LongestQuote, hold)
	}
	if err := firstError(checkInstances(d.Instances), d.Constraints.Check(), d.Strategy.Check()); err != nil {
		return q, err
	}
	if q.ID, err = s.newID("quo"); err != nil {
		return q, err
	}
	s.shelf.filling.Lock()
	defer s.shelf.filling.Unlock()
	b := &batch{Service: s, now: s.Now().UTC(), rehearse: store.Rehearsing(ctx)}
	err = s.Store.Write(ctx, func(tx *store.Tx) error {
		if err := s.catchUp(ctx, tx, s.shelf.Revision()); err != nil {
			return err
		}
		b.tx = tx
		if err := b.allowance(ctx, who.AccountID, d.Instances); err != nil {
			return err
		}
		placed, err := b.choose(ctx, who.AccountID, d.AffinityGroup, d.request())
		if err != nil {
			return err
		}
		b.take(placed)
		q.ExpiresAt = b.now.Add(hold)
		q.Configuration, q.StorageGiB = placed[0].Configuration, placed[0].StorageGiB
		if q.Estimate, err = estimate(placed); err != nil {
			return err
		}
		if b.budget, err = b.budgetOf(ctx, tx, b.now, who); err != nil {
			return err
		}
		if err := b.budget.allows(who, useOf(q.Total, b.Epoch)); err != nil {
			return err
		}
		return b.hold(ctx, who.AccountID, q, placing{d.Constraints, d.Strategy}, placed)
	})
	if err != nil {
		b.undo()
		return Quote{}, err
	}
	if b.rehearse {
		b.undo()
		q.ID = ""
		return q, nil
	}
	s.shelf.Advance(b.revision)
	return q, nil
}

// allowance returns an Exhausted fault when an account may hold no more.
func (b *batch) allowance(ctx context.Context, accountID string, more int64) error {
	open, err := b.tx.OpenQuotes(ctx, accountID)
	if err != nil {
		return err
	}
	held := more
	open = slices.DeleteFunc(open, func(q store.Quote) bool { return !q.ExpiresAt.After(b.now) })
	for _, q := range open {
		held += int64(len(q.Places))
	}
	if len(open) >= maxQuotes || held > maxQuoted {
		return fault.Newf(fault.Exhausted, "an account holds at most %d quotes for %d VMs at once; use them, or wait until one expires", maxQuotes, maxQuoted)
	}
	return nil
}

// hold stores a quote and takes what it holds.
func (b *batch) hold(ctx context.Context, accountID string, q Quote, asked placing, placed []market.Placement) error {
	if err := b.visit(ctx, placed); err != nil {
		return err
	}
	wish, err := asked.text()
	if err != nil {
		return err
	}
	kept := store.Quote{ID: q.ID, AccountID: accountID, Wish: wish, CreatedAt: b.now, ExpiresAt: q.ExpiresAt}
	amounts := map[string]capacity.Vector{}
	var takings []store.Taking
	for _, p := range placed {
		where := b.shelf.sites[p.Server]
		if _, named := amounts[where.ID]; !named {
			takings = append(takings, store.Taking{Server: where.ID})
		}
		amounts[where.ID] = amounts[where.ID].Add(p.Demand())
		kept.Places = append(kept.Places, store.Place{
			Server: where.ID, Number: p.Server, Offer: p.Offer.ID, Amount: p.Demand(), Config: p.Configuration.Slug(), StorageGiB: p.StorageGiB, Price: p.Price,
		})
	}
	for i := range takings {
		takings[i].Amount = amounts[takings[i].Server]
	}
	b.tx.Take(takings)
	if err := b.tx.InsertQuote(ctx, kept); err != nil {
		return err
	}
	b.revision = b.tx.Revised()
	return nil
}

// quoted returns the places that an order's quote holds.
func (b *batch) quoted(ctx context.Context, o *order) ([]market.Placement, error) {
	q, err := b.tx.Quote(ctx, o.wish.QuoteID)
	switch {
	case fault.Is(err, fault.NotFound) || err == nil && q.AccountID != o.who.AccountID:
		return nil, fault.Newf(fault.NotFound, "no quote with id %.60q", o.wish.QuoteID)
	case err != nil:
		return nil, err
	case !q.EndedAt.IsZero() || !q.ExpiresAt.After(b.now):
		return nil, fault.Newf(fault.Conflict, "quote %s has expired or was used; ask for a new one", q.ID)
	case int64(len(q.Places)) != o.wish.Instances:
		return nil, fault.Newf(fault.Invalid, "quote %s is for %d instances, not %d", q.ID, len(q.Places), o.wish.Instances)
	}
	for _, p := range q.Places {
		if !b.shelf.Open(p.Number) {
			return nil, fault.Newf(fault.Conflict, "a server of quote %s takes no VMs any more; ask for a new quote", q.ID)
		}
	}
	if q.Wish != "" {
		if err := json.Unmarshal([]byte(q.Wish), &o.placing); err != nil {
			return nil, fmt.Errorf("read what quote %s was made for: %w", q.ID, err)
		}
	}
	return b.placesOf(q)
}

func (b *batch) placesOf(q store.Quote) ([]market.Placement, error) {
	placed := make([]market.Placement, len(q.Places))
	sizes := market.Configurations()
	for i, p := range q.Places {
		offer, known := b.shelf.Offer(p.Offer)
		size := slices.IndexFunc(sizes, func(c market.Configuration) bool { return c.Slug() == p.Config })
		if !known || size < 0 {
			return nil, fmt.Errorf("quote %s holds offer %s in %s, which is not known", q.ID, p.Offer, p.Config)
		}
		placed[i] = market.Placement{Offer: &offer, Server: p.Number, Configuration: sizes[size], StorageGiB: p.StorageGiB, Price: p.Price}
	}
	return placed, nil
}

// ExpireQuotes gives back what quotes hold that have expired, and returns how
// many there were.
func (s *Service) ExpireQuotes(ctx context.Context) (int, error) {
	var expired []store.Quote
	err := s.Store.Read(ctx, func(tx *store.Tx) (err error) {
		expired, err = tx.ExpiredQuotes(ctx, s.Now(), sweepBatch)
		return err
	})
	if err != nil || len(expired) == 0 {
		return 0, err
	}
	err = s.Store.Write(ctx, func(tx *store.Tx) error {
		for _, q := range expired {
			ended, err := tx.EndQuote(ctx, q.ID, s.Now())
			if err != nil {
				return err
			}
			if !ended {
				continue // it was used, or another replica was faster
			}
			for _, p := range q.Places {
				if err := tx.GiveBack(ctx, p.Server, p.Amount); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err == nil {
		s.changed(ctx)
	}
	return len(expired), err
}
