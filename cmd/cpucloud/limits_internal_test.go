package main

import (
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/payment"
)

// Limits are decimal USDC; those that nothing can keep to are refused.
func TestLimitFlags(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]payment.Limits{
		"": {MinDeposit: 10 * money.USDC, MaxBalance: 5_000 * money.USDC, MinWithdrawal: 10 * money.USDC},
		"--min-deposit 0 --max-balance 0 --min-withdrawal 0":       {},
		"--min-deposit 0.5 --max-balance 0.5 --min-withdrawal 2.1": {MinDeposit: 500_000, MaxBalance: 500_000, MinWithdrawal: 2_100_000},
		"--min-deposit 6000 --max-balance 0":                       {MinDeposit: 6_000 * money.USDC, MinWithdrawal: 10 * money.USDC},
	} {
		if got, err := readLimits(t, given); err != nil || got != want {
			t.Errorf("%s: got %+v, %v, want %+v", given, got, err, want)
		}
	}
	for given, says := range map[string]string{
		"--min-deposit 1e3":    `--min-deposit: amount "1e3" is not a decimal number`,
		"--max-balance -1":     `--max-balance: amount "-1" is not a decimal number`,
		"--min-withdrawal ten": `--min-withdrawal: amount "ten" is not a decimal number`,
		"--min-deposit 5001":   "--min-deposit is more than --max-balance: no deposit would fit",
	} {
		if _, err := readLimits(t, given); !fault.Is(err, fault.Invalid) || fault.Message(err) != says {
			t.Errorf("%s: got %v, want %s", given, err, says)
		}
	}
}

func readLimits(t *testing.T, line string) (payment.Limits, error) {
	t.Helper()
	var l limitFlags
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	l.register(flags)
	if err := flags.Parse(strings.Fields(line)); err != nil {
		t.Fatal(err)
	}
	return l.read()
}
