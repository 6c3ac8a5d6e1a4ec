package capacity_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/cpucloud/cpucloud/internal/capacity"
)

func vector(most int64) *rapid.Generator[capacity.Vector] {
	return rapid.Custom(func(t *rapid.T) capacity.Vector {
		n := rapid.Int64Range(0, most)
		return capacity.Vector{
			VCPU: n.Draw(t, "vcpu"), RAMGiB: n.Draw(t, "ram"), StorageGiB: n.Draw(t, "storage"), Addresses: n.Draw(t, "addresses"),
		}
	})
}

// Taking a demand as often as Times says always fits; once more never does.
func TestTimesIsTheLastThatFits(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		have, want := vector(200).Draw(t, "have"), vector(20).Draw(t, "want")
		if want == (capacity.Vector{}) {
			if n := have.Times(want); n != 0 {
				t.Fatalf("Times(nothing) = %d, want 0", n)
			}
			return
		}
		n := have.Times(want)
		for range n {
			if !have.Fits(want) {
				t.Fatalf("Times said %d, but %v no longer fits %v", n, have, want)
			}
			have = have.Sub(want)
		}
		if have.Fits(want) {
			t.Fatalf("Times said %d, but %v still fits %v", n, have, want)
		}
	})
}

func TestAddUndoesSub(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b := vector(1000).Draw(t, "a"), vector(1000).Draw(t, "b")
		if got := a.Sub(b).Add(b); got != a {
			t.Fatalf("%v − %v + %v = %v", a, b, b, got)
		}
		if a.Fits(b) != a.Sub(b).Valid() {
			t.Fatalf("Fits(%v, %v) disagrees with Sub", a, b)
		}
	})
}
