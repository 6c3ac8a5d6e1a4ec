package money_test

import (
	"encoding/json"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/money"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]money.Amount{
		"0": 0, "12": 12_000_000, "0.3": 300_000, ".30697": 306_970, "007.5": 7_500_000, "0.000001": 1,
		"9223372036854.775807": money.Max,
	} {
		if got, err := money.Parse(text); err != nil || got != want {
			t.Errorf("Parse(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", ".", "1.", "-1", "+1", "1e3", "1,5", " 1", "1 ", "0x10", "NaN", "Inf", "1.0000001", "9223372036854.775808",
		strings.Repeat("9", 30), "١", "1_000",
	} {
		if got, err := money.Parse(text); !fault.Is(err, fault.Invalid) {
			t.Errorf("Parse(%q) = %d, %v; want an Invalid fault", text, got, err)
		}
	}
}

func TestParseLimit(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]money.Amount{
		"5.0": 5_000_000, "5": 5_000_000, "1.5": 1_500_000, "1.5E3": 1_500_000_000, "1e-7": 0, "1e+2": 100_000_000,
		"0.1000000000000000055": 100_000, "1e300": money.Max, "0": 0, ".5": 500_000,
	} {
		if got, err := money.ParseLimit(text); err != nil || got != want {
			t.Errorf("ParseLimit(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "-1", "+1", "cheap", "1e999999999", "NaN", "Inf", "1/3", "0x1", "e5", "--", strings.Repeat("1", 65), "1..2",
	} {
		if got, err := money.ParseLimit(text); !fault.Is(err, fault.Invalid) {
			t.Errorf("ParseLimit(%q) = %d, %v; want an Invalid fault", text, got, err)
		}
	}
}

func TestStringAndParseAgree(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a := money.Amount(rapid.Int64Min(0).Draw(t, "amount"))
		if got, err := money.Parse(a.String()); err != nil || got != a {
			t.Fatalf("Parse(%q) = %d, %v; want %d", a, got, err, a)
		}
		doc, err := json.Marshal(a)
		if err != nil || doc[0] != '"' {
			t.Fatalf("Marshal(%d) = %s, %v; want a JSON string", a, doc, err)
		}
	})
}

func TestShareRoundsHalfUp(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		amount      money.Amount
		part, whole int64
		want        money.Amount
	}{{3, 1, 2, 2}, {1, 1, 3, 0}, {2, 1, 3, 1}, {100, 0, 24, 0}, {100, 24, 24, 100}} {
		if got := c.amount.Share(c.part, c.whole); got != c.want {
			t.Errorf("%d × %d/%d = %d, want %d", c.amount, c.part, c.whole, got, c.want)
		}
	}
}

func TestScaledRoundsUp(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		amount      money.Amount
		part, whole int64
		want        money.Amount
	}{{3, 1, 2, 2}, {1, 1, 3, 1}, {4, 1, 2, 2}, {5, 24, 24, 5}, {5, 24, 1, 120}, {0, 24, 1, 0}, {money.Max, 2, 1, money.Max}, {money.Max, 1 << 62, 1, money.Max}} {
		if got := c.amount.Scaled(c.part, c.whole); got != c.want {
			t.Errorf("%d × %d/%d = %d, want %d", c.amount, c.part, c.whole, got, c.want)
		}
	}
}

func TestOverflowIsRefused(t *testing.T) {
	t.Parallel()
	if _, err := money.Max.Times(2); !fault.Is(err, fault.Invalid) {
		t.Errorf("Max × 2: %v, want an Invalid fault", err)
	}
	if _, err := money.Sum(money.Max, 1); !fault.Is(err, fault.Invalid) {
		t.Errorf("Max + 1: %v, want an Invalid fault", err)
	}
}
