package ledger

import "github.com/cpucloud/cpucloud/internal/money"

// Spend is what VMs cost: what was charged, and what was returned of it.
type Spend struct {
	Charged  money.Amount
	Returned money.Amount
	Epochs   int64 // how many were charged
}

// Net returns what it comes to.
func (s Spend) Net() money.Amount { return s.Charged - s.Returned }

// Add adds n entries of a kind and an amount. Kinds that are neither charges nor
// returns add nothing.
func (s *Spend) Add(kind Kind, amount money.Amount, n int64) {
	switch kind {
	case Charge:
		s.Charged += amount * money.Amount(n)
		s.Epochs += n
	case Return:
		s.Returned += amount * money.Amount(n)
	case Deposit, Withdrawal, Hold, TopUp, Refund, Settle, Commission, Request, Restore:
	}
}

// Plus returns the sum of two.
func (s Spend) Plus(t Spend) Spend {
	return Spend{s.Charged + t.Charged, s.Returned + t.Returned, s.Epochs + t.Epochs}
}

// Minus is the opposite of Plus.
func (s Spend) Minus(t Spend) Spend {
	return Spend{s.Charged - t.Charged, s.Returned - t.Returned, s.Epochs - t.Epochs}
}

// Resources are how many parts a price has: for vCPUs, RAM, storage and
// addresses.
const Resources = 4

// PartedSpend is a Spend by what it was for. The last part is for what no prices
// are known of.
type PartedSpend [Resources + 1]Spend

// Add adds n entries of a kind and an amount, each divided in the proportions of
// the parts of its VM's price, so that the parts add up to it. Epochs count for
// each part that costs something.
func (p *PartedSpend) Add(kind Kind, amount money.Amount, n int64, prices [Resources]money.Amount) {
	parts := amount.Split(prices[:]...)
	if parts == nil {
		p[Resources].Add(kind, amount, n)
	}
	for i, part := range parts {
		if prices[i] > 0 {
			p[i].Add(kind, part, n)
		}
	}
}
