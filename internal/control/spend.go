package control

import (
	"context"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// SpendBy says what spend is summed up by.
type SpendBy string

// What spend may be summed up by.
const (
	SpendByVM       SpendBy = "vm"
	SpendByDay      SpendBy = "day" // in UTC
	SpendByResource SpendBy = "resource"
)

// Bounds of a spend.
const (
	MaxSpendVMs  = 1_000 // rows by VM: those that cost most
	maxSpendDays = 1_000
)

// resources are the names of the parts of a price, and of what no prices are
// known of.
var resources = [ledger.Resources + 1]string{"vcpu", "ram", "storage", "address", "other"}

// SpendRow is what one VM, day or resource cost.
type SpendRow = store.SpendRow

// Spend is what an account's VMs cost in a time.
type Spend struct {
	From, To time.Time
	Total    ledger.Spend
	Rows     []SpendRow
	Rest     ledger.Spend // of VMs that are not among the rows
}

// Spend returns what the actor's VMs, those that chosen chooses, cost from a time on and
// before another, by VM, day or resource: from the beginning of the month and until now for zero
// times. Returns an Invalid fault for another kind of sum, and for times that
// can't be.
func (s *Service) Spend(ctx context.Context, who account.Actor, by SpendBy, from, to time.Time, chosen vm.Selector) (spend Spend, err error) {
	now := s.Now().UTC()
	if to.IsZero() {
		to = now.Add(time.Microsecond) // with what is charged now
	}
	if from.IsZero() {
		from = time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC)
	}
	switch {
	case !from.Before(to):
		return spend, fault.New(fault.Invalid, "from has to be before to")
	case by == SpendByDay && to.Sub(from) > maxSpendDays*day:
		return spend, fault.Newf(fault.Invalid, "at most %d days are told one by one; ask for a shorter time, or by vm or resource", maxSpendDays)
	case by != SpendByVM && by != SpendByDay && by != SpendByResource:
		return spend, fault.Newf(fault.Invalid, "spend is summed up by vm, day or resource, not %.40q", string(by))
	}
	spend = Spend{From: from.UTC(), To: to.UTC()}
	h := store.History{AccountID: who.AccountID, From: from, To: to, Labels: chosen}
	err = s.Store.Read(ctx, func(tx *store.Tx) error {
		spend.Total, err = tx.Spend(ctx, h)
		if err != nil {
			return err
		}
		spend.Rows, spend.Rest, err = spendRows(ctx, tx, h, by, spend.Total)
		return err
	})
	return spend, err
}

// spendRows returns the rows of a spend, and what of the total is in none of them.
func spendRows(ctx context.Context, tx *store.Tx, h store.History, by SpendBy, total ledger.Spend) (list []SpendRow, rest ledger.Spend, err error) {
	switch by {
	case SpendByVM:
		list, err = tx.SpendByVM(ctx, h, MaxSpendVMs)
		rest = total
		for _, r := range list {
			rest = rest.Minus(r.Spend)
		}
	case SpendByDay:
		list, err = tx.SpendByDay(ctx, h)
	case SpendByResource:
		var parted ledger.PartedSpend
		parted, err = tx.SpendByResource(ctx, h)
		for i, part := range parted {
			if part != (ledger.Spend{}) {
				list = append(list, SpendRow{Key: resources[i], Spend: part})
			}
		}
	}
	return list, rest, err
}
