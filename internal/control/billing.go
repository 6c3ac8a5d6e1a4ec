package control

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

const (
	billStep  = 64    // VMs that are billed at a time
	billLeast = 128   // in one transaction, where others wait to write
	billMost  = 4_096 // in one transaction, where nobody does
)

// Bill charges the epochs that are due and fills reserves, and returns how many
// VMs were due. What was begun and not stored is done by the next call, by
// whichever replica: a VM is due until its row says otherwise.
func (s *Service) Bill(ctx context.Context) (billed int, err error) {
	return s.billAll(ctx, func(ctx context.Context, tx *store.Tx, behind store.DuePlace, most int, take func(store.Due) error) error {
		return tx.EachDue(ctx, behind, s.Now(), s.Grace, most, take)
	})
}

// Replenish goes on with VMs that ran short of money and whose customers have
// enough by now, the one that waits longest first. It returns how many there were.
func (s *Service) Replenish(ctx context.Context) (replenished int, err error) {
	return s.billAll(ctx, func(ctx context.Context, tx *store.Tx, behind store.DuePlace, most int, take func(store.Due) error) error {
		return tx.EachPayable(ctx, behind, most, take)
	})
}

// picker calls take for VMs to be billed behind a place, at most so many, in their
// order.
type picker func(ctx context.Context, tx *store.Tx, behind store.DuePlace, most int, take func(store.Due) error) error

// billAll bills the VMs that pick takes.
func (s *Service) billAll(ctx context.Context, pick picker) (billed int, err error) {
	p := round{Service: s, pick: pick, most: billMost, more: true}
	for p.more && err == nil {
		var n int
		n, err = p.some(ctx)
		billed += n
	}
	return billed, err
}

// round is VMs that are billed one behind the other, in transactions whose size
// follows how busy others are: what one costs that is hardly shared by many VMs,
// its commit and the settlements of their providers, is what others wait for.
type round struct {
	*Service
	pick picker
	done store.DuePlace // what was up to there need not be looked through again
	most int            // in the next transaction
	more bool           // there may be
}

// some bills VMs in one transaction, which ends early when others wait to write.
func (p *round) some(ctx context.Context) (n int, err error) {
	p.more = false
	if err := p.Store.Read(ctx, func(tx *store.Tx) error { // mostly there is nothing, and nobody has to wait for that
		return p.pick(ctx, tx, p.done, 1, func(store.Due) error { p.more = true; return nil })
	}); err != nil || !p.more {
		return 0, err
	}
	var rung []string
	var last store.DuePlace
	awaited := false
	err = p.Store.Write(ctx, func(tx *store.Tx) (err error) {
		n, rung, p.more = 0, nil, false
		var settled ledger.Settlements
		ahead := p.readAhead(ctx)
		defer func() { err = errors.Join(err, ahead.end()) }()
		for list := range ahead.steps {
			last = list[len(list)-1].Place
			changed, err := p.bill(ctx, tx, list, &settled)
			if err != nil {
				return err
			}
			n, rung = n+len(list), append(rung, changed...)
			awaited = tx.Awaited()
			if p.more = awaited || n >= p.most; p.more {
				break
			}
		}
		return p.settleAll(ctx, tx, &settled, p.Now().UTC())
	})
	if err != nil || n == 0 {
		return 0, err
	}
	p.done, p.most = last, min(2*p.most, billMost)
	if awaited {
		p.most = billLeast
	}
	p.ring(ctx, rung...)
	return n, nil
}

// bill bills VMs whose time has come, and returns whom to wake. What is settled
// is noted.
func (s *Service) bill(ctx context.Context, tx *store.Tx, list []store.Due, settled *ledger.Settlements) (rung []string, err error) {
	tx.Know(list)
	accounts := make([]ledger.Account, 0, len(list))
	for i := range list {
		accounts = append(accounts, ledger.Pending(list[i].ProviderID))
	}
	sheet, err := tx.Sheet(ctx, accounts...)
	if err != nil {
		return nil, err
	}
	now := s.Now().UTC()
	for i := range list {
		changed, err := s.billOne(ctx, tx, sheet, &list[i].VM, now, settled)
		if err != nil {
			return nil, fmt.Errorf("bill %s: %w", list[i].ID, err)
		}
		rung = append(rung, changed...)
	}
	return rung, tx.StoreBilled(ctx, list)
}

