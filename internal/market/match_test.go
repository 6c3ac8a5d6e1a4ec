package market_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/money"
)

// whole returns what is wrong with a match: its figures have to be those of one
// moment.
func whole(m *market.Match) error {
	switch o := m.Offer; {
	case o.Withdrawn:
		return fmt.Errorf("offer %s is withdrawn", o.ID)
	case m.Price != cost(o.Prices, m.Configuration.Demand(0)):
		return fmt.Errorf("%s of offer %s costs %s, not %s", m.Configuration.Slug(), o.ID, cost(o.Prices, m.Configuration.Demand(0)), m.Price)
	case len(m.Rooms) == 0:
		return fmt.Errorf("a match of offer %s has no servers", o.ID)
	}
	seen := map[uint32]bool{}
	for _, r := range m.Rooms {
		if seen[r.Number] || r.Instances < 1 || r.ExtraGiB < 0 {
			return fmt.Errorf("a server of offer %s has the room %+v", m.Offer.ID, r)
		}
		seen[r.Number] = true
	}
	return nil
}

// While offers come and go and their servers fill, each match of a search is
// whole, and each place is paid at the price of its offer and on a server of
// its own.
func TestMatchesAreWhole(t *testing.T) {
	t.Parallel()
	x := synthetic(300)
	var readers sync.WaitGroup
	done := make(chan struct{})
	matches, places := 0, 0
	look := func(once func() error) {
		readers.Go(func() {
			for {
				if err := once(); err != nil {
					t.Error(err)
					return
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	look(func() (err error) {
		searched := x.Search(market.Constraints{}, func(m *market.Match) bool {
			matches++
			err = whole(m)
			return err == nil
		})
		if err == nil {
			err = searched
		}
		return err
	})
	look(func() error {
		placed, err := x.Place(market.Request{Instances: 9, Apart: true})
		servers := map[uint32]bool{}
		for _, p := range placed {
			if places++; p.Offer.Withdrawn || p.Price != cost(p.Offer.Prices, p.Demand()) || servers[p.Server] {
				return fmt.Errorf("placed %+v in offer %+v", p, *p.Offer)
			}
			servers[p.Server] = true
		}
		return err
	})
	for i := range 300 {
		o, s := syntheticOffer(i%40), syntheticServer(i)
		o.Withdrawn, o.Prices.RAM = i%3 == 0, money.Amount(i)
		s.Used = capacity.Vector{VCPU: int64(i % 100)}
		x.Apply(market.Changes{Offers: []market.Offer{o}, Servers: []market.Server{s}})
	}
	close(done)
	readers.Wait()
	if matches == 0 || places == 0 {
		t.Errorf("%d matches and %d places were seen", matches, places)
	}
}
