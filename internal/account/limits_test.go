package account_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/money"
)

// A limit allows what fits to the last micro-USDC, and says in full what doesn't.
func TestAllow(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 12, 31, 23, 30, 0, 0, time.FixedZone("", -3600)) // the next year in UTC
	use := account.Use{Day: 3, Month: 30, Running: 300}
	for _, c := range []struct {
		name  string
		bound account.Bound
		more  account.Use
		says  string // "" where it is allowed
	}{
		{"no limits", account.Bound{}, account.Use{Day: money.Max, Month: money.Max, Running: money.Max}, ""},
		{"all that is left", account.Bound{Limits: account.Limits{PerDay: new(money.Amount(5)), PerMonth: new(money.Amount(32)), Running: new(money.Amount(302))}}, account.Use{Day: 2, Month: 2, Running: 2}, ""},
		{"nothing", account.Bound{Limits: account.Limits{PerDay: new(money.Amount(3))}}, account.Use{}, ""},
		{
			"per day",
			account.Bound{Limits: account.Limits{PerDay: new(money.Amount(4))}},
			account.Use{Day: 2},
			"the limit of the account is 0.000004 USDC charged per day: 0.000003 USDC are used, and this needs 0.000002 USDC, 0.000001 USDC more than is left; " +
				"wait until 2027-01-02T00:00:00Z, raise it, or ask for less",
		},
		{
			"per month",
			account.Bound{SetBy: account.ByOperator, Limits: account.Limits{PerMonth: new(money.Amount(0))}},
			account.Use{Month: 1},
			"the limit of the account, set by the operator, is 0 USDC charged per month: 0.00003 USDC are used, and this needs 0.000001 USDC, " +
				"0.000031 USDC more than is left; wait until 2027-02-01T00:00:00Z, ask the operator to raise it, or ask for less",
		},
		{
			"what runs",
			account.Bound{Subject: "key_1", OfKey: true, Limits: account.Limits{Running: new(money.Amount(300))}},
			account.Use{Running: 1},
			"the limit of API key key_1 is 0.0003 USDC per 24 h for all that runs: 0.0003 USDC are used, and this needs 0.000001 USDC, " +
				"0.000001 USDC more than is left; delete VMs that are not needed, raise it with a key that has no limits, or ask for less",
		},
		{"more than can be held", account.Bound{Limits: account.Limits{Running: new(money.Max - 1)}}, account.Use{Running: money.Max}, "USDC more than is left"},
	} {
		err := c.bound.Allow(use, c.more, at)
		if c.says == "" && err != nil || c.says != "" && (!fault.Is(err, fault.Exhausted) || !strings.Contains(fault.Message(err), c.says)) {
			t.Errorf("%s: got %v\nwant %q", c.name, err, c.says)
		}
	}
}

func TestTighter(t *testing.T) {
	t.Parallel()
	one, two := new(money.Amount(1)), new(money.Amount(2))
	for _, c := range [][3]*money.Amount{{nil, nil, nil}, {one, nil, one}, {nil, one, one}, {one, two, one}, {two, one, one}} {
		if got := account.Tighter(c[0], c[1]); got != c[2] {
			t.Errorf("Tighter(%v, %v) = %v, want %v", c[0], c[1], got, c[2])
		}
	}
	if err := (account.Limits{Running: new(money.Amount(-1))}).Check(); !fault.Is(err, fault.Invalid) {
		t.Errorf("a negative limit: %v", err)
	}
}
