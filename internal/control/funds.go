package control

import (
	"context"
	"fmt"
	"slices"

	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/store"
)

// Bounds of what is looked at at once.
const (
	fundsEntries  = 500
	fundsAccounts = 200
)

// Warn tells accounts whose funds have come to last for 7, 3 or 1 days only, once
// for each until they last longer again, and returns how many it told. It looks
// at accounts whose money was moved since the last look, each VM of which moves
// some once an epoch, and at those whose time has come. Deploys wait while it
// writes, and not while it looks.
func (s *Service) Warn(ctx context.Context) (told int, err error) {
	for {
		var w watch
		if err := s.Store.Read(ctx, func(tx *store.Tx) (err error) {
			w, err = s.watch(ctx, tx)
			return err
		}); err != nil || !w.some() {
			return told, err
		}
		n := 0
		if err := s.Store.Write(ctx, func(tx *store.Tx) (err error) {
			n, err = w.tell(ctx, tx)
			return err
		}); err != nil {
			return told, err
		}
		told += n
		if !w.more {
			return told, nil
		}
	}
}

// watch is a look at the funds of accounts.
type watch struct {
	lookout
	before  map[string]store.Funds
	changed []store.Funds
	events  map[string]AccountEvent // by account
}

// lookout is what is looked at next.
type lookout struct {
	accounts    []string
	after, last int64 // the entries that moved their money are behind one and up to the other
	more        bool  // there may be
}

// some reports whether there is anything to be stored.
func (w *watch) some() bool { return w.last > w.after || len(w.changed) > 0 }

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

// watch looks at the funds of the accounts that are next.
func (s *Service) watch(ctx context.Context, tx *store.Tx) (w watch, err error) {
	if w.lookout, err = s.look(ctx, tx); err != nil || len(w.accounts) == 0 {
		return w, err
	}
	purses := make([]ledger.Account, len(w.accounts))
	for i, id := range w.accounts {
		purses[i] = ledger.Customer(id)
	}
	free, err := tx.Balances(ctx, purses)
	if err != nil {
		return w, err
	}
	all, err := tx.CostingVMs(ctx, w.accounts...)
	if err != nil {
		return w, err
	}
	vms := map[string][]store.Costing{}
	for _, v := range all {
		vms[v.AccountID] = append(vms[v.AccountID], v)
	}
	if w.before, err = tx.Funds(ctx, w.accounts); err != nil {
		return w, err
	}
	w.events = map[string]AccountEvent{}
	now := s.Now().UTC()
	for i, id := range w.accounts {
		w.weigh(id, s.foresee(free[purses[i]], vms[id], now))
	}
	return w, nil
}

// weigh notes what of an account's funds is to be stored and told.
func (w *watch) weigh(accountID string, f *foresight) {
	before, next := w.before[accountID], store.Funds{AccountID: accountID, LookAt: f.lookAgain(), Level: f.level()}
	if next.Level > 0 && (before.Level == 0 || next.Level < before.Level) {
		warnings := f.warnings()
		if len(warnings) == 0 { // it is not billed yet: it is looked at again when it is
			return
		}
		w.events[accountID] = AccountEvent{Key: fmt.Sprintf("%s:%d", warnings[0].Key, f.now.UnixMicro()), At: f.now, Text: warnings[0].Text}
	}
	if next.Level != before.Level || !next.LookAt.Equal(before.LookAt) {
		w.changed = append(w.changed, next)
	}
}

// tell stores what came of a look, and returns how many accounts are told
// something. Nothing is where another replica was faster: the next look sees it.
func (w *watch) tell(ctx context.Context, tx *store.Tx) (told int, err error) {
	after, err := tx.FundsEntry(ctx)
	if err != nil || after != w.after {
		return 0, err
	}
	ids := make([]string, len(w.changed))
	for i, f := range w.changed {
		ids[i] = f.AccountID
	}
	if len(ids) > 0 {
		now, err := tx.Funds(ctx, ids)
		if err != nil {
			return 0, err
		}
		for _, id := range ids {
			if now[id] != w.before[id] {
				return 0, nil
			}
		}
	}
	for _, id := range ids {
		if e, is := w.events[id]; is {
			told++
			if err := tx.AddAccountEvent(ctx, id, e); err != nil {
				return 0, err
			}
		}
	}
	tx.PutFunds(w.changed)
	if w.last > w.after {
		return told, tx.PutFundsEntry(ctx, w.last)
	}
	return told, nil
}
