package market_test

import (
	"cmp"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/money"
)

// hit is a match in plain values.
type hit struct {
	price    money.Amount
	size     int // of the configuration, in their order
	offer    string
	hardware capacity.Hardware
	thread   int64
	most     int64 // extra GiB
	rooms    []string
}

// compare orders hits as a search does.
func (h hit) compare(i hit) int {
	text := func(hw capacity.Hardware) []string {
		return []string{hw.CPU.Manufacturer, hw.CPU.Brand, hw.CPU.Architecture, hw.CPU.Generation, hw.Memory.Type, hw.Memory.Generation, hw.Storage.Type}
	}
	return cmp.Or(cmp.Compare(h.price, i.price), cmp.Compare(h.size, i.size), cmp.Compare(h.offer, i.offer),
		slices.Compare(text(h.hardware), text(i.hardware)), cmp.Compare(h.thread, i.thread))
}

// search finds what there is in the plainest way.
func (f fleet) search(c market.Constraints) (hits []hit) {
	for _, conf := range sizes(c) {
		found := map[hitKey]*hit{}
		some := map[hitKey]bool{} // where one VM fits with all that is wanted
		f.each(func(o market.Offer, s market.Server) {
			why := against(c, conf, o, s)
			free, one := s.Capacity.Sub(s.Used), conf.Demand(0)
			delete(why, "basicConfiguration")
			fits := len(why) == 0
			if free.StorageGiB < demand(conf, c).StorageGiB { // this server lacks room; others of its kind may not
				allowed := c
				allowed.Extra = nil
				why = against(allowed, conf, o, s)
				delete(why, "basicConfiguration")
				if c.MaxPrice != nil && cost(o.Prices, demand(conf, c)) > *c.MaxPrice {
					why["maxTotalPricePerEpochUsd"] = true
				}
			}
			if len(why) > 0 {
				return
			}
			key := hitKey{o.ID, s.Hardware, s.VCPUPerThread}
			h := found[key]
			if h == nil {
				h = &hit{price: cost(o.Prices, one), size: slices.Index(market.Configurations(), conf), offer: o.ID, hardware: s.Hardware, thread: s.VCPUPerThread}
				found[key] = h
			}
			some[key] = some[key] || fits
			extra := free.StorageGiB - conf.StorageGiB
			h.most = max(h.most, extra)
			if o.MaxExtraStorage > 0 {
				h.most = min(h.most, o.MaxExtraStorage)
			}
			n := 0
			for ; free.Fits(one); free = free.Sub(one) {
				n++
			}
			h.rooms = append(h.rooms, fmt.Sprintf("%d: %d, %d GiB, %v", s.Number, n, extra, s.Measured))
		})
		for key, h := range found {
			if some[key] {
				slices.Sort(h.rooms)
				hits = append(hits, *h)
			}
		}
	}
	slices.SortFunc(hits, hit.compare)
	return hits
}

type hitKey struct {
	offer    string
	hardware capacity.Hardware
	thread   int64
}

// hitsOf returns what the index finds.
func hitsOf(x *market.Index, c market.Constraints) (hits []hit, err error) {
	err = x.Search(c, func(m *market.Match) bool {
		h := hit{
			price: m.Price, size: slices.Index(market.Configurations(), m.Configuration), offer: m.Offer.ID, hardware: *m.Hardware,
			thread: m.VCPUPerThread, most: m.MaxExtraGiB,
		}
		n := int64(0)
		for _, r := range m.Rooms {
			h.rooms = append(h.rooms, fmt.Sprintf("%d: %d, %d GiB, %v", r.Number, r.Instances, r.ExtraGiB, r.Measured))
			n += r.Instances
		}
		if n != m.Instances {
			err = fmt.Errorf("Instances: got %d, want %d", m.Instances, n)
		}
		slices.Sort(h.rooms)
		hits = append(hits, h)
		return true
	})
	return hits, err
}

// Search finds what a plain search finds, in its order, however the index came
// to be.
func TestSearch(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		f := drawFleet(t)
		c := f.wishes(t, 5)
		got, err := hitsOf(f.index(t), c)
		if err != nil {
			t.Fatalf("Search: %v", err)
		}
		if want := f.search(c); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("of %+v got %v, want %v", c, got, want)
		}
	})
}

// A search from a price on finds the rest of the whole search, and one that is
// stopped looks no further.
func TestSearchFrom(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		f := drawFleet(t)
		c, least := f.wishes(t, 9), one[money.Amount](t, "least", 0, 1, 4, 40, 60, 1000)
		x := f.index(t)
		var got, want []market.Cursor
		from := x.Summaries(c, least, func(s *market.Summary) bool {
			got = append(got, s.Cursor(market.ByPrice))
			return true
		})
		all := x.Search(c, func(m *market.Match) bool {
			if m.Price >= least {
				want = append(want, m.Cursor(market.ByPrice))
			}
			return true
		})
		if err := cmp.Or(from, all); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Errorf("from %s: got %v, want %v", least, got, want)
		}
		if !slices.IsSortedFunc(got, market.Cursor.Compare) {
			t.Errorf("cursors are not in the order of the search: %v", got)
		}
		calls := 0
		if err := x.Search(c, func(*market.Match) bool { calls++; return false }); err != nil || calls > 1 {
			t.Errorf("a search that was stopped went on: %d calls, %v", calls, err)
		}
	})
}

// Which offer is cheaper depends on the configuration.
func TestSearchOrders(t *testing.T) {
	t.Parallel()
	x := market.NewIndex()
	room := capacity.Vector{VCPU: 64, RAMGiB: 128, StorageGiB: 900, Addresses: 9}
	x.Apply(market.Changes{
		Offers:  []market.Offer{{ID: "a", Prices: market.Prices{VCPU: 1}}, {ID: "b", Prices: market.Prices{Address: 10}}},
		Servers: []market.Server{{Number: 1, OfferID: "a", Capacity: room, Open: true}, {Number: 2, OfferID: "b", Capacity: room, Open: true}},
	})
	for i, conf := range market.Configurations() {
		c := market.Constraints{Configuration: conf.Slug()}
		want := min(10, money.Amount(conf.VCPU))
		hits, err := hitsOf(x, c)
		if err != nil || len(hits) != 2 || hits[0].price != want || hits[0].size != i {
			t.Errorf("%s: got %+v, %v, want the one for %d first", conf.Slug(), hits, err, want)
		}
		if placed, err := x.Place(market.Request{Constraints: c, Instances: 1}); err != nil || placed[0].Price != want {
			t.Errorf("%s: got %+v, %v, want it for %d", conf.Slug(), placed, err, want)
		}
	}
}
