package control

import (
	"context"
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

// Offers returns what is free and fits the constraints, cheapest first.
func (s *Service) Offers(ctx context.Context, c market.Constraints) ([]market.Match, error) {
	offers, err := s.offers(ctx)
	if err != nil {
		return nil, err
	}
	return market.Search(offers, c)
}

// Catalogue returns every value that offers can be filtered by.
func (s *Service) Catalogue(ctx context.Context) (market.Catalogue, error) {
	offers, err := s.offers(ctx)
	return market.Summarise(offers), err
}

// Datacenters returns all datacenters by their slug.
func (s *Service) Datacenters(ctx context.Context) ([]market.Datacenter, error) {
	var list []market.Datacenter
	err := s.Store.Read(ctx, func(tx *store.Tx) (err error) {
		list, err = tx.Datacenters(ctx)
		return err
	})
	return list, err
}

func (s *Service) offers(ctx context.Context) ([]market.Offer, error) {
	var offers []market.Offer
	err := s.Store.Read(ctx, func(tx *store.Tx) (err error) {
		offers, err = tx.Offers(ctx)
		return err
	})
	return offers, err
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
func (s *Service) Estimate(ctx context.Context, c market.Constraints, instances int64) (Estimate, error) {
	if err := checkInstances(instances); err != nil {
		return Estimate{}, err
	}
	offers, err := s.offers(ctx)
	if err != nil {
		return Estimate{}, err
	}
	placed, err := market.Place(offers, c, int(instances))
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

func checkInstances(n int64) error {
	if n < 1 {
		return fault.Newf(fault.Invalid, "instances is %d; it has to be 1 or more", n)
	}
	return nil
}
