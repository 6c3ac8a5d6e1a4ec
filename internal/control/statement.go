package control

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/store"
)

// statementPage is how many entries of a statement are in memory at once.
const statementPage = 1_000

// Statement is a month of an account in UTC: its sums, and the entries, which
// Each reads as they are asked for.
type Statement struct {
	Account  account.Account
	Month    string    // such as 2026-11
	From, To time.Time // from the first on and before the other
	AsOf     time.Time // the end of what it tells: To, or now before that
	Opening  ledger.Purse
	Closing  ledger.Purse
	Kinds    []store.KindSum // in the order of kinds
	Total    ledger.Spend
	VMs      []SpendRow   // that cost most, at most MaxSpendVMs
	Rest     ledger.Spend // of the others
	Days     []SpendRow
	Parts    []SpendRow // by resource

	service *Service
	upTo    int64 // the newest entry of all
}

// StatementItem is an entry with the customer's money after it.
type StatementItem struct {
	HistoryItem
	After ledger.Purse
}

// Statement returns the actor's statement of a month, such as "2026-11", or of
// this month for "". One that is still to come is empty. Returns an Invalid fault
// for what is no month.
func (s *Service) Statement(ctx context.Context, who account.Actor, month string) (*Statement, error) {
	now := s.Now().UTC()
	if month == "" {
		month = now.Format(monthLayout)
	}
	from, err := time.Parse(monthLayout, month)
	if err != nil || len(month) != len(monthLayout) || from.Year() < 1970 || from.Year() > 2999 {
		return nil, fault.Newf(fault.Invalid, "month %.20q is none such as 2026-11", month)
	}
	st := &Statement{Month: month, From: from, To: from.AddDate(0, 1, 0), service: s}
	st.AsOf = st.To
	if now.Before(st.To) {
		st.AsOf = now.Truncate(time.Microsecond)
	}
	err = s.Store.Read(ctx, func(tx *store.Tx) error {
		if st.Account, err = tx.Account(ctx, who.AccountID); err != nil {
			return err
		}
		return st.sum(ctx, tx)
	})
	return st, err
}

const monthLayout = "2006-01"

// history is the entries of the statement.
func (st *Statement) history() store.History {
	return store.History{AccountID: st.Account.ID, From: st.From, To: st.To, UpTo: st.upTo}
}

// sum reads all but the entries. The money at the end of the month is what there
// is now less what moved since.
func (st *Statement) sum(ctx context.Context, tx *store.Tx) (err error) {
	if st.upTo, err = tx.LastEntry(ctx); err != nil {
		return err
	}
	now, err := balanceOf(ctx, tx, st.Account)
	if err != nil {
		return err
	}
	since, err := tx.Moved(ctx, store.History{AccountID: st.Account.ID, From: st.To})
	if err != nil {
		return err
	}
	moved, err := tx.Moved(ctx, st.history())
	if err != nil {
		return err
	}
	st.Closing = ledger.Purse{Free: now.Free, Reserved: now.Reserved}.Minus(since)
	st.Opening = st.Closing.Minus(moved)
	if st.Kinds, err = tx.KindSums(ctx, st.history()); err != nil {
		return err
	}
	slices.SortFunc(st.Kinds, func(a, b store.KindSum) int {
		return cmp.Compare(slices.Index(CustomerKinds, a.Kind), slices.Index(CustomerKinds, b.Kind))
	})
	if st.Total, err = tx.Spend(ctx, st.history()); err != nil {
		return err
	}
	if st.VMs, st.Rest, err = spendRows(ctx, tx, st.history(), SpendByVM, st.Total); err != nil {
		return err
	}
	if st.Days, _, err = spendRows(ctx, tx, st.history(), SpendByDay, st.Total); err != nil {
		return err
	}
	st.Parts, _, err = spendRows(ctx, tx, st.history(), SpendByResource, st.Total)
	return err
}

// Each calls fn for each entry, the oldest first. However many there are, a few
// are in memory at once, and while fn is at work nothing is held in the store.
// Returns an Internal fault when opening and entries do not come to the closing.
func (st *Statement) Each(ctx context.Context, fn func(StatementItem) error) error {
	h, after := st.history(), st.Opening
	for {
		var list []store.HistoryEntry
		if err := st.service.Store.Read(ctx, func(tx *store.Tx) (err error) {
			list, err = tx.HistoryUp(ctx, h, statementPage)
			return err
		}); err != nil {
			return err
		}
		for _, e := range list {
			item := itemOf(st.Account.ID, e)
			after = after.Plus(item.Change)
			if err := fn(StatementItem{item, after}); err != nil {
				return err
			}
		}
		if len(list) < statementPage {
			break
		}
		h.After = list[len(list)-1].Mark()
	}
	if after != st.Closing {
		return fault.Newf(fault.Internal, "the statement of %s for %s comes to %s and %s USDC, not %s and %s",
			st.Account.ID, st.Month, after.Free, after.Reserved, st.Closing.Free, st.Closing.Reserved)
	}
	return nil
}
