package market

import (
	"cmp"
	"slices"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/money"
)

// Explanation says why a request can't be met, and what would have to change.
type Explanation struct {
	Servers  int // of all offers that sell
	Matching int // that meet everything; 0 when the request can't be met
	// Reasons holds what was asked for, in a fixed order. Matching and all
	// InOrder add up to Servers.
	Reasons []Reason
	// Relaxations holds the changes that are enough alone, the one that leads to
	// the lowest price first. It is empty when the request can be met.
	Relaxations []Relaxation
}

// Reason says how many servers a constraint rules out.
type Reason struct {
	Constraint string // as in the API, such as "datacenter.countries"
	Wanted     string
	Alone      int // that it would rule out if nothing else were asked for
	InOrder    int // of those that the reasons before it leave
}

// Relaxation is a change of one constraint that makes a request succeed.
type Relaxation struct {
	Constraint    string
	Change        string       // a sentence for the customer, such as "accept country FR"
	Price         money.Amount // per epoch, of the cheapest VM that it leads to
	Configuration Configuration
	Constraints   Constraints // of the request with the change
	Instances     int
}

// Explain looks at every server, and says how many of them each constraint
// rules out and which smallest change of one constraint would let Place
// succeed. Constraints that contradict themselves are an Invalid fault.
func (x *Index) Explain(r Request) (Explanation, error) {
	if err := r.check(); err != nil {
		return Explanation{}, err
	}
	if r.Instances < 1 {
		return Explanation{}, fault.Newf(fault.Invalid, "instances is %d; it has to be 1 or more", r.Instances)
	}
	x.mu.RLock()
	defer x.mu.RUnlock()
	e := newExplaining(x, &r)
	for _, g := range x.orders[0].groups { // those that sell, as in every order
		e.look(g)
	}
	e.countInstances()
	out := Explanation{Servers: e.servers, Matching: e.matching}
	for c := range constraints {
		if e.given(c) {
			out.Reasons = append(out.Reasons, Reason{names[c], e.wanted(c), e.alone[c], e.inOrder[c]})
		}
	}
	if e.matching == 0 {
		out.Relaxations = e.relaxations()
	}
	return out, nil
}

// relaxations returns the changes that are enough, each of one constraint.
func (e *explaining) relaxations() (list []Relaxation) {
	for _, relax := range []func() []Relaxation{
		e.relaxConfiguration, e.relaxPlaces, e.relaxTier, e.relaxCertifications, e.relaxHardware, e.relaxExtra,
		e.relaxPrice, e.relaxMeasured, e.relaxInstances,
	} {
		list = append(list, relax()...)
	}
	slices.SortStableFunc(list, func(a, b Relaxation) int { return cmp.Compare(a.Price, b.Price) })
	return list
}

// relaxed returns the request with one constraint changed, at the price that it
// leads to. That it can be met is known; it is none if that were not so.
func (e *explaining) relaxed(c constraint, change string, alter func(*Request)) []Relaxation {
	r := *e.request
	alter(&r)
	one := r
	one.Instances, one.Load, one.Strategy = 1, nil, Tightest
	placed, err := e.index.place(one)
	if err != nil {
		return nil
	}
	return []Relaxation{{
		Constraint: names[c], Change: change, Price: placed[0].Price, Configuration: placed[0].Configuration,
		Constraints: r.Constraints, Instances: r.Instances,
	}}
}
