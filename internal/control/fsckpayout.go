package control

import (
	"context"
	"maps"
	"slices"

	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/payment"
	"github.com/cpucloud/cpucloud/internal/store"
)

// withdrawals compares withdrawals with what their entries say, and what
// providers hold for them with those that wait for a decision.
func (c *checkup) withdrawals(ctx context.Context, tx *store.Tx) error {
	entered := c.books.Payouts()
	waiting := map[string]money.Amount{} // by provider
	if err := tx.EachWithdrawal(ctx, func(w payment.Withdrawal) {
		if w.State == payment.Requested {
			waiting[w.ProviderID] += w.Amount
		}
		if said, should := entered[w.ID], payoutOf(w); said != should {
			c.find("withdrawal "+w.ID, "find out whether it was paid, then set its state and amount to what its entries say: they are what counts",
				"it is %s with %s USDC; its entries asked for %s, paid %s and gave back %s", w.State, w.Amount, said.Asked, said.Paid, said.Restored)
		}
		delete(entered, w.ID)
	}); err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(entered)) {
		c.find("withdrawal "+id, "restore its row from a backup, or give what is not paid back to its provider with an entry of kind restore",
			"there are entries of it and no such withdrawal: they asked for %s USDC", entered[id].Asked)
	}
	held, err := tx.Withdrawing(ctx)
	if err != nil {
		return err
	}
	for id := range waiting {
		held[id] += 0 // one that holds nothing is compared too
	}
	for _, id := range slices.Sorted(maps.Keys(held)) {
		if held[id] != waiting[id] {
			c.find("provider "+id, "see which of its withdrawals are told above, and correct those: then it fits", "%s USDC are being withdrawn, its requests add up to %s",
				held[id], waiting[id])
		}
	}
	return nil
}

// payoutOf returns what the entries of a withdrawal have to say.
func payoutOf(w payment.Withdrawal) ledger.Payout {
	p := ledger.Payout{Asked: w.Amount}
	switch w.State {
	case payment.Requested:
	case payment.Confirmed:
		p.Paid = w.Amount
	case payment.Rejected, payment.Cancelled:
		p.Restored = w.Amount
	}
	return p
}
