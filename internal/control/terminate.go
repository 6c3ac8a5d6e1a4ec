package control

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/id"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// Terminated is a VM that its provider ended.
type Terminated struct {
	ID       string
	State    vm.State
	Returned money.Amount // to its reserve, of the epoch that had begun
}

// TerminateVM ends a VM of a provider for a reason that its customer is told.
// The part of the epoch that was not delivered goes back to the VM's reserve,
// which its customer gets by deleting the VM. It may be repeated: a VM that is
// Terminated is answered as it is. Returns Invalid for a bad reason, NotFound for
// a VM that isn't the provider's, and Conflict for one that ended otherwise.
func (s *Service) TerminateVM(ctx context.Context, who account.Actor, provider, given, reason string) (Terminated, error) {
	var t Terminated
	var rung []string
	err := s.Store.Write(ctx, func(tx *store.Tx) error {
		p, err := s.provider(ctx, tx, who, provider)
		if err != nil {
			return err
		}
		if err := checkReason(reason, true); err != nil {
			return err
		}
		vmID, err := id.ParseVM(given)
		if err != nil {
			return err
		}
		v, err := tx.VM(ctx, vmID)
		if fault.Is(err, fault.NotFound) || err == nil && v.ProviderID != p.ID {
			return noVM(vmID)
		}
		if err != nil {
			return err
		}
		if err := s.terminate(ctx, tx, v, "ended by its provider: "+reason); err != nil {
			return err
		}
		t = Terminated{ID: v.ID, State: vm.Next(v.State, vm.EndedByProvider)}
		if t.State != vm.Terminated {
			return fault.Newf(fault.Conflict, "VM %s has ended already: it is %s", v.ID, t.State)
		}
		rung = []string{"vm:" + v.ID, "server:" + v.ServerID}
		if v, err = tx.VM(ctx, v.ID); err != nil {
			return err
		}
		t.Returned, err = tx.Returned(ctx, v.ID, v.Epochs)
		return err
	})
	if err != nil {
		return Terminated{}, err
	}
	s.ring(ctx, rung...)
	return t, nil
}

// checkReason returns an Invalid fault for a reason that can't be shown.
func checkReason(reason string, required bool) error {
	switch {
	case strings.TrimSpace(reason) == "" && required:
		return fault.New(fault.Invalid, "reason is missing: say why in a sentence, the customer reads it")
	case printable(reason) != reason:
		return fault.New(fault.Invalid, "reason is not 1 to 500 printable characters on one line")
	}
	return nil
}

// terminate ends a VM at its provider's wish: what was not delivered of its
// epoch goes back to its reserve, and its server is asked to remove it, whether
// it is heard or not: its place is free once the agent has done so. Of a VM that
// has ended nothing changes.
func (s *Service) terminate(ctx context.Context, tx *store.Tx, v vm.VM, reason string) error {
	if vm.Next(v.State, vm.EndedByProvider) == v.State {
		return nil
	}
	now := s.Now().UTC()
	if err := s.billBegun(ctx, tx, &v, now); err != nil {
		return err
	}
	next := vm.Next(v.State, vm.EndedByProvider)
	server, err := tx.Server(ctx, v.ServerID)
	if err != nil {
		return err
	}
	disk := "; its disk is purged"
	if !server.SilentSince.IsZero() {
		reason += "; its server was heard last at " + server.SilentSince.UTC().Format(time.RFC3339)
		disk += " once its server is heard again"
	}
	if server.State == market.ServerRemoved { // it will never be heard again
		disk = "; its disk is lost with the server"
	}
	part, err := s.giveBackEpoch(ctx, tx, v, now)
	if err != nil {
		return err
	}
	v.State, v.Since, v.Reason, v.Deadline = next, now, reason, time.Time{}
	v.Spent -= part
	v.NextBilling = time.Time{}
	if err := s.settleLast(ctx, tx, &v, part, now); err != nil {
		return err
	}
	v.Goal, v.EndedAt = vm.Remove, now
	v.Generation++
	text := reason + disk
	if part > 0 {
		text += fmt.Sprintf("; %s USDC for the part of the epoch that was not delivered went back to its reserve", part)
	}
	if v.Reserved+part > 0 {
		text += fmt.Sprintf(". Delete it to get back its reserve of %s USDC", v.Reserved+part)
	}
	return firstErrorOf(
		func() error { return tx.UpdateVM(ctx, v) },
		func() error { return tx.Revise(ctx, v.ServerID) },
		func() error { return tx.PutEvent(ctx, v.ID, s.happened(string(next), now, text)) },
	)
}

// settleLast gives a VM's provider for good what its last epoch brought in: its
// price, less a part that was returned. No more can be returned of it.
func (s *Service) settleLast(ctx context.Context, tx *store.Tx, v *vm.VM, returned money.Amount, now time.Time) error {
	if v.Settled == v.Epochs {
		return nil
	}
	var settled ledger.Settlements
	s.settleEpochs(v, v.Epochs-1, &settled)
	settled.Add(v.ProviderID, v.ID, v.Epochs, v.Price-returned, s.Fee)
	v.Settled = v.Epochs
	return s.settleAll(ctx, tx, &settled, now)
}

// giveBackEpoch returns what was charged for the rest of a VM's epoch to its
// reserve. It returns how much that is: nothing when nothing was charged, or the
// epoch is over.
func (s *Service) giveBackEpoch(ctx context.Context, tx *store.Tx, v vm.VM, now time.Time) (money.Amount, error) {
	part := undelivered(v, now)
	if part == 0 {
		return 0, nil // it costs nothing, or the epoch is over
	}
	posted, err := tx.Post(ctx, ledger.Undelivered(now, v.AccountID, v.ID, v.ProviderID, part, v.Epochs))
	if err != nil || !posted {
		return 0, err
	}
	return part, nil
}

// undelivered returns what was charged for the rest of a VM's epoch.
func undelivered(v vm.VM, now time.Time) money.Amount {
	rest := min(v.NextBilling.Sub(now), v.Epoch)
	if v.ActivatedAt.IsZero() || rest <= 0 {
		return 0
	}
	return v.Price.Share(rest.Microseconds(), v.Epoch.Microseconds())
}
