package control

import (
	"context"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/store"
)

// MaxEarnings is how many rows of earnings there are at most: those with the
// newest entries.
const MaxEarnings = 1_000

// EarningsBy says what earnings are summed up by.
type EarningsBy = store.EarningsBy

// What earnings may be summed up by.
const (
	EarningsByVM     = store.EarningsByVM
	EarningsByServer = store.EarningsByServer
	EarningsByDay    = store.EarningsByDay
)

// Earnings is what a provider's VMs brought in.
type Earnings struct {
	Pending money.Amount // charged for epochs that may still have to be returned in part
	Earned  money.Amount // for good, and not asked for yet

	Withdrawing money.Amount // asked for, and not paid yet
	Withdrawn   money.Amount // paid

	Rows []store.Earning
}

// Earnings returns what a provider holds, and what its VMs brought in since a
// time by VM, server or day, newest first. Returns an Invalid fault for another
// kind of sum.
func (s *Service) Earnings(ctx context.Context, who account.Actor, provider string, by EarningsBy, since time.Time) (e Earnings, err error) {
	err = s.Store.Read(ctx, func(tx *store.Tx) error {
		p, err := s.provider(ctx, tx, who, provider)
		if err != nil {
			return err
		}
		if e.Pending, err = tx.Balance(ctx, ledger.Pending(p.ID)); err != nil {
			return err
		}
		if e.Earned, err = tx.Balance(ctx, ledger.Earned(p.ID)); err != nil {
			return err
		}
		withdrawn, err := tx.Withdrawn(ctx, p.ID)
		if err != nil {
			return err
		}
		e.Withdrawing, e.Withdrawn = withdrawn.Requested, withdrawn.Confirmed
		e.Rows, err = tx.Earnings(ctx, p.ID, by, since, MaxEarnings)
		return err
	})
	return e, err
}
