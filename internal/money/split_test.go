package money_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/cpucloud/cpucloud/internal/money"
)

func TestSplit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		amount  money.Amount
		weights []money.Amount
		want    []money.Amount
	}{
		{100, []money.Amount{40, 30, 20, 10}, []money.Amount{40, 30, 20, 10}},
		{10, []money.Amount{1, 1, 1}, []money.Amount{4, 3, 3}},
		{10, []money.Amount{1, 0, 5}, []money.Amount{2, 0, 8}},
		{1, []money.Amount{1, 2}, []money.Amount{0, 1}},
		{0, []money.Amount{1, 2}, []money.Amount{0, 0}},
		{money.Max, []money.Amount{money.Max, money.Max}, []money.Amount{money.Max/2 + 1, money.Max / 2}},
		{7, []money.Amount{0, 0}, nil},
		{7, nil, nil},
	} {
		if got := c.amount.Split(c.weights...); !slices.Equal(got, c.want) {
			t.Errorf("%d by %v: got %v, want %v", c.amount, c.weights, got, c.want)
		}
	}
}

// The parts add up to the amount, none is a micro-USDC away from its share, and
// what weighs nothing gets nothing.
func TestSplitAddsUp(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		amount := money.Amount(rapid.Int64Min(0).Draw(t, "amount"))
		weights := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) money.Amount {
			return money.Amount(rapid.Int64Range(0, 1<<60).Draw(t, "weight"))
		}), 1, 5).Draw(t, "weights")
		whole, sum := 0.0, money.Amount(0)
		for _, w := range weights {
			whole += float64(w)
		}
		parts := amount.Split(weights...)
		if (whole == 0) != (parts == nil) {
			t.Fatalf("got %v of weights %v", parts, weights)
		}
		for i, p := range parts {
			sum += p
			share := float64(amount) * float64(weights[i]) / whole
			if d := float64(p) - share; d < -1-share/1e14 || d > 1+share/1e14 {
				t.Errorf("part %d is %d, its share %f", i, p, share)
			}
			if weights[i] == 0 && p != 0 {
				t.Errorf("part %d weighs nothing and gets %d", i, p)
			}
		}
		if parts != nil && sum != amount {
			t.Errorf("the parts %v add up to %d, not %d", parts, sum, amount)
		}
	})
}
