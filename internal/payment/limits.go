package payment

import (
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/money"
)

// Limits bound what accounts are paid and what providers withdraw. Of each 0
// stands for none.
type Limits struct {
	MinDeposit    money.Amount // the smallest payment
	MaxBalance    money.Amount // the most that a payment may make of a balance
	MinWithdrawal money.Amount // the smallest withdrawal
}

// Deposit returns an Invalid fault that says the bound, and how much would fit,
// for a payment that is too small, or too large for a balance that holds free.
func (l Limits) Deposit(amount, free money.Amount) error {
	room := max(l.MaxBalance-free, 0)
	switch {
	case amount < l.MinDeposit:
		return fault.Newf(fault.Invalid, "the smallest deposit is %s USDC, not %s", l.MinDeposit, amount)
	case l.MaxBalance == 0 || amount <= room:
		return nil
	case room < max(l.MinDeposit, 1):
		return fault.Newf(fault.Invalid, "a balance is %s USDC at most and this one holds %s: no deposit fits until some of it is spent", l.MaxBalance, free)
	}
	return fault.Newf(fault.Invalid, "a balance is %s USDC at most and this one holds %s: up to %s USDC fit", l.MaxBalance, free, room)
}

// Withdrawal returns an Invalid fault that says the bound for one that is too small.
func (l Limits) Withdrawal(amount money.Amount) error {
	switch {
	case amount <= 0:
		return fault.New(fault.Invalid, "amount has to be more than 0")
	case amount < l.MinWithdrawal:
		return fault.Newf(fault.Invalid, "the smallest withdrawal is %s USDC, not %s", l.MinWithdrawal, amount)
	}
	return nil
}
