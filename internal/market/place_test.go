package market_test

import (
	"cmp"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/money"
)

// spot is a server that VMs can be placed on.
type spot struct {
	number uint32
	price  money.Amount
	free   capacity.Vector
	load   int
	room   int
}

// spots returns where VMs of conf fit, the best first.
func (f fleet) spots(r market.Request, conf market.Configuration) (list []spot) {
	f.each(func(o market.Offer, s market.Server) {
		why := against(r.Constraints, conf, o, s)
		if len(why) > 0 || r.Avoid[s.Number] {
			return
		}
		sp := spot{number: s.Number, price: cost(o.Prices, demand(conf, r.Constraints)), free: s.Free()}
		for free := sp.free; free.Fits(demand(conf, r.Constraints)) && (sp.room == 0 || !r.Apart); free = free.Sub(demand(conf, r.Constraints)) {
			sp.room++
		}
		if r.Load != nil {
			sp.load = r.Load(s.Number)
		}
		list = append(list, sp)
	})
	slices.SortFunc(list, func(a, b spot) int {
		fit := cmp.Or(cmp.Compare(a.free.RAMGiB, b.free.RAMGiB), cmp.Compare(a.free.VCPU, b.free.VCPU), cmp.Compare(a.free.StorageGiB, b.free.StorageGiB))
		by := map[market.Strategy]int{market.Spread: cmp.Compare(a.load, b.load), market.Pack: cmp.Compare(b.load, a.load)}
		return cmp.Or(cmp.Compare(a.price, b.price), by[r.Strategy], fit, cmp.Compare(a.load, b.load), cmp.Compare(a.number, b.number))
	})
	return list
}

// place returns the servers that VMs go to, in turn, and their configuration;
// none when there are too few, and whether there was any.
func (f fleet) place(r market.Request) (servers []uint32, prices []money.Amount, of market.Configuration, some bool) {
	for _, conf := range sizes(r.Constraints) {
		servers, prices = nil, nil
		spots := f.spots(r, conf)
		some = some || len(spots) > 0
		for begin, end := 0, 0; begin < len(spots); begin = end { // of one price
			for end = begin; end < len(spots) && spots[end].price == spots[begin].price; {
				end++
			}
			for again := true; again; {
				again = false
				for i := begin; i < end; i++ {
					for spots[i].room > 0 && len(servers) < r.Instances {
						servers, prices, again = append(servers, spots[i].number), append(prices, spots[i].price), true
						spots[i].room--
						if r.Strategy != market.Pack {
							break
						}
					}
				}
			}
		}
		if len(servers) == r.Instances {
			return servers, prices, conf, true
		}
	}
	return nil, nil, market.Configuration{}, some
}

func drawRequest(t *rapid.T, f fleet, rarity int) market.Request {
	r := market.Request{
		Constraints: f.wishes(t, rarity), Instances: one(t, "instances", 1, 1, 2, 3, 4, 8, 20),
		Strategy: one(t, "strategy", market.Tightest, market.Spread, market.Pack), Apart: one(t, "apart", false, false, true),
	}
	if one(t, "loaded", true, false) {
		r.Load = func(number uint32) int { return int(number*7) % 3 }
	}
	if one(t, "avoiding", false, false, true) {
		r.Avoid = map[uint32]bool{1: true, 3: true}
	}
	return r
}

// Place takes the smallest size of which there are enough, and of it the
// cheapest servers, among equals as the strategy says. It sells nothing twice.
func TestPlace(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		f := drawFleet(t)
		r := drawRequest(t, f, 8)
		want, prices, conf, some := f.place(r)
		placed, err := f.index(t).Place(r)
		switch {
		case want == nil && some:
			refused(t, err, "Not enough offers found")
		case want == nil:
			refused(t, err, "No suitable offer found")
		case err != nil:
			t.Fatalf("Place: %v", err)
		}
		var got []uint32
		taken := map[uint32]capacity.Vector{}
		for i, p := range placed {
			got = append(got, p.Server)
			taken[p.Server] = taken[p.Server].Add(p.Demand())
			if p.Configuration != conf || p.Demand() != demand(conf, r.Constraints) || i < len(prices) && p.Price != prices[i] || p.Price != cost(p.Offer.Prices, p.Demand()) {
				t.Errorf("placed %+v, want %+v at %v", p, conf, prices)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		for _, s := range f.servers {
			if v := taken[s.Number]; v != (capacity.Vector{}) && !s.Free().Fits(v) {
				t.Errorf("server %d: %s was sold of %s", s.Number, v, s.Free())
			}
		}
		if n := len(slices.Compact(slices.Sorted(slices.Values(got)))); r.Apart && n != len(got) {
			t.Errorf("%d VMs on %d servers, want each on its own", len(got), n)
		}
	})
}

