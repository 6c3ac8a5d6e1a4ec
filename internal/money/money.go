// Package money counts USDC in whole micro-USDC. There are no floats in it.
package money

import (
	"bytes"
	"math"
	"math/big"
	"strconv"
	"strings"

	"github.com/cpucloud/cpucloud/internal/fault"
)

// Amount is a sum in micro-USDC: 1 USDC = 1,000,000.
type Amount int64

// One USDC, and the largest amount that can be held.
const (
	USDC Amount = 1_000_000
	Max  Amount = math.MaxInt64
)

// decimals is how many digits a decimal amount may carry behind the point.
const decimals = 6

// Parse reads a plain decimal: digits, perhaps a point and up to six more
// digits, such as "12", "0.3" or ".30697". It refuses signs, exponents, spaces
// and grouping. Returns an Invalid fault.
func Parse(s string) (Amount, error) {
	whole, frac, point := strings.Cut(s, ".")
	switch {
	case whole == "" && frac == "", point && frac == "":
		return 0, fault.Newf(fault.Invalid, "amount %q is not a decimal number", clip(s))
	case len(frac) > decimals:
		return 0, fault.Newf(fault.Invalid, "amount %q has more than %d decimals", clip(s), decimals)
	}
	digits := whole + frac + strings.Repeat("0", decimals-len(frac))
	for _, c := range []byte(digits) {
		if c < '0' || c > '9' {
			return 0, fault.Newf(fault.Invalid, "amount %q is not a decimal number", clip(s))
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return 0, fault.Newf(fault.Invalid, "amount %q is too large", clip(s))
	}
	return Amount(n), nil
}

// ParseLimit reads an upper bound as clients write one: a plain decimal of any
// length, or with an exponent ("5.0", "1e-7", "1.5E3"). Digits behind the sixth
// are cut off, which changes no comparison with an amount; a bound too large to
// hold becomes Max. It refuses signs and anything but a number with an Invalid
// fault, so that a mistyped limit never becomes no limit.
func ParseLimit(s string) (Amount, error) {
	bad := fault.Newf(fault.Invalid, "price limit %q is not a number", clip(s))
	if len(s) == 0 || len(s) > 64 || strings.Trim(s, "0123456789.eE+-") != "" || s[0] == '-' || s[0] == '+' {
		return 0, bad
	}
	if _, exp, found := strings.Cut(strings.ToLower(s), "e"); found {
		if n, err := strconv.Atoi(exp); err != nil || n > 400 || n < -400 {
			return 0, bad
		}
	}
	r, ok := new(big.Rat).SetString(s)
	if !ok {
		return 0, bad
	}
	r.Mul(r, new(big.Rat).SetInt64(int64(USDC)))
	n := new(big.Int).Quo(r.Num(), r.Denom()) // rounds down: amounts are whole, so "≤ limit" is unchanged
	if !n.IsInt64() {
		return Max, nil
	}
	return Amount(n.Int64()), nil
}

// Times returns a × n. Returns an Invalid fault when the product can't be held.
func (a Amount) Times(n int64) (Amount, error) {
	p := new(big.Int).Mul(big.NewInt(int64(a)), big.NewInt(n))
	if !p.IsInt64() {
		return 0, fault.Newf(fault.Invalid, "%s USDC × %d is too large", a, n)
	}
	return Amount(p.Int64()), nil
}

// Sum adds amounts. Returns an Invalid fault when the sum can't be held.
func Sum(amounts ...Amount) (Amount, error) {
	total := new(big.Int)
	for _, a := range amounts {
		total.Add(total, big.NewInt(int64(a)))
	}
	if !total.IsInt64() {
		return 0, fault.New(fault.Invalid, "the sum is too large")
	}
	return Amount(total.Int64()), nil
}

// Share returns a × part / whole, rounded half up to a micro-USDC: the one
// rounding of a part of an epoch. Whole must be positive, part within 0…whole.
func (a Amount) Share(part, whole int64) Amount {
	n := new(big.Int).Mul(big.NewInt(int64(a)), big.NewInt(2*part))
	n.Add(n, big.NewInt(whole))
	return Amount(n.Quo(n, big.NewInt(2*whole)).Int64())
}

// Scaled returns a × part / whole, rounded up to a micro-USDC; Max where that can't
// be held. Part and whole must be positive.
func (a Amount) Scaled(part, whole int64) Amount {
	n := new(big.Int).Mul(big.NewInt(int64(a)), big.NewInt(part))
	n.Add(n, big.NewInt(whole-1))
	if n.Quo(n, big.NewInt(whole)); !n.IsInt64() || n.Int64() > int64(Max) {
		return Max
	}
	return Amount(n.Int64())
}

// String returns the decimal with a leading zero and no needless trailing
// zeros: "0.30697", "12", "-0.5".
func (a Amount) String() string { return string(a.Append(nil)) }

// Append writes the decimal of String behind b.
func (a Amount) Append(b []byte) []byte {
	u := uint64(a)
	if a < 0 {
		b, u = append(b, '-'), -u
	}
	b = strconv.AppendUint(b, u/uint64(USDC), 10)
	frac := u % uint64(USDC)
	if frac == 0 {
		return b
	}
	digits := strconv.AppendUint(make([]byte, 0, 7), frac+uint64(USDC), 10) // a 1 and the six decimals
	digits[0] = '.'
	return append(b, bytes.TrimRight(digits, "0")...)
}

// MarshalText writes the decimal, so that JSON carries a string.
func (a Amount) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (a *Amount) UnmarshalText(text []byte) error {
	s, negative := strings.CutPrefix(string(text), "-")
	n, err := Parse(s)
	if err != nil {
		return err
	}
	*a = n
	if negative {
		*a = -n
	}
	return nil
}

func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}
