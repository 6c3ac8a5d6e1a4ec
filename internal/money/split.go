package money

import (
	"cmp"
	"math/big"
	"slices"
)

// Split divides an amount in the proportions of weights, so that the parts add up
// to it exactly: each is rounded down to a micro-USDC, and those that lose most
// by that get one more, the first of equals first. Neither the amount nor a
// weight may be negative; it returns nil when all weights are 0.
func (a Amount) Split(weights ...Amount) []Amount {
	whole := new(big.Int)
	for _, w := range weights {
		whole.Add(whole, big.NewInt(int64(w)))
	}
	if whole.Sign() == 0 {
		return nil
	}
	parts, rests := make([]Amount, len(weights)), make([]*big.Int, len(weights))
	left := a
	for i, w := range weights {
		part, rest := new(big.Int).QuoRem(new(big.Int).Mul(big.NewInt(int64(a)), big.NewInt(int64(w))), whole, new(big.Int))
		parts[i], rests[i] = Amount(part.Int64()), rest
		left -= parts[i]
	}
	order := make([]int, len(weights))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return cmp.Or(rests[j].Cmp(rests[i]), cmp.Compare(i, j)) })
	for _, i := range order[:left] {
		parts[i]++
	}
	return parts
}