// billBegun charges the epochs of a VM that began before a moment at which it
// ends: what it costs does not depend on when the loop came by.
func (s *Service) billBegun(ctx context.Context, tx *store.Tx, v *vm.VM, end time.Time) error {
	if !v.State.Billed() || !v.NextBilling.Before(end) {
		return nil
	}
	sheet, err := tx.Sheet(ctx, s.meter(v).Accounts()...)
	if err != nil {
		return err
	}
	var settled ledger.Settlements
	if _, err := s.billOne(ctx, tx, sheet, v, end.Add(-time.Microsecond), &settled); err != nil {
		return err
	}
	v.Reserved = sheet.Holds(ledger.Reserve(v.ID))
	return s.settleAll(ctx, tx, &settled, end)
}

// settleAll gives providers for good what epochs brought in that are over.
func (s *Service) settleAll(ctx context.Context, tx *store.Tx, settled *ledger.Settlements, now time.Time) error {
	return tx.PostAll(ctx, settled.Entries(now))
}

// meter returns the meter of a VM.
func (s *Service) meter(v *vm.VM) *ledger.Meter {
	return &ledger.Meter{
		AccountID: v.AccountID, VM: v.ID, ProviderID: v.ProviderID, Price: v.Price, Epoch: v.Epoch, Grace: s.Grace,
		Counted: v.Limited, KeyID: v.KeyID, Epochs: v.Epochs, Next: v.NextBilling,
	}
}

// billOne runs the meter of one VM and moves it to the state that follows.
func (s *Service) billOne(ctx context.Context, tx *store.Tx, sheet *ledger.Sheet, v *vm.VM, now time.Time, settled *ledger.Settlements) (rung []string, err error) {
	if v.State == vm.InsufficientFunds {
		return s.restart(ctx, tx, sheet, v, now)
	}
	if v.Cheaper && !v.NextBilling.After(now) {
		if err := s.lower(ctx, tx, sheet, v, now, settled); err != nil {
			return nil, err
		}
	}
	m := s.meter(v)
	cover, err := m.Run(sheet, now)
	if err != nil {
		return nil, err
	}
	charged := m.Epochs - v.Epochs
	spent, err := v.Price.Times(charged)
	if err != nil {
		return nil, err
	}
	v.Spent += spent
	v.Epochs, v.NextBilling = m.Epochs, m.Next
	over := v.Epochs - 1 // the last one goes on
	if cover == ledger.Unpaid {
		over = v.Epochs
	}
	s.settleEpochs(v, over, settled)
	next := vm.Next(v.State, causeOf(cover))
	if next == v.State {
		if charged > 0 {
			rung = append(rung, "vm:"+v.ID)
		}
		return rung, nil
	}
	v.State, v.Since, v.Reason = next, now, ""
	rung = append(rung, "vm:"+v.ID)
	switch cover {
	case ledger.Full:
		return rung, tx.PutEvent(ctx, v.ID, s.happened(string(next), now, "the reserve is filled again from the balance: it goes on"))
	case ledger.Short:
		return rung, s.runShort(ctx, tx, sheet, v, now)
	case ledger.Unpaid:
		return append(rung, "server:"+v.ServerID), s.halt(ctx, tx, sheet, v, now)
	}
	return rung, nil
}

func causeOf(c ledger.Cover) vm.Cause {
	switch c {
	case ledger.Full:
		return vm.Covered
	case ledger.Short:
		return vm.RanShort
	case ledger.Unpaid:
		return vm.Unpaid
	}
	return ""
}

// settleEpochs notes that a VM's provider has earned its epochs up to one.
func (s *Service) settleEpochs(v *vm.VM, upTo int64, settled *ledger.Settlements) {
	for ; v.Settled < upTo; v.Settled++ {
		settled.Add(v.ProviderID, v.ID, v.Settled+1, v.Price, s.Fee)
	}
}

// runShort tells the customer of a VM whose reserve can't be filled.
func (s *Service) runShort(ctx context.Context, tx *store.Tx, sheet *ledger.Sheet, v *vm.VM, now time.Time) error {
	missing := v.Price - sheet.Holds(ledger.Reserve(v.ID)) - sheet.Holds(ledger.Customer(v.AccountID))
	until := v.NextBilling.Add(s.Grace)
	v.Reason = fmt.Sprintf("%s USDC are missing for its next epoch; without them it is powered off at %s", missing, until.UTC().Format(time.RFC3339))
	return tx.PutEvent(ctx, v.ID, s.happened(string(v.State), now, fmt.Sprintf(
		"the balance is too small to fill its reserve: %s USDC are missing. It runs on until %s; then it is powered off, and its disk is kept", missing, until.UTC().Format(time.RFC3339))))
}

