package control

import (
	"context"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// Protect sets whether the actor's VM is protected: it can't be deleted then. What
// is not paid, and what its provider does, is not kept from it. It may be repeated.
// Returns NotFound for an unknown, foreign or deleted VM.
func (s *Service) Protect(ctx context.Context, who account.Actor, given string, protected bool) error {
	var rung []string
	err := s.Store.Write(ctx, func(tx *store.Tx) error {
		rung = nil
		v, err := s.owned(ctx, tx, who, given)
		if err != nil {
			return err
		}
		if v.State == vm.Stopped {
			return noVM(v.ID)
		}
		if v.Protected == protected {
			return nil
		}
		action, text := vm.Protect, "protected: it can't be deleted until it is unprotected"
		if !protected {
			action, text = vm.Unprotect, "no longer protected: it can be deleted"
		}
		if err := v.Refuses(action, nil); err != nil {
			return err
		}
		v.Protected = protected
		rung = []string{"vm:" + v.ID}
		return firstErrorOf(
			func() error { return tx.UpdateVM(ctx, v) },
			func() error { return tx.PutEvent(ctx, v.ID, s.happened("protection", s.Now().UTC(), text)) },
		)
	})
	if err == nil {
		s.ring(ctx, rung...)
	}
	return err
}
