package market_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/money"
)

// Searches, places and explanations go on while the marketplace changes, and
// nothing that was taken is lost.
func TestIndexAtOnce(t *testing.T) {
	t.Parallel()
	x, want := synthetic(300), synthetic(300)
	var readers, writers sync.WaitGroup
	done := make(chan struct{})
	read := func(look func() error) {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := look(); err != nil && !fault.Is(err, fault.Unsatisfiable) {
					t.Error(err)
					return
				}
			}
		})
	}
	c := market.Constraints{Countries: []string{"DE", "US"}, MinTier: 2}
	read(func() error {
		last := money.Amount(-1)
		return x.Search(c, func(m *market.Match) bool { last = max(last, m.Price); return m.Instances > 0 })
	})
	read(func() error { _, err := x.Place(market.Request{Constraints: c, Instances: 9}); return err })
	read(func() error { _, err := x.Explain(market.Request{Constraints: c, Instances: 1 << 20}); return err })
	read(func() error { x.Catalogue(); x.Servers(); return nil })
	writers.Go(func() {
		for i := range 60 { // the hardware changes and changes back, and with it the groups; so does a price
			s, o := syntheticServer(i*5), syntheticOffer(i%40)
			back, was := s, o
			s.Hardware.CPU.Brand, o.Prices.VCPU = fmt.Sprint("new ", i), money.Amount(i)
			back.Number, s.Number = uint32(400+i), uint32(400+i)
			x.Apply(market.Changes{Servers: []market.Server{s}, Offers: []market.Offer{o}})
			x.Apply(market.Changes{Servers: []market.Server{back}, Offers: []market.Offer{was}})
			back.Removed = true
			x.Apply(market.Changes{Servers: []market.Server{back}})
		}
	})
	writers.Go(func() {
		for range 200 {
			placed, err := x.Place(market.Request{Instances: 3})
			if err != nil {
				t.Error(err)
				return
			}
			x.Take(placed)
			x.GiveBack(placed)
		}
	})
	writers.Wait()
	close(done)
	readers.Wait()
	got, err := hitsOf(x, market.Constraints{})
	if err != nil {
		t.Fatal(err)
	}
	if hits, _ := hitsOf(want, market.Constraints{}); fmt.Sprint(got) != fmt.Sprint(hits) {
		t.Error("the index is not what it was before all changes were taken back")
	}
}