// halt has a VM powered off that is not paid for. Disk, address and place are
// kept for the retention period.
func (s *Service) halt(ctx context.Context, tx *store.Tx, sheet *ledger.Sheet, v *vm.VM, now time.Time) error {
	v.NextBilling, v.Deadline = time.Time{}, now.Add(s.Retention)
	v.Goal, v.Reason = vm.Halt, vm.PaymentDue
	v.Generation++
	deposit, err := ledger.DepositFor(v.Price)
	if err != nil {
		return err
	}
	missing := deposit - sheet.Holds(ledger.Reserve(v.ID)) - sheet.Holds(ledger.Customer(v.AccountID))
	return firstErrorOf(
		func() error { return tx.Revise(ctx, v.ServerID) },
		func() error {
			return tx.PutEvent(ctx, v.ID, s.happened(string(v.State), now, fmt.Sprintf(
				"powered off: its next epoch is not paid. Its disk and address are kept until %s; once the balance has %s USDC more it starts again by itself",
				v.Deadline.Format(time.RFC3339), missing)))
		},
	)
}

// restart has a VM started again whose customer has the money by now. It is
// charged once it runs.
func (s *Service) restart(ctx context.Context, tx *store.Tx, sheet *ledger.Sheet, v *vm.VM, now time.Time) (rung []string, err error) {
	m := s.meter(v)
	paid, err := m.Restart(sheet, now)
	if err != nil || !paid {
		return nil, err
	}
	if v.Power != vm.On {
		return []string{"vm:" + v.ID}, s.goOnOff(ctx, tx, sheet, v, m, now)
	}
	v.State, v.Since, v.Reason, v.Deadline = vm.Next(v.State, vm.Restarted), now, "starts again: the balance pays for it", time.Time{}
	v.Goal = vm.Run
	v.Generation++
	return []string{"vm:" + v.ID, "server:" + v.ServerID}, firstErrorOf(
		func() error { return tx.Revise(ctx, v.ServerID) },
		func() error {
			return tx.PutEvent(ctx, v.ID, s.happened(string(v.State), now, fmt.Sprintf(
				"the balance pays for it again: its reserve holds %s USDC, and it is started", sheet.Holds(ledger.Reserve(v.ID)))))
		},
	)
}

// goOnOff charges a VM again that was not paid for and stays powered off, as its customer
// wants it to be.
func (s *Service) goOnOff(ctx context.Context, tx *store.Tx, sheet *ledger.Sheet, v *vm.VM, m *ledger.Meter, now time.Time) error {
	if err := m.Charge(sheet, now); err != nil {
		return err
	}
	v.State, v.Since, v.Reason, v.Deadline = vm.Next(v.State, vm.PaidOff), now, "", time.Time{}
	v.Epochs, v.NextBilling = m.Epochs, now.Add(v.Epoch)
	v.Spent += v.Price
	return tx.PutEvent(ctx, v.ID, s.happened(string(v.State), now, fmt.Sprintf(
		"the balance pays for it again; an epoch was charged: %s USDC. It stays powered off, as its customer wants it", v.Price)))
}

// expire ends a VM whose retention is over: its disk is purged. Its record and
// what is left of its reserve stay until its customer deletes it.
func (s *Service) expire(ctx context.Context, tx *store.Tx, v vm.VM) error {
	now := s.Now().UTC()
	v.State, v.Since, v.Deadline = vm.Next(v.State, vm.Overdue), now, time.Time{}
	v.Reason = "was not paid within the time that its disk was kept"
	v.Goal, v.EndedAt = vm.Remove, now
	v.Generation++
	text := "ended, as it was not paid in time; its disk is purged"
	if v.Reserved > 0 {
		text += fmt.Sprintf(". Delete it to get back its reserve of %s USDC", v.Reserved)
	}
	return firstErrorOf(
		func() error { return tx.UpdateVM(ctx, v) },
		func() error { return tx.Revise(ctx, v.ServerID) },
		func() error { return tx.PutEvent(ctx, v.ID, s.happened(string(v.State), now, text)) },
	)
}
