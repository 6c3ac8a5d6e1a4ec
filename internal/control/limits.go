package control

import (
	"context"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/store"
)

// Allowance is what an account or an API key may spend newly, and what it has
// used. Of two limits the tighter one counts.
type Allowance struct {
	Own      account.Limits // set by the account
	Operator account.Limits // set by the operator; only of accounts
	Used     account.Use
}

// Spending is the allowance of an account, and of one of its keys.
type Spending struct {
	Account Allowance
	KeyID   string
	Key     Allowance
}

// Spending returns what the actor's account and key may spend, and have used.
func (s *Service) Spending(ctx context.Context, who account.Actor) (out Spending, err error) {
	err = s.Store.Read(ctx, func(tx *store.Tx) (err error) {
		out, err = s.spending(ctx, tx, who)
		return err
	})
	return out, err
}

func (s *Service) spending(ctx context.Context, tx *store.Tx, who account.Actor) (Spending, error) {
	all, err := s.allowances(ctx, tx, who.AccountID, who.KeyID)
	return Spending{Account: all[who.AccountID], KeyID: who.KeyID, Key: all[who.KeyID]}, err
}

// allowances returns the allowances of an account and some of its keys.
func (s *Service) allowances(ctx context.Context, tx *store.Tx, accountID string, keyIDs ...string) (map[string]Allowance, error) {
	uses, err := s.uses(ctx, tx, s.Now(), false, accountID, keyIDs...)
	if err != nil {
		return nil, err
	}
	all := map[string]Allowance{}
	for subject, use := range uses {
		all[subject] = Allowance{Used: use}
	}
	bounds, err := tx.Bounds(ctx, append([]string{accountID}, keyIDs...)...)
	for _, b := range bounds {
		a := all[b.Subject]
		if b.SetBy == account.ByOperator {
			a.Operator = b.Limits
		} else {
			a.Own = b.Limits
		}
		all[b.Subject] = a
	}
	return all, err
}

// SetLimits sets the actor's account's own limits, in the place of those before;
// those that the operator set stay. Returns a Denied fault for a key that has
// limits itself.
func (s *Service) SetLimits(ctx context.Context, who account.Actor, l account.Limits) (out Spending, err error) {
	err = s.setLimits(ctx, who, who.AccountID, account.Bound{Subject: who.AccountID, SetBy: account.ByAccount, Limits: l}, func(tx *store.Tx) (err error) {
		out, err = s.spending(ctx, tx, who)
		return err
	})
	return out, err
}

// AccountLimits returns any account's allowance. For operators.
func (s *Service) AccountLimits(ctx context.Context, who account.Actor, accountID string) (out Allowance, err error) {
	if err := who.RequireOperator(); err != nil {
		return out, err
	}
	err = s.Store.Read(ctx, func(tx *store.Tx) (err error) {
		out, err = s.allowance(ctx, tx, accountID)
		return err
	})
	return out, err
}

// allowance returns an account's allowance, or a NotFound fault.
func (s *Service) allowance(ctx context.Context, tx *store.Tx, accountID string) (Allowance, error) {
	if _, err := tx.Account(ctx, accountID); err != nil {
		return Allowance{}, err
	}
	all, err := s.allowances(ctx, tx, accountID)
	return all[accountID], err
}

// SetAccountLimits sets limits on any account that it can't raise itself. For
// operators; Denied for a key that has limits itself.
func (s *Service) SetAccountLimits(ctx context.Context, who account.Actor, accountID string, l account.Limits) (out Allowance, err error) {
	if err := who.RequireOperator(); err != nil {
		return out, err
	}
	err = s.setLimits(ctx, who, accountID, account.Bound{Subject: accountID, SetBy: account.ByOperator, Limits: l}, func(tx *store.Tx) (err error) {
		out, err = s.allowance(ctx, tx, accountID)
		return err
	})
	return out, err
}

// setLimits sets limits of an account or one of its keys, and calls then within
// the same transaction.
func (s *Service) setLimits(ctx context.Context, who account.Actor, accountID string, b account.Bound, then func(tx *store.Tx) error) error {
	if err := b.Check(); err != nil {
		return err
	}
	return s.Store.Write(ctx, func(tx *store.Tx) error {
		return firstErrorOf(
			func() error { return mayManage(ctx, tx, who) },
			func() error { return tx.PutBound(ctx, accountID, b, s.Now()) },
			func() error { return then(tx) },
		)
	})
}

// mayManage returns a Denied fault for a key that has limits: whoever holds it
// could lift them otherwise, or make a key without.
func mayManage(ctx context.Context, tx *store.Tx, who account.Actor) error {
	own, err := tx.Bounds(ctx, who.KeyID)
	if err == nil && len(own) > 0 {
		return fault.New(fault.Denied, "this API key has limits itself; limits and API keys are managed with one that has none")
	}
	return err
}
