package account

import (
	"fmt"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/money"
)

// Limits bound what an account, or one of its API keys, may spend newly: a
// member that is nil bounds nothing, 0 allows nothing. What runs goes on
// whatever they say: they refuse what is new.
type Limits struct {
	PerDay   *money.Amount // of Use.Day
	PerMonth *money.Amount // of Use.Month
	Running  *money.Amount // of Use.Running
}

// Use is what counts towards limits. Day and Month are the rent that was charged
// in the calendar day or month of UTC, returns not taken off, and one epoch of
// every VM that waits for its first charge, or for the one that starts it again.
// Running is the rent per 24 h, rounded up to a micro-USDC, of every VM that has
// not ended. A new VM adds the epoch that is charged when it becomes Active to
// Day and Month, and its rent per 24 h to Running.
type Use struct {
	Day, Month, Running money.Amount
}

// Plus returns the sum of two uses; what can't be held is the largest amount.
func (u Use) Plus(v Use) Use {
	return Use{Day: plus(u.Day, v.Day), Month: plus(u.Month, v.Month), Running: plus(u.Running, v.Running)}
}

func plus(a, b money.Amount) money.Amount {
	sum, err := money.Sum(a, b)
	if err != nil {
		return money.Max
	}
	return sum
}

// Any reports whether anything is bounded.
func (l Limits) Any() bool { return l.PerDay != nil || l.PerMonth != nil || l.Running != nil }

// Tighter returns the smaller of two limits, the first of equals.
func Tighter(a, b *money.Amount) *money.Amount {
	if a == nil || b != nil && *b < *a {
		return b
	}
	return a
}

// Check returns an Invalid fault for an amount that is no limit.
func (l Limits) Check() error {
	for _, a := range []*money.Amount{l.PerDay, l.PerMonth, l.Running} {
		if a != nil && *a < 0 {
			return fault.Newf(fault.Invalid, "a limit is 0 or more, not %s", *a)
		}
	}
	return nil
}

// SetBy says who set limits.
type SetBy string

// Who sets limits: the account itself, or the marketplace's operator.
const (
	ByAccount  SetBy = "account"
	ByOperator SetBy = "operator"
)

// Bound is limits with whose they are.
type Bound struct {
	Subject string // id of an account or an API key
	OfKey   bool
	SetBy   SetBy
	Limits
}

// Allow returns an Exhausted fault when more, added to what is used, would pass a
// limit. Its sentence says which, by how much, and what to do at a time.
func (b Bound) Allow(used, more Use, now time.Time) error {
	year, month, day := now.UTC().Date()
	for _, l := range []struct {
		name       string
		limit      *money.Amount
		used, more money.Amount
		instead    string
	}{
		{"charged per day", b.PerDay, used.Day, more.Day, until(time.Date(year, month, day+1, 0, 0, 0, 0, time.UTC))},
		{"charged per month", b.PerMonth, used.Month, more.Month, until(time.Date(year, month+1, 1, 0, 0, 0, 0, time.UTC))},
		{"per 24 h for all that runs", b.Running, used.Running, more.Running, "delete VMs that are not needed"},
	} {
		if l.limit == nil || plus(l.used, l.more) <= *l.limit {
			continue
		}
		return fault.Newf(fault.Exhausted, "the limit of %s is %s USDC %s: %s USDC are used, and this needs %s USDC, %s USDC more than is left; %s, %s, or ask for less",
			b.whose(), *l.limit, l.name, l.used, l.more, plus(l.used, l.more)-*l.limit, l.instead, b.remedy())
	}
	return nil
}

func until(t time.Time) string { return "wait until " + t.Format(time.RFC3339) }

func (b Bound) whose() string {
	switch {
	case b.OfKey:
		return fmt.Sprintf("API key %s", b.Subject)
	case b.SetBy == ByOperator:
		return "the account, set by the operator,"
	}
	return "the account"
}

func (b Bound) remedy() string {
	switch {
	case b.OfKey:
		return "raise it with a key that has no limits"
	case b.SetBy == ByOperator:
		return "ask the operator to raise it"
	}
	return "raise it"
}
