package main

import (
	"github.com/spf13/pflag"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/payment"
)

// limitFlags bound deposits and withdrawals.
type limitFlags struct {
	minDeposit, maxBalance, minWithdrawal string
}

func (l *limitFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&l.minDeposit, "min-deposit", "10", "smallest deposit in USDC; 0 for none")
	flags.StringVar(&l.maxBalance, "max-balance", "5000", "most that a deposit may make of a balance, in USDC; 0 for no limit")
	flags.StringVar(&l.minWithdrawal, "min-withdrawal", "10", "smallest withdrawal of what a provider earned, in USDC; 0 for none")
}

// read returns the limits. Returns an Invalid fault that names the flag for what
// is no amount, and for limits that no deposit can keep to.
func (l *limitFlags) read() (limits payment.Limits, err error) {
	for _, flag := range []struct {
		name, given string
		to          *money.Amount
	}{
		{"min-deposit", l.minDeposit, &limits.MinDeposit},
		{"max-balance", l.maxBalance, &limits.MaxBalance},
		{"min-withdrawal", l.minWithdrawal, &limits.MinWithdrawal},
	} {
		if *flag.to, err = money.Parse(flag.given); err != nil {
			return limits, fault.Newf(fault.Invalid, "--%s: %s", flag.name, fault.Message(err))
		}
	}
	if limits.MaxBalance > 0 && limits.MinDeposit > limits.MaxBalance {
		return limits, fault.New(fault.Invalid, "--min-deposit is more than --max-balance: no deposit would fit")
	}
	return limits, nil
}
