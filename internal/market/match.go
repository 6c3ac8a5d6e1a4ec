package market

import (
	"cmp"
	"slices"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/money"
)

// The two refusals of a request that no capacity can meet; clients compare the texts.
var (
	errNoneFits  = fault.New(fault.Unsatisfiable, "No suitable offer found")
	errTooFewFit = fault.New(fault.Unsatisfiable, "Not enough offers found")
)

// Match is an offer in one configuration that fits the constraints.
type Match struct {
	Offer         *Offer
	Configuration Configuration
	Price         money.Amount // per epoch of the bare configuration
	Instances     []int64      // how many of it are free on each of the offer's servers
	ExtraGiB      []int64      // storage that one VM can add on each of the offer's servers
}

// Search returns the offers with room for at least one VM as wanted, cheapest
// first, then smallest, then by id. Constraints that contradict themselves are
// an Invalid fault; that nothing matches is none.
func Search(offers []Offer, c Constraints) ([]Match, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	var found []Match
	for i := range offers {
		o := &offers[i]
		if !c.admits(*o) || !extraAllowed(*o, c) {
			continue
		}
		for _, conf := range catalogue {
			if m, ok := match(o, conf, c); ok {
				found = append(found, m)
			}
		}
	}
	slices.SortFunc(found, func(a, b Match) int {
		return cmp.Or(cmp.Compare(a.Price, b.Price), compareSize(a.Configuration, b.Configuration), cmp.Compare(a.Offer.ID, b.Offer.ID))
	})
	return found, nil
}

// match returns o in configuration conf when it is wanted, affordable and at
// least one of its servers has room.
func match(o *Offer, conf Configuration, c Constraints) (Match, bool) {
	if c.Configuration != "" && c.Configuration != conf.Slug() {
		return Match{}, false
	}
	price, err := o.Prices.Of(conf.Demand(0))
	if err != nil {
		return Match{}, false // a price beyond all money is no offer
	}
	full, err := o.Prices.Of(conf.Demand(c.extraGiB()))
	if err != nil || !c.affords(full) {
		return Match{}, false
	}
	m := Match{Offer: o, Configuration: conf, Price: price, Instances: make([]int64, len(o.Servers)), ExtraGiB: make([]int64, len(o.Servers))}
	room := false
	for i, s := range o.Servers {
		free := s.Free()
		m.Instances[i] = free.Times(conf.Demand(0))
		if m.Instances[i] > 0 {
			m.ExtraGiB[i] = free.StorageGiB - conf.StorageGiB
		}
		room = room || free.Fits(conf.Demand(c.extraGiB()))
	}
	return m, room
}

// MaxExtraGiB returns the most storage that one VM can add on the best server.
func (m Match) MaxExtraGiB() int64 {
	best := slices.Max(append([]int64{0}, m.ExtraGiB...))
	if m.Offer.MaxExtraStorage > 0 {
		best = min(best, m.Offer.MaxExtraStorage)
	}
	return best
}

// VCPUPerThread returns how often the offer's servers sell each hardware thread,
// the most where they differ; 1 is not oversold.
func (m Match) VCPUPerThread() int64 {
	most := int64(1)
	for _, s := range m.Offer.Servers {
		most = max(most, s.VCPUPerThread)
	}
	return most
}

// Placement is the place of one VM.
type Placement struct {
	Offer         *Offer
	ServerID      string
	Configuration Configuration
	StorageGiB    int64        // with what was added
	Price         money.Amount // per epoch, with what was added
}

// Place chooses a server for each of n VMs: all in the smallest configuration
// of which n fit, each on the cheapest server that has room left, the fullest
// one among equals. It is all or nothing: an Unsatisfiable fault tells whether
// nothing fits at all or fewer than n. Constraints that contradict themselves
// are an Invalid fault.
func Place(offers []Offer, c Constraints, n int) ([]Placement, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	some := false
	for _, conf := range catalogue {
		if c.Configuration != "" && c.Configuration != conf.Slug() {
			continue
		}
		candidates := candidatesFor(offers, conf, c)
		some = some || len(candidates) > 0
		if placed := fill(candidates, conf, c, n); placed != nil {
			return placed, nil
		}
	}
	if some {
		return nil, errTooFewFit
	}
	return nil, errNoneFits
}

// candidate is a server with room, at its offer's price.
type candidate struct {
	offer *Offer
	id    string
	price money.Amount
	room  int64 // how many VMs of the wanted size fit
	spare int64 // GiB of RAM that are free, to prefer the fullest
}

// candidatesFor returns the servers with room for a VM of size conf, in the
// order in which they are to be filled.
func candidatesFor(offers []Offer, conf Configuration, c Constraints) []candidate {
	demand := conf.Demand(c.extraGiB())
	var found []candidate
	for i := range offers {
		o := &offers[i]
		price, err := o.Prices.Of(demand)
		if err != nil || !c.affords(price) || !c.admits(*o) || !extraAllowed(*o, c) {
			continue
		}
		for _, s := range o.Servers {
			if room := s.Free().Times(demand); room > 0 {
				found = append(found, candidate{o, s.ID, price, room, s.Free().RAMGiB})
			}
		}
	}
	slices.SortFunc(found, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.price, b.price), cmp.Compare(a.spare, b.spare), cmp.Compare(a.id, b.id))
	})
	return found
}

// fill takes n places from the candidates in their order, or returns nil.
func fill(candidates []candidate, conf Configuration, c Constraints, n int) []Placement {
	room := int64(0)
	for _, s := range candidates {
		room += min(s.room, int64(n))
	}
	if room < int64(n) {
		return nil
	}
	placed := make([]Placement, 0, n)
	for _, s := range candidates {
		for range min(s.room, int64(n-len(placed))) {
			placed = append(placed, Placement{s.offer, s.id, conf, conf.StorageGiB + c.extraGiB(), s.price})
		}
	}
	return placed
}

// extraAllowed reports whether the offer lets a VM add the storage asked for.
func extraAllowed(o Offer, c Constraints) bool {
	return o.MaxExtraStorage == 0 || c.extraGiB() <= o.MaxExtraStorage
}

func compareSize(a, b Configuration) int {
	return cmp.Or(cmp.Compare(a.VCPU, b.VCPU), cmp.Compare(a.RAMGiB, b.RAMGiB), cmp.Compare(a.StorageGiB, b.StorageGiB))
}
