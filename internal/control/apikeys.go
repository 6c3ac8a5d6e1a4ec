package control

import (
	"context"
	"slices"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/store"
)

// maxKeys bounds how many API keys of an account are good at once.
const maxKeys = 100

// Key is an API key with what it may spend.
type Key struct {
	account.Key
	Allowance Allowance
}

// Manages reports whether limits and keys can be managed with the key.
func (k Key) Manages() bool { return !k.Allowance.Own.Any() }

// Keys returns the API keys of the actor's account that are good, oldest first.
func (s *Service) Keys(ctx context.Context, who account.Actor) (list []Key, err error) {
	err = s.Store.Read(ctx, func(tx *store.Tx) (err error) {
		list, err = s.keysOf(ctx, tx, who.AccountID)
		return err
	})
	return list, err
}

func (s *Service) keysOf(ctx context.Context, tx *store.Tx, accountID string) ([]Key, error) {
	keys, err := tx.Keys(ctx, accountID)
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(keys))
	for i, k := range keys {
		ids[i] = k.ID
	}
	all, err := s.allowances(ctx, tx, accountID, ids...)
	list := make([]Key, len(keys))
	for i, k := range keys {
		list[i] = Key{k, all[k.ID]}
	}
	return list, err
}

// CreateKey makes another API key of the actor's account, which is shown only
// here. Returns Invalid for a bad name, role or limit, Denied for an actor that
// has limits itself or for an operator's key that no operator asks for, and
// Exhausted when the account has as many as it may.
func (s *Service) CreateKey(ctx context.Context, who account.Actor, name string, role account.Role, l account.Limits) (made Key, secret string, err error) {
	if err := firstError(account.CheckName(name), role.Check(), l.Check()); err != nil {
		return Key{}, "", err
	}
	if role == account.Operator {
		if err := who.RequireOperator(); err != nil {
			return Key{}, "", err
		}
	}
	if secret, made.Key, err = s.newKey(who.AccountID, name, role); err != nil {
		return Key{}, "", err
	}
	made.Allowance.Own = l
	err = s.Store.Write(ctx, func(tx *store.Tx) error {
		if err := mayManage(ctx, tx, who); err != nil {
			return err
		}
		keys, err := tx.Keys(ctx, who.AccountID)
		if err != nil {
			return err
		}
		if len(keys) >= maxKeys {
			return fault.Newf(fault.Exhausted, "an account has at most %d API keys; revoke one first", maxKeys)
		}
		if err := tx.InsertKey(ctx, made.Key); err != nil || !l.Any() {
			return err
		}
		return tx.PutBound(ctx, who.AccountID, account.Bound{Subject: made.ID, SetBy: account.ByAccount, Limits: l}, s.Now())
	})
	if err != nil {
		return Key{}, "", err
	}
	made.ID = lasting(ctx, made.ID)
	return made, lasting(ctx, secret), nil
}

// SetKeyLimits sets the limits of one of the actor's account's keys, in the place
// of those before. Returns NotFound for a key that isn't there or is revoked,
// Denied for an actor that has limits itself, and Conflict where no key would be
// left without limits.
func (s *Service) SetKeyLimits(ctx context.Context, who account.Actor, keyID string, l account.Limits) (out Key, err error) {
	err = s.setLimits(ctx, who, who.AccountID, account.Bound{Subject: keyID, OfKey: true, SetBy: account.ByAccount, Limits: l}, func(tx *store.Tx) error {
		keys, err := s.keysOf(ctx, tx, who.AccountID)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(keys, func(k Key) bool { return k.ID == keyID })
		if i < 0 {
			return noKey(keyID)
		}
		out = keys[i]
		return someManages(keys)
	})
	return out, err
}

func noKey(keyID string) error { return fault.Newf(fault.NotFound, "no API key with id %.60q", keyID) }

// someManages returns a Conflict fault where no key manages the others.
func someManages(keys []Key) error {
	if !slices.ContainsFunc(keys, Key.Manages) {
		return fault.New(fault.Conflict, "no API key without limits would be left to manage the others; make another one first")
	}
	return nil
}

// RevokeKey makes one of the actor's account's keys good for nothing; VMs that it
// deployed go on. It may be repeated. Here it is refused at once, on other
// replicas after keyFor at the latest. Returns NotFound for an unknown key, Denied
// for an actor that has limits itself, and Conflict for the last one without
// limits, and for the last one of an operator.
func (s *Service) RevokeKey(ctx context.Context, who account.Actor, keyID string) error {
	err := s.Store.Write(ctx, func(tx *store.Tx) error {
		if err := mayManage(ctx, tx, who); err != nil {
			return err
		}
		key, err := tx.Key(ctx, who.AccountID, keyID)
		if fault.Is(err, fault.NotFound) {
			return noKey(keyID)
		}
		if err != nil || !key.RevokedAt.IsZero() {
			return err
		}
		if err := tx.RevokeKey(ctx, key.ID, s.Now()); err != nil {
			return err
		}
		keys, err := s.keysOf(ctx, tx, who.AccountID)
		if err != nil {
			return err
		}
		left, err := tx.OperatorKeys(ctx)
		if err == nil && left == 0 && key.Role == account.Operator {
			err = fault.New(fault.Conflict, "this is the last API key of an operator; make another one first")
		}
		return firstError(err, someManages(keys))
	})
	if err == nil && !store.Rehearsing(ctx) {
		s.keys.drop(keyID)
		s.bells.ring("key:" + keyID)
	}
	return err
}
