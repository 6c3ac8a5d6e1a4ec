package control

import (
	"context"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/id"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/payment"
	"github.com/cpucloud/cpucloud/internal/store"
)

// maxKey bounds what is hashed for a stranger.
const maxKey = 256

// Authenticate returns who an API key belongs to, or a Denied fault.
func (s *Service) Authenticate(ctx context.Context, secret string) (account.Actor, error) {
	denied := fault.New(fault.Denied, "Auth failed. No such API Key")
	if secret == "" || len(secret) > maxKey {
		return account.Actor{}, denied
	}
	hash := account.HashKey(secret)
	who, ok, drops := s.keys.get(hash, s.Now())
	if ok {
		return who, nil
	}
	var key account.Key
	err := s.Store.Read(ctx, func(tx *store.Tx) (err error) {
		key, err = tx.KeyByHash(ctx, hash)
		return err
	})
	if fault.Is(err, fault.NotFound) || err == nil && !key.RevokedAt.IsZero() {
		return account.Actor{}, denied
	}
	if err != nil {
		return account.Actor{}, err
	}
	who = account.Actor{AccountID: key.AccountID, KeyID: key.ID, Role: key.Role}
	s.keys.put(hash, who, s.Now(), drops)
	return who, nil
}

// CreateAccount makes an account and its first API key, which is shown only
// here. For operators.
func (s *Service) CreateAccount(ctx context.Context, who account.Actor, name string, role account.Role) (account.Account, string, error) {
	if err := who.RequireOperator(); err != nil {
		return account.Account{}, "", err
	}
	if err := firstError(account.CheckName(name), role.Check()); err != nil {
		return account.Account{}, "", err
	}
	accountID, err := s.newID("acc")
	if err != nil {
		return account.Account{}, "", err
	}
	a := account.Account{ID: accountID, Name: name, CreatedAt: s.Now()}
	secret, key, err := s.newKey(a.ID, "first", role)
	if err != nil {
		return account.Account{}, "", err
	}
	err = s.Store.Write(ctx, func(tx *store.Tx) error {
		if err := tx.InsertAccount(ctx, a); err != nil {
			return err
		}
		return tx.InsertKey(ctx, key)
	})
	a.ID = lasting(ctx, a.ID)
	return a, lasting(ctx, secret), err
}

func (s *Service) newKey(accountID, name string, role account.Role) (string, account.Key, error) {
	keyID, err := s.newID("key")
	if err != nil {
		return "", account.Key{}, err
	}
	secret, err := id.NewSecret("cpu", 20, s.Rand)
	return secret, account.Key{
		ID: keyID, AccountID: accountID, Name: name, Hash: account.HashKey(secret), Role: role, CreatedAt: s.Now(),
	}, err
}

// Balance is an account with its money.
type Balance struct {
	account.Account
	Free     money.Amount // can be spent
	Reserved money.Amount // held for VMs
	Spent    money.Amount // charged for VMs, all that there ever were
}

// Accounts returns all accounts with their money, oldest first. For operators.
func (s *Service) Accounts(ctx context.Context, who account.Actor) ([]Balance, error) {
	if err := who.RequireOperator(); err != nil {
		return nil, err
	}
	var out []Balance
	err := s.Store.Read(ctx, func(tx *store.Tx) error {
		accounts, err := tx.Accounts(ctx)
		if err != nil {
			return err
		}
		out = make([]Balance, len(accounts))
		for i, a := range accounts {
			if out[i], err = balanceOf(ctx, tx, a); err != nil {
				return err
			}
		}
		return nil
	})
	return out, err
}

// Balance returns an account with its money: the actor's own, or any for
// operators. Returns a NotFound fault for a foreign one.
func (s *Service) Balance(ctx context.Context, who account.Actor, accountID string) (Balance, error) {
	if accountID != who.AccountID && who.Role != account.Operator {
		return Balance{}, fault.New(fault.NotFound, "no such account")
	}
	var out Balance
	err := s.Store.Read(ctx, func(tx *store.Tx) error {
		a, err := tx.Account(ctx, accountID)
		if err != nil {
			return err
		}
		out, err = balanceOf(ctx, tx, a)
		return err
	})
	return out, err
}

func balanceOf(ctx context.Context, tx *store.Tx, a account.Account) (Balance, error) {
	free, err := tx.Balance(ctx, ledger.Customer(a.ID))
	if err != nil {
		return Balance{}, err
	}
	reserved, spent, err := tx.Money(ctx, a.ID)
	return Balance{Account: a, Free: free, Reserved: reserved, Spent: spent}, err
}

// SetBalance makes an account's free balance the amount, by a deposit or a
// withdrawal of the difference: a correction, which no limit of deposits is for.
// For operators. The customer reads the note; without one it is Invalid.
func (s *Service) SetBalance(ctx context.Context, who account.Actor, accountID string, amount money.Amount, note string) (Balance, error) {
	if err := who.RequireOperator(); err != nil {
		return Balance{}, err
	}
	if err := payment.CheckNote(note); err != nil {
		return Balance{}, err
	}
	key, err := s.newID("pay")
	if err != nil {
		return Balance{}, err
	}
	var then Balance
	err = s.Store.Write(ctx, func(tx *store.Tx) error {
		a, err := tx.Account(ctx, accountID)
		if err != nil {
			return err
		}
		free, err := tx.Balance(ctx, ledger.Customer(a.ID))
		if err != nil {
			return err
		}
		if free == amount {
			then, err = balanceOf(ctx, tx, a)
			return err
		}
		reason := "balance set by the operator: " + note
		correction := ledger.Credit(s.Now(), a.ID, amount-free, reason, key)
		if amount < free {
			correction = ledger.Debit(s.Now(), a.ID, free-amount, reason, key)
		}
		correction.Actor = who.String()
		if err := tx.PostAll(ctx, []ledger.Entry{correction}); err != nil {
			return err
		}
		then, err = balanceOf(ctx, tx, a)
		return err
	})
	if err != nil {
		return Balance{}, err
	}
	if store.Rehearsing(ctx) {
		return then, nil
	}
	s.moneyCame(ctx)
	return s.Balance(ctx, who, accountID)
}

// moneyCame goes on at once with VMs that waited for money. Where that fails, the
// next look of the loop does it.
func (s *Service) moneyCame(ctx context.Context) {
	if store.Rehearsing(ctx) {
		return
	}
	if _, err := s.Replenish(ctx); err != nil && ctx.Err() == nil {
		s.Log.WarnContext(ctx, "VMs that wait for money not looked at", "error", err)
	}
}
