package market_test

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/market"
)

// The counts of an explanation are those of a plain count.
func TestExplainCounts(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		f := drawFleet(t)
		r := drawRequest(t, f, 4)
		want := f.explain(r)
		got, err := f.index(t).Explain(r)
		if err != nil {
			t.Fatal(err)
		}
		total := got.Matching
		for i := range got.Reasons {
			total += got.Reasons[i].InOrder
			if got.Reasons[i].Wanted == "" && r.Configuration != "" {
				t.Errorf("%s: nothing is wanted", got.Reasons[i].Constraint)
			}
			got.Reasons[i].Wanted = ""
		}
		got.Relaxations = nil
		if total != got.Servers || !reflect.DeepEqual(got, want) {
			t.Errorf("of %+v got %+v, want %+v", r, got, want)
		}
		if _, _, _, some := f.place(r); got.Matching > 0 && !some {
			t.Errorf("%d servers match a request that none fits", got.Matching)
		}
	})
}

// explain counts in the plainest way.
func (f fleet) explain(r market.Request) market.Explanation {
	conf := market.Configurations()[max(0, slices.Index(slugs(), r.Configuration))]
	alone, inOrder := map[string]int{}, map[string]int{}
	out := market.Explanation{}
	open, left := 0, 0
	f.each(func(o market.Offer, s market.Server) {
		out.Servers++
		why := against(r.Constraints, conf, o, s)
		if r.Avoid[s.Number] {
			why["affinityGroup"] = true
		}
		n := int(s.Free().Times(demand(conf, r.Constraints)))
		if r.Apart {
			n = min(n, 1)
		}
		if s.Open {
			open += n
		}
		if len(why) == 0 {
			out.Matching, left = out.Matching+1, left+n
			return
		}
		for name := range why {
			alone[name]++
		}
		first := slices.MinFunc(slices.Collect(maps.Keys(why)), func(a, b string) int { return cmp.Compare(slices.Index(order, a), slices.Index(order, b)) })
		inOrder[first]++
	})
	if open < r.Instances {
		alone["instances"] = out.Servers
	}
	if left < r.Instances {
		inOrder["instances"], out.Matching = out.Matching, 0
	}
	for _, name := range order {
		_, given := drop(r, name)
		if given || name == "open" || name == "room" || name == "affinityGroup" && len(r.Avoid) > 0 {
			out.Reasons = append(out.Reasons, market.Reason{Constraint: name, Alone: alone[name], InOrder: inOrder[name]})
		}
	}
	return out
}

// A relaxation is there for just the constraints that stand alone in the way;
// with it the request succeeds at its price, and with less it doesn't.
func TestExplainRelaxations(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		f := drawFleet(t)
		r := drawRequest(t, f, 6)
		x := f.index(t)
		e, err := x.Explain(r)
		if err != nil {
			t.Fatal(err)
		}
		_, err = x.Place(r)
		if met := err == nil; met != (e.Matching > 0) || met && e.Relaxations != nil {
			t.Fatalf("placing %+v: %v; explained by %+v", r, err, e)
		}
		var got, want []string
		for _, name := range order {
			if without, given := drop(r, name); given && err != nil {
				if _, err := x.Place(without); err == nil {
					want = append(want, name)
				}
			}
		}
		for _, relax := range e.Relaxations {
			got = append(got, relax.Constraint)
			holds(t, x, r, relax)
			smallest(t, f, x, r, relax)
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%+v: relaxed %v, want %v", r, got, want)
		}
		if !slices.IsSortedFunc(e.Relaxations, func(a, b market.Relaxation) int {
			return cmp.Or(cmp.Compare(a.Price, b.Price), cmp.Compare(slices.Index(order, a.Constraint), slices.Index(order, b.Constraint)))
		}) {
			t.Errorf("not sorted: %+v", e.Relaxations)
		}
	})
}

// holds checks that a relaxation does what it says, and changes nothing else.
func holds(t *rapid.T, x *market.Index, r market.Request, relax market.Relaxation) {
	changed := r
	changed.Constraints, changed.Instances = relax.Constraints, relax.Instances
	placed, err := x.Place(changed)
	if err != nil {
		t.Fatalf("%s: %v", relax.Change, err)
	}
	least := slices.MinFunc(placed, func(a, b market.Placement) int { return cmp.Compare(a.Price, b.Price) })
	if least.Price != relax.Price || least.Configuration != relax.Configuration {
		t.Errorf("%s: got %+v, want %s for %+v", relax.Change, least, relax.Price, relax.Configuration)
	}
	before, _ := drop(r, relax.Constraint)
	after, _ := drop(changed, relax.Constraint)
	before.Load, after.Load = nil, nil
	if !reflect.DeepEqual(before, after) || relax.Change == "" {
		t.Errorf("%q: %+v became %+v", relax.Change, before, after)
	}
}

// What can't be meant is refused.
func TestExplainRefuses(t *testing.T) {
	t.Parallel()
	x := market.NewIndex()
	for _, r := range []market.Request{
		{},
		{Instances: -1},
		{Instances: 1, Strategy: "best"},
		{Instances: 1, Constraints: market.Constraints{Extra: []market.ExtraStorage{{}}}},
	} {
		if _, err := x.Explain(r); !fault.Is(err, fault.Invalid) {
			t.Errorf("%+v: got %v, want a fault of kind invalid", r, err)
		}
	}
	if e, err := x.Explain(market.Request{Instances: 1}); err != nil || e.Servers != 0 || len(e.Relaxations) != 0 || len(e.Reasons) != 2 {
		t.Errorf("of no servers: got %+v, %v", e, err)
	}
}
