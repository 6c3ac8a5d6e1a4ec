package control

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/store"
)

// Image is an OS image that customers are offered by name.
type Image struct {
	ID           string // 32 hex digits
	Name         string // such as "24.04 (LTS) x64"
	Distribution string
	Slug         string
	URL          string
	User         string    // whom to log in as
	Listed       time.Time // since when it is offered
}

// shelf is the marketplace in memory, kept in step with the store.
type shelf struct {
	*market.Index
	// filling is held by whoever brings the index up to a revision of the
	// store, from its read to the last change: an older view must not be
	// written over a newer one.
	filling sync.Mutex
	sites   map[uint32]store.Site // of servers that were placed on; guarded by filling
}

// refresh brings the index up to what is stored now.
func (s *Service) refresh(ctx context.Context) error {
	s.shelf.filling.Lock()
	defer s.shelf.filling.Unlock()
	return s.Store.Read(ctx, func(tx *store.Tx) error { return s.catchUp(ctx, tx, s.shelf.Revision()) })
}

// catchUp brings the index up to what tx sees, by all that changed behind a
// revision. The caller holds filling.
func (s *Service) catchUp(ctx context.Context, tx *store.Tx, since int64) error {
	changes, err := tx.MarketChanges(ctx, since)
	if err != nil {
		return fmt.Errorf("read the marketplace: %w", err)
	}
	for i := range changes.Servers {
		delete(s.shelf.sites, changes.Servers[i].Number)
	}
	if len(changes.Offers)+len(changes.Servers) > 0 {
		s.shelf.Apply(changes)
	}
	s.shelf.Advance(changes.Revision)
	return nil
}

// changed brings the index up to a change of the marketplace that was just
// stored. Where that fails, the next look of the loop does it.
func (s *Service) changed(ctx context.Context) {
	if err := s.refresh(ctx); err != nil && ctx.Err() == nil {
		s.Log.WarnContext(ctx, "marketplace not read anew", "error", err)
	}
}

// keepNotes is how many revisions of the marketplace are remembered one by one,
// at least: a replica that was away for longer reads everything.
const keepNotes = 20_000

// PruneMarket forgets the oldest revisions once there are twice as many as are
// kept, and returns how many notes were dropped.
func (s *Service) PruneMarket(ctx context.Context) (dropped int, err error) {
	var notes int64
	err = s.Store.Read(ctx, func(tx *store.Tx) (err error) {
		notes, err = tx.MarketNotes(ctx)
		return err
	})
	if err != nil || notes < 2*keepNotes {
		return 0, err
	}
	err = s.Store.Write(ctx, func(tx *store.Tx) (err error) {
		dropped, err = tx.PruneMarket(ctx, keepNotes)
		return err
	})
	return dropped, err
}

// refreshEvery is how often changes by other replicas are looked for.
const refreshEvery = time.Second

func (s *Service) keepFresh(ctx context.Context) { every(ctx, refreshEvery, s.changed) }

// Offers calls yield for what is free and fits the constraints, cheapest first,
// until it returns false. The match is yield's only while it runs.
func (s *Service) Offers(c market.Constraints, yield func(*market.Match) bool) error {
	return s.shelf.Search(c, yield)
}

// Summaries is Offers for what costs at least a price, without what each server
// has left.
func (s *Service) Summaries(c market.Constraints, least money.Amount, yield func(*market.Summary) bool) error {
	return s.shelf.Summaries(c, least, yield)
}

// Catalogue returns every value that offers can be filtered by.
func (s *Service) Catalogue() market.Catalogue { return s.shelf.Catalogue() }

// Datacenters returns all datacenters by their slug.
func (s *Service) Datacenters(ctx context.Context) ([]market.Datacenter, error) {
	var list []market.Datacenter
	err := s.Store.Read(ctx, func(tx *store.Tx) (err error) {
		list, err = tx.Datacenters(ctx)
		return err
	})
	return list, err
}

// Estimate is what a deploy would cost.
type Estimate struct {
	Instances int64
	Total     money.Amount // per epoch, of all instances
	Dearest   money.Amount // per epoch, of the dearest instance
	Deposit   money.Amount
}

// Estimate returns what a deploy of the same request at the same moment would
// cost, or the fault it would end in for want of an offer.
func (s *Service) Estimate(c market.Constraints, instances int64) (Estimate, error) {
	if err := checkInstances(instances); err != nil {
		return Estimate{}, err
	}
	placed, err := s.shelf.Place(market.Request{Constraints: c, Instances: int(instances)})
	if err != nil {
		return Estimate{}, err
	}
	return estimate(placed)
}

func estimate(placed []market.Placement) (Estimate, error) {
	e := Estimate{Instances: int64(len(placed))}
	prices := make([]money.Amount, len(placed))
	for i, p := range placed {
		prices[i] = p.Price
		e.Dearest = max(e.Dearest, p.Price)
	}
	var err error
	if e.Total, err = money.Sum(prices...); err != nil {
		return e, err
	}
	e.Deposit, err = ledger.DepositFor(e.Total)
	return e, err
}

// maxInstances bounds one request: more is refused like more than there is.
const maxInstances = 10_000

func checkInstances(n int64) error {
	switch {
	case n < 1:
		return fault.Newf(fault.Invalid, "instances is %d; it has to be 1 or more", n)
	case n > maxInstances:
		return fault.New(fault.Unsatisfiable, "Not enough offers found")
	}
	return nil
}
