package control

import (
	"context"
	"fmt"
	"slices"

	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/store"
)

// Bounds of what is looked at in one transaction: deploys wait for it.
const (
	fundsEntries  = 500
	fundsAccounts = 200
)

// Warn tells accounts whose funds have come to last for 7, 3 or 1 days only, once
// for each until they last longer again, and returns how many it told. It looks
// at accounts whose money was moved since the last look, each VM of which moves
// some once an epoch, and at those whose time has come.
func (s *Service) Warn(ctx context.Context) (told int, err error) {
	for {
		some := false
		if err := s.Store.Read(ctx, func(tx *store.Tx) error { // mostly there is nothing, and nobody has to wait for that
			l, err := s.look(ctx, tx)
			some = len(l.accounts) > 0 || l.last > l.after
			return err
		}); err != nil || !some {
			return told, err
		}
		n, more := 0, false
		err := s.Store.Write(ctx, func(tx *store.Tx) error {
			l, err := s.look(ctx, tx)
			if err != nil {
				return err
			}
			more = l.more
			if l.last > l.after {
				if err := tx.PutFundsEntry(ctx, l.last); err != nil {
					return err
				}
			}
			n, err = s.warn(ctx, tx, l.accounts)
			return err
		})
		if err != nil {
			return told, err
		}
		told += n
		if !more {
			return told, nil
		}
	}
}

// lookout is what is looked at next.
type lookout struct {
	accounts    []string
	after, last int64 // the entries that moved their money are behind one and up to the other
	more        bool  // there may be
}

func (s *Service) look(ctx context.Context, tx *store.Tx) (l lookout, err error) {
	if l.after, err = tx.FundsEntry(ctx); err != nil {
		return l, err
	}
	if l.accounts, l.last, err = tx.Touched(ctx, l.after, fundsEntries); err != nil {
		return l, err
	}
	due, err := tx.DueFunds(ctx, s.Now(), fundsAccounts)
	l.more = len(due) == fundsAccounts || l.last >= l.after+fundsEntries
	l.accounts = append(l.accounts, due...)
	slices.Sort(l.accounts)
	l.accounts = slices.Compact(l.accounts)
	return l, err
}

// warn looks at the funds of accounts.
func (s *Service) warn(ctx context.Context, tx *store.Tx, accounts []string) (told int, err error) {
	if len(accounts) == 0 {
		return 0, nil
	}
	purses := make([]ledger.Account, len(accounts))
	for i, id := range accounts {
		purses[i] = ledger.Customer(id)
	}
	free, err := tx.Balances(ctx, purses)
	if err != nil {
		return 0, err
	}
	all, err := tx.CostingVMs(ctx, accounts...)
	if err != nil {
		return 0, err
	}
	vms := map[string][]store.Costing{}
	for _, v := range all {
		vms[v.AccountID] = append(vms[v.AccountID], v)
	}
	kept, err := tx.Funds(ctx, accounts)
	if err != nil {
		return 0, err
	}
	now := s.Now().UTC()
	var changed []store.Funds
	for i, id := range accounts {
		f, before := s.foresee(free[purses[i]], vms[id], now), kept[id]
		next := store.Funds{AccountID: id, LookAt: f.lookAgain(), Level: f.level()}
		if next.Level > 0 && (before.Level == 0 || next.Level < before.Level) {
			warnings := f.warnings()
			if len(warnings) == 0 { // it is not billed yet: it is looked at again when it is
				continue
			}
			told++
			if err := tx.AddAccountEvent(ctx, id, AccountEvent{Key: fmt.Sprintf("%s:%d", warnings[0].Key, now.UnixMicro()), At: now, Text: warnings[0].Text}); err != nil {
				return 0, err
			}
		}
		if next.Level != before.Level || !next.LookAt.Equal(before.LookAt) {
			changed = append(changed, next)
		}
	}
	tx.PutFunds(changed)
	return told, nil
}
