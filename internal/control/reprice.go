package control

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// alter makes a change of what a VM takes of its server and of what it costs:
// capacity and money follow in the same transaction. change sets Power, Held, Spec,
// Full or Leaves. Returns Conflict when its server has no room for more, and
// Unaffordable when the balance can't pay for more. What costs less is never refused.
// The caller stores v.
func (s *Service) alter(ctx context.Context, tx *store.Tx, v *vm.VM, change func(*vm.VM)) error {
	if err := s.knowTerms(ctx, tx, v); err != nil {
		return err
	}
	took, cost := v.Takes(), v.Price
	if !v.State.Billed() && !v.State.Starting() {
		cost = 0
	}
	change(v)
	return firstErrorOf(
		func() error { return s.retake(ctx, tx, *v, took) },
		func() error { return s.within(ctx, tx, *v, v.Rate().Sum()-cost) },
		func() error { return s.reprice(ctx, tx, v) },
	)
}

// hold changes how much of its server's storage a VM holds beside its disk, by so
// many GiB. Returns the faults of alter.
func (s *Service) hold(ctx context.Context, tx *store.Tx, v *vm.VM, gib int64) error {
	return s.alter(ctx, tx, v, func(v *vm.VM) { v.Held += gib })
}

// knowTerms has v know what was agreed to of its price, which was not kept of the
// first VMs: of those it is in the proportions of what their offer asks now.
func (s *Service) knowTerms(ctx context.Context, tx *store.Tx, v *vm.VM) error {
	if v.Full != (vm.Parts{}) || v.Price == 0 {
		return nil
	}
	offer, err := tx.Offer(ctx, v.OfferID)
	if err != nil {
		return err
	}
	parts := offer.Prices.Parts(v.Spec.Demand())
	copy(v.Full[:], v.Price.Split(parts[:]...))
	return nil
}

// retake gives a VM of its server's capacity what it takes now, where it took before.
func (s *Service) retake(ctx context.Context, tx *store.Tx, v vm.VM, before capacity.Vector) error {
	more := v.Takes().Sub(before)
	if more == (capacity.Vector{}) {
		return nil
	}
	if max(more.VCPU, more.RAMGiB, more.StorageGiB, more.Addresses) <= 0 {
		return tx.GiveBack(ctx, v.ServerID, capacity.Vector{}.Sub(more))
	}
	server, err := tx.Server(ctx, v.ServerID)
	if err != nil {
		return err
	}
	free := server.Inventory.Total.Sub(server.Used)
	if !free.Fits(more) {
		return fault.Newf(fault.Conflict, "its server has no room: %s more are needed and %s are free there; try again later, or resize it to another server", more, free)
	}
	tx.Take([]store.Taking{{Server: v.ServerID, Amount: more}})
	return nil
}

// reprice has a VM cost what it should as it is now. Where that is more, the epoch that
// goes on is over: the part of it that was not delivered goes back to its reserve,
// and another one begins at the new price. Where it is less, that counts from the next
// epoch on: one that was begun is not refunded.
func (s *Service) reprice(ctx context.Context, tx *store.Tx, v *vm.VM) error {
	now := s.Now().UTC()
	if err := s.billBegun(ctx, tx, v, now); err != nil {
		return err
	}
	parts := v.Rate()
	price := parts.Sum()
	if v.State.Billed() {
		v.Cheaper = price < v.Price
		if price > v.Price {
			return s.renew(ctx, tx, v, parts, now)
		}
		if price == v.Price {
			v.Parts = parts
		}
		return nil
	}
	if v.State.Starting() { // its deposit is held, and nothing was charged
		if err := s.adjust(ctx, tx, v, ledger.DepositEpochs*price, now); err != nil {
			return err
		}
	}
	v.Price, v.Parts, v.Cheaper = price, parts, false
	return nil
}

// renew ends the epoch of a VM and begins another one at a higher price. Returns an
// Unaffordable fault when that and its reserve can't be paid.
func (s *Service) renew(ctx context.Context, tx *store.Tx, v *vm.VM, parts vm.Parts, now time.Time) error {
	price := parts.Sum()
	sheet, err := tx.Sheet(ctx, s.meter(v).Accounts()...)
	if err != nil {
		return err
	}
	needs := ledger.DepositEpochs * price
	missing := needs - v.Reserved - undelivered(*v, now) - sheet.Holds(ledger.Customer(v.AccountID))
	if missing > 0 {
		return fault.Newf(fault.Unaffordable, "it costs %s USDC per epoch then, and %s USDC are missing in the balance", price, missing)
	}
	part, err := s.giveBackEpoch(ctx, tx, *v, now)
	if err != nil {
		return err
	}
	v.Spent -= part
	v.Reserved += part
	if err := s.settleLast(ctx, tx, v, part, now); err != nil {
		return err
	}
	before := v.Price
	v.Price, v.Parts = price, parts
	if err := s.adjust(ctx, tx, v, needs, now); err != nil {
		return err
	}
	if err := s.charge(ctx, tx, v, now); err != nil {
		return err
	}
	if next := vm.Next(v.State, vm.Covered); next != v.State {
		v.State, v.Since, v.Reason = next, now, ""
	}
	return tx.PutEvent(ctx, v.ID, s.happened("price", now, fmt.Sprintf(
		"a new epoch begins at %s USDC, as %s USDC was for less; %s USDC of that were returned for the time that was left", price, before, part)))
}

// lower has the epochs of a VM cost less that begin now: what was agreed to is read
// anew, since those that are billed are known in part. The epochs before were of the
// old price, and what its reserve does not need any more goes back.
func (s *Service) lower(ctx context.Context, tx *store.Tx, sheet *ledger.Sheet, v *vm.VM, now time.Time, settled *ledger.Settlements) error {
	whole, err := tx.VM(ctx, v.ID)
	if err != nil {
		return err
	}
	s.settleEpochs(v, v.Epochs, settled)
	v.Full, v.Parts, v.Cheaper = whole.Full, whole.Rate(), false
	v.Price = v.Parts.Sum()
	needs := ledger.DepositEpochs * v.Price
	if holds := sheet.Holds(ledger.Reserve(v.ID)); holds > needs {
		if err := sheet.Post(*ledger.Adjust(now, v.AccountID, v.ID, holds, needs, whole.Generation, v.Epochs+1)); err != nil {
			return err
		}
	}
	return tx.PutPrice(ctx, *v)
}

// charge charges the next epoch of a VM, which begins now.
func (s *Service) charge(ctx context.Context, tx *store.Tx, v *vm.VM, now time.Time) error {
	m := s.meter(v)
	sheet, err := tx.Sheet(ctx, m.Accounts()...)
	if err != nil {
		return err
	}
	if err := m.Charge(sheet, now); err != nil {
		return err
	}
	v.Epochs, v.NextBilling = m.Epochs, now.Add(v.Epoch)
	v.Spent += v.Price
	v.Reserved -= v.Price
	return nil
}

// adjust brings a VM's reserve to an amount. Returns an Unaffordable fault when the
// balance is too small.
func (s *Service) adjust(ctx context.Context, tx *store.Tx, v *vm.VM, needs money.Amount, now time.Time) error {
	e := ledger.Adjust(now, v.AccountID, v.ID, v.Reserved, needs, v.Generation, v.Epochs+1)
	if e == nil {
		return nil
	}
	if posted, err := tx.Post(ctx, *e); err != nil || !posted {
		return cmp.Or(err, fmt.Errorf("%s was posted before", e.Key))
	}
	v.Reserved = needs
	return nil
}
