package control

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/payment"
	"github.com/cpucloud/cpucloud/internal/store"
)

// PaymentSource is where payments come from without an operator.
type PaymentSource interface {
	// Name is the Source of all its payments: one word that is no other's, for good.
	Name() string
	// Deliver hands over the payments that there are, each until take has
	// returned no error for it. They may come in any order, again, and from
	// several control planes at once: each is credited once. A fault of take is
	// about that payment alone; another error ends the delivery until the next one.
	Deliver(ctx context.Context, take TakePayment) error
}

// TakePayment credits a payment, once. Returns an Invalid fault for what is no
// payment, or is refused for its amount, NotFound for an unknown account, and
// Conflict when the id is that of another payment. One that has arrived is never
// refused for its amount, nor for its note.
type TakePayment = func(ctx context.Context, p payment.Payment) (payment.Receipt, error)

// Collect takes the payments that sources deliver and returns how many were new.
// A source that fails does not hold up the others.
func (s *Service) Collect(ctx context.Context) (collected int, err error) {
	var errs []error
	for _, source := range s.Sources {
		err := source.Deliver(ctx, func(ctx context.Context, p payment.Payment) (payment.Receipt, error) {
			p.Source = source.Name()
			r, err := s.takePayment(ctx, p)
			switch {
			case err == nil && !r.Again:
				collected++
			case err != nil && p.Arrived:
				s.tellRefused(ctx, p, err)
			}
			return r, err
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("payments through %s: %w", source.Name(), err))
		}
	}
	return collected, errors.Join(errs...)
}

// tellRefused tells the operator, once an hour, of money that has arrived and
// can't be credited: it lies with its source.
func (s *Service) tellRefused(ctx context.Context, p payment.Payment, err error) {
	if fault.Is(err, fault.Internal) || !s.refusals.first("payment "+p.Key(), s.Now().Truncate(time.Hour)) {
		return
	}
	s.Log.WarnContext(ctx, "a payment has arrived and can't be credited", "source", p.Source, "payment_id", p.ID, "account_id", p.AccountID,
		"amount", p.Amount.String(), "reason", fault.Message(err))
}

// Credit is what an operator puts into an account.
type Credit struct {
	Amount money.Amount
	Note   string // the customer reads it
	// PaymentID makes it safe to repeat: it is one payment, whoever credits it.
	// "" is a payment of its own each time.
	PaymentID string
}

// Credited is a payment, and the account as it stands now.
type Credited struct {
	Balance
	Receipt payment.Receipt
}

// Credit adds to an account's balance. For operators. Returns the faults of
// TakePayment.
func (s *Service) Credit(ctx context.Context, who account.Actor, accountID string, c Credit) (Credited, error) {
	if err := who.RequireOperator(); err != nil {
		return Credited{}, err
	}
	p := payment.Payment{
		Source: payment.Operator, ID: c.PaymentID, AccountID: accountID, Amount: c.Amount, Note: c.Note, Actor: who.String(), At: s.Now(),
	}
	if p.ID == "" {
		var err error
		if p.ID, err = s.newID("pay"); err != nil {
			return Credited{}, err
		}
	}
	r, err := s.takePayment(ctx, p)
	if err != nil {
		return Credited{}, err
	}
	b, err := s.Balance(ctx, who, accountID)
	if err == nil && store.Rehearsing(ctx) && !r.Again {
		b.Free, err = money.Sum(b.Free, c.Amount)
	}
	return Credited{b, r}, err
}

// MaxPayments is how many payments of an account are listed at most.
const MaxPayments = 1_000

// Payments returns what came into an account from outside and what left it, by
// payments and corrections, newest first, with who did it. For operators.
func (s *Service) Payments(ctx context.Context, who account.Actor, accountID string) (list []ledger.Entry, err error) {
	if err := who.RequireOperator(); err != nil {
		return nil, err
	}
	err = s.Store.Read(ctx, func(tx *store.Tx) error {
		if _, err := tx.Account(ctx, accountID); err != nil {
			return err
		}
		list, err = tx.Transfers(ctx, accountID, MaxPayments)
		return err
	})
	return list, err
}

// takePayment is the one way by which payments come into accounts.
func (s *Service) takePayment(ctx context.Context, p payment.Payment) (payment.Receipt, error) {
	if p.Arrived { // money that is here is not lost for its words
		p.Note = strings.TrimSpace(printable(p.Note))
	}
	if err := p.Check(); err != nil {
		return payment.Receipt{}, err
	}
	entry := ledger.Credit(s.Now().UTC().Truncate(time.Microsecond), p.AccountID, p.Amount, p.Reason(), p.Key())
	entry.Actor = p.Actor
	var kept ledger.Entry
	err := s.Store.Read(ctx, func(tx *store.Tx) (err error) { // sources repeat themselves, and nobody has to wait for that
		kept, err = tx.Entry(ctx, entry.Key)
		return err
	})
	if err == nil {
		return again(p, kept)
	}
	if !fault.Is(err, fault.NotFound) {
		return payment.Receipt{}, err
	}
	var r payment.Receipt
	err = s.Store.Write(ctx, func(tx *store.Tx) (err error) {
		r, err = s.enter(ctx, tx, p, entry)
		return err
	})
	if err != nil || r.Again {
		return r, err
	}
	if r.Beyond != "" {
		s.Log.WarnContext(ctx, "a payment has arrived that is beyond the limits, and was credited in full",
			"source", r.Source, "payment_id", r.ID, "account_id", r.AccountID, "amount", r.Amount.String(), "limit", r.Beyond)
	}
	s.moneyCame(ctx)
	return r, nil
}

// enter writes the entry of a payment, unless it is written.
func (s *Service) enter(ctx context.Context, tx *store.Tx, p payment.Payment, entry ledger.Entry) (payment.Receipt, error) {
	kept, err := tx.Entry(ctx, entry.Key)
	if err == nil {
		return again(p, kept)
	}
	if !fault.Is(err, fault.NotFound) {
		return payment.Receipt{}, err
	}
	if _, err := tx.Account(ctx, p.AccountID); err != nil {
		return payment.Receipt{}, err
	}
	free, err := tx.Balance(ctx, ledger.Customer(p.AccountID))
	if err != nil {
		return payment.Receipt{}, err
	}
	beyond := s.Limits.Deposit(p.Amount, free)
	if beyond != nil && !p.Arrived {
		return payment.Receipt{}, beyond
	}
	r := receipt(p, entry)
	if beyond != nil {
		r.Beyond = fault.Message(beyond)
	}
	return r, tx.PostAll(ctx, []ledger.Entry{entry})
}

// again answers for a payment whose key is entered.
func again(p payment.Payment, kept ledger.Entry) (payment.Receipt, error) {
	if kept.To != ledger.Customer(p.AccountID) || kept.Amount != p.Amount {
		return payment.Receipt{}, fault.Newf(fault.Conflict, "payment %q was credited already: %s USDC to %s; another payment needs another id",
			p.ID, kept.Amount, strings.TrimPrefix(string(kept.To), string(ledger.Customer(""))))
	}
	r := receipt(p, kept)
	r.Again = true
	return r, nil
}

func receipt(p payment.Payment, e ledger.Entry) payment.Receipt {
	return payment.Receipt{Source: p.Source, ID: p.ID, AccountID: p.AccountID, Amount: e.Amount, Reason: e.Reason, Actor: e.Actor, At: e.At}
}
