package market_test

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/market"
)

// check compares the index with one that is built anew, and with plain counts.
func (m *machine) check(t *rapid.T) {
	f := m.fleet()
	anew := market.NewIndex()
	anew.Apply(market.Changes{Offers: f.offers, Servers: f.servers})
	got, err := hitsOf(m.index, market.Constraints{})
	want, werr := hitsOf(anew, market.Constraints{})
	if err := cmp.Or(err, werr); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the index finds %v, built anew %v", got, want)
	}
	if got, want := m.index.Servers(), len(f.servers); got != want {
		t.Errorf("Servers: got %d, want %d", got, want)
	}
	if got, want := m.index.Catalogue(), f.catalogue(); !reflect.DeepEqual(got, want) {
		t.Errorf("Catalogue: got %+v, want %+v", got, want)
	}
	if got, want := m.index.Groups(), f.groups(); m.reorder && got != want {
		t.Errorf("%d groups are remembered, want %d", got, want)
	}
	for id, o := range m.offers {
		if got, known := m.index.Offer(id); !known || !reflect.DeepEqual(got, o) {
			t.Errorf("Offer: got %+v, want %+v", got, o)
		}
	}
}

func (f fleet) groups() int {
	keys := map[hitKey]bool{}
	for _, s := range f.servers {
		keys[hitKey{s.OfferID, s.Hardware, s.VCPUPerThread}] = true
	}
	return len(keys)
}

// catalogue summarises in the plainest way.
func (f fleet) catalogue() market.Catalogue {
	c := market.Catalogue{Configurations: []string{}, Countries: []string{}, CPU: []capacity.CPU{}, Memory: []capacity.Memory{}, Storage: []capacity.Storage{}}
	for _, conf := range market.Configurations() {
		fits := false
		f.each(func(_ market.Offer, s market.Server) { fits = fits || s.Capacity.Fits(conf.Demand(0)) })
		if fits {
			c.Configurations = append(c.Configurations, conf.Slug())
		}
	}
	f.each(func(o market.Offer, s market.Server) {
		c.Countries = append(c.Countries, o.Datacenter.Country)
		c.CPU = append(c.CPU, capacity.CPU{Manufacturer: s.Hardware.CPU.Manufacturer, Architecture: s.Hardware.CPU.Architecture})
		c.Memory, c.Storage = append(c.Memory, s.Hardware.Memory), append(c.Storage, s.Hardware.Storage)
	})
	c.Countries, c.CPU, c.Memory, c.Storage = sorted(c.Countries), sorted(c.CPU), sorted(c.Memory), sorted(c.Storage)
	return c
}

func sorted[T comparable](list []T) []T {
	slices.SortFunc(list, func(a, b T) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	return slices.Compact(list)
}

// Whatever happens to an index, it is as if it were built anew.
func TestIndexStates(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := &machine{index: market.NewIndex(), offers: map[string]market.Offer{}, servers: map[uint32]market.Server{}}
		t.Repeat(map[string]func(*rapid.T){
			"offers": m.changeOffers, "servers": m.changeServers, "text": m.changeText, "take": m.take, "give back": m.giveBack, "": m.check,
		})
	})
}

// Servers whose hardware is told anew again and again leave nothing behind.
func TestIndexForgetsGroups(t *testing.T) {
	t.Parallel()
	x := market.NewIndex()
	x.Apply(market.Changes{Offers: []market.Offer{{ID: "off"}}})
	for i := range 200 {
		s := market.Server{Number: uint32(i%2) + 1, OfferID: "off"}
		s.Hardware.CPU.Brand = fmt.Sprint(i)
		x.Apply(market.Changes{Servers: []market.Server{s}})
	}
	if got := x.Groups(); got > 3 {
		t.Errorf("%d groups are remembered of 2 servers", got)
	}
}

// Figures of a benchmark outlive a change of the hardware, and go when the
// server has none any more.
func TestIndexMeasured(t *testing.T) {
	t.Parallel()
	x := market.NewIndex()
	s := market.Server{Number: 1, OfferID: "off", Open: true, Capacity: capacity.Vector{VCPU: 9, RAMGiB: 9, StorageGiB: 99, Addresses: 1}}
	fast := market.Constraints{MinMeasured: capacity.Measured{CPUSingle: 500}}
	for i, step := range []struct {
		measured *capacity.Measured
		brand    string
		found    bool
	}{
		{nil, "one", false},
		{&capacity.Measured{CPUSingle: 600}, "one", true},
		{&capacity.Measured{CPUSingle: 600}, "two", true},
		{nil, "two", false},
		{&capacity.Measured{CPUSingle: 400}, "two", false},
	} {
		s.Measured, s.Hardware.CPU.Brand = step.measured, step.brand
		x.Apply(market.Changes{Offers: []market.Offer{{ID: "off"}}, Servers: []market.Server{s}})
		if hits, err := hitsOf(x, fast); err != nil || (len(hits) > 0) != step.found {
			t.Errorf("step %d: got %v, %v, want found %t", i, hits, err, step.found)
		}
	}
}

// A revision never goes back.
func TestIndexRevision(t *testing.T) {
	t.Parallel()
	x := market.NewIndex()
	for _, step := range []struct {
		by   func(int64)
		to   int64
		want int64
	}{
		{x.Advance, 3, 3},
		{x.Advance, 2, 3},
		{func(n int64) { x.Apply(market.Changes{Revision: n}) }, 5, 5},
		{func(n int64) { x.Apply(market.Changes{Revision: n}) }, 4, 5},
		{func(n int64) { x.Apply(market.Changes{Revision: n, Offers: []market.Offer{{ID: "off"}}}) }, 4, 5},
		{func(n int64) { x.Apply(market.Changes{Revision: n, Offers: []market.Offer{{ID: "off"}}}) }, 6, 6},
	} {
		if step.by(step.to); x.Revision() != step.want {
			t.Errorf("to %d: got %d, want %d", step.to, x.Revision(), step.want)
		}
	}
	if _, known := x.Offer("none"); known {
		t.Error("an offer is known that never was")
	}
}