func refused(t *rapid.T, err error, text string) {
	if !fault.Is(err, fault.Unsatisfiable) || fault.Message(err) != text {
		t.Errorf("got %v, want %q", err, text)
	}
}

// Among places of one price the strategy decides.
func TestPlaceStrategies(t *testing.T) {
	t.Parallel()
	two := market.Configurations()[0].Demand(0)
	total := two.Add(two).Add(two)
	x := market.NewIndex()
	x.Apply(market.Changes{Offers: []market.Offer{{ID: "off"}}, Servers: []market.Server{
		{Number: 1, OfferID: "off", Open: true, Capacity: total},
		{Number: 2, OfferID: "off", Open: true, Capacity: total, Used: two},
		{Number: 3, OfferID: "off", Open: true, Capacity: total, Used: total},
		{Number: 4, OfferID: "off", Open: true, Capacity: total},
	}})
	load := func(number uint32) int { return map[uint32]int{1: 2, 2: 1}[number] }
	for name, c := range map[string]struct {
		r    market.Request
		want []uint32
	}{
		"tightest":           {market.Request{Instances: 1, Load: load}, []uint32{2}},
		"tightest of many":   {market.Request{Instances: 4, Load: load}, []uint32{2, 4, 1, 2}},
		"spread":             {market.Request{Instances: 2, Strategy: market.Spread, Load: load}, []uint32{4, 2}},
		"pack":               {market.Request{Instances: 4, Strategy: market.Pack, Load: load}, []uint32{1, 1, 1, 2}},
		"apart":              {market.Request{Instances: 3, Strategy: market.Pack, Apart: true}, []uint32{2, 1, 4}},
		"apart, one avoided": {market.Request{Instances: 2, Apart: true, Avoid: map[uint32]bool{2: true}}, []uint32{1, 4}},
		"apart, too few":     {market.Request{Instances: 4, Apart: true}, nil},
		"apart, all avoided": {market.Request{Instances: 1, Apart: true, Avoid: map[uint32]bool{1: true, 2: true, 4: true}}, nil},
	} {
		placed, err := x.Place(c.r)
		var got []uint32
		for _, p := range placed {
			got = append(got, p.Server)
		}
		if !slices.Equal(got, c.want) || fault.Is(err, fault.Unsatisfiable) != (c.want == nil) {
			t.Errorf("%s: got %v, %v, want %v", name, got, err, c.want)
		}
	}
}

// What is left of RAM counts before vCPU, storage, load and number.
func TestPlaceTightest(t *testing.T) {
	t.Parallel()
	free := func(vcpu, ram, storage int64) capacity.Vector {
		return capacity.Vector{VCPU: vcpu, RAMGiB: ram, StorageGiB: storage, Addresses: 1}
	}
	rooms := []capacity.Vector{free(9, 9, 90), free(9, 9, 90), free(9, 9, 90), free(9, 9, 80), free(8, 9, 99), free(9, 8, 99)}
	load := func(number uint32) int { return map[uint32]int{1: 1}[number] }
	want := []uint32{6, 5, 4, 2, 3, 1}
	for n := range rooms {
		x := market.NewIndex()
		c := market.Changes{Offers: []market.Offer{{ID: "off"}}}
		for i, room := range rooms {
			if !slices.Contains(want[:n], uint32(i+1)) {
				c.Servers = append(c.Servers, market.Server{Number: uint32(i + 1), OfferID: "off", Open: true, Capacity: room})
			}
		}
		x.Apply(c)
		if placed, err := x.Place(market.Request{Instances: 1, Load: load}); err != nil || placed[0].Server != want[n] {
			t.Errorf("got %+v, %v, want server %d", placed, err, want[n])
		}
	}
}
