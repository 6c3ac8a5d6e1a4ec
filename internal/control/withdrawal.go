package control

import (
	"context"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/payment"
	"github.com/cpucloud/cpucloud/internal/store"
)

const (
	// MaxWithdrawals is how many withdrawals are listed at most.
	MaxWithdrawals = 1_000

	maxRequested = 20 // withdrawals of one provider that wait for a decision
)

// WithdrawalState says how far a withdrawal has come.
type WithdrawalState = payment.State

// WithdrawalConfirmed is the state of one that was paid.
const WithdrawalConfirmed = payment.Confirmed

// Withdrawal is a provider's request to be paid, with the provider's name.
type Withdrawal struct {
	payment.Withdrawal
	Provider string
}

// Wanted is what a provider asks to be paid.
type Wanted struct {
	Amount money.Amount
	To     string // where to pay it
	Note   string // "" for none
	// RequestKey makes it safe to repeat: it is one request of the provider's.
	RequestKey string
}

// Withdraw takes an amount out of what a provider earned and asks the operator to
// pay it. Returns Invalid for what can't be asked for, Unaffordable for more than
// was earned for good, Exhausted when too many requests wait, and Conflict when
// RequestKey was used for another request.
func (s *Service) Withdraw(ctx context.Context, who account.Actor, provider string, want Wanted) (Withdrawal, error) {
	withdrawalID, err := s.newID("wdr")
	if err != nil {
		return Withdrawal{}, err
	}
	w := Withdrawal{Withdrawal: payment.Withdrawal{
		ID: withdrawalID, Amount: want.Amount, To: want.To, Note: want.Note, RequestKey: want.RequestKey,
		State: payment.Requested, RequestedAt: s.Now().UTC().Truncate(time.Microsecond), RequestedBy: who.String(),
	}}
	err = s.Store.Write(ctx, func(tx *store.Tx) error {
		p, err := s.provider(ctx, tx, who, provider)
		if err != nil {
			return err
		}
		w.ProviderID, w.Provider = p.ID, p.Name
		if err := firstError(w.Check(), s.Limits.Withdrawal(w.Amount)); err != nil {
			return err
		}
		kept, err := tx.WithdrawalByKey(ctx, p.ID, w.RequestKey)
		switch {
		case err == nil && !kept.Asks(w.Withdrawal):
			return fault.Newf(fault.Conflict, "request key %q was used for another request: %s USDC to %q", w.RequestKey, kept.Amount, kept.To)
		case err == nil:
			w.Withdrawal = kept
			return nil
		case !fault.Is(err, fault.NotFound):
			return err
		}
		defer func() { w.ID = lasting(ctx, w.ID) }()
		return s.request(ctx, tx, w.Withdrawal)
	})
	if w.ID == withdrawalID {
		w.ID = lasting(ctx, w.ID)
	}
	return w, err
}

// request stores a new request with what it takes.
func (s *Service) request(ctx context.Context, tx *store.Tx, w payment.Withdrawal) error {
	known, err := tx.Withdrawn(ctx, w.ProviderID)
	if err != nil {
		return err
	}
	if known.Waiting >= maxRequested {
		return fault.Newf(fault.Exhausted, "%d withdrawals wait for the operator already; cancel one, or wait until one is paid", maxRequested)
	}
	earned, err := tx.Balance(ctx, ledger.Earned(w.ProviderID))
	if err != nil {
		return err
	}
	if earned < w.Amount {
		return fault.Newf(fault.Unaffordable, "%s USDC can be withdrawn, not %s: what is pending is not earned for good yet", earned, w.Amount)
	}
	return firstErrorOf(
		func() error { return tx.InsertWithdrawal(ctx, w) },
		func() error {
			return tx.PostAll(ctx, []ledger.Entry{by(w.RequestedBy, ledger.Asked(w.RequestedAt, w.ProviderID, w.ID, w.Amount))})
		},
	)
}

// by says who moved an entry's amount.
func by(actor string, e ledger.Entry) ledger.Entry {
	e.Actor = actor
	return e
}

// CancelWithdrawal gives back to a provider what it has asked for. It may be
// repeated. Returns NotFound for a withdrawal that isn't the provider's, and
// Conflict for one that an operator has decided.
func (s *Service) CancelWithdrawal(ctx context.Context, who account.Actor, provider, withdrawalID string) (Withdrawal, error) {
	return s.decide(ctx, who, withdrawalID, payment.Cancelled, "", func(ctx context.Context, tx *store.Tx, w *Withdrawal) error {
		p, err := s.provider(ctx, tx, who, provider)
		if err == nil && w.ProviderID != p.ID {
			return noWithdrawal(withdrawalID)
		}
		w.Provider = p.Name
		return err
	})
}

// ConfirmWithdrawal notes that a withdrawal was paid, with the reference of the
// transfer: the money has left. It may be repeated with the same reference.
// Returns Conflict for one that was decided otherwise, or paid with another
// reference. For operators.
func (s *Service) ConfirmWithdrawal(ctx context.Context, who account.Actor, withdrawalID, reference string) (Withdrawal, error) {
	return s.judge(ctx, who, withdrawalID, payment.Confirmed, reference)
}

// RejectWithdrawal gives back to a provider what it has asked for, with a reason
// that it reads. It may be repeated. Returns Conflict for one that was decided
// otherwise. For operators.
func (s *Service) RejectWithdrawal(ctx context.Context, who account.Actor, withdrawalID, reason string) (Withdrawal, error) {
	return s.judge(ctx, who, withdrawalID, payment.Rejected, reason)
}

func (s *Service) judge(ctx context.Context, who account.Actor, withdrawalID string, to payment.State, answer string) (Withdrawal, error) {
	if err := who.RequireOperator(); err != nil {
		return Withdrawal{}, err
	}
	return s.decide(ctx, who, withdrawalID, to, answer, func(ctx context.Context, tx *store.Tx, w *Withdrawal) error {
		p, err := tx.ProviderByName(ctx, w.ProviderID)
		if fault.Is(err, fault.NotFound) {
			return noWithdrawal(withdrawalID)
		}
		w.Provider = p.Name
		return err
	})
}

// decide makes a decision and moves the money with it. admit refuses who may not
// make it, and what is no withdrawal of its; it names the provider.
func (s *Service) decide(
	ctx context.Context, who account.Actor, withdrawalID string, to payment.State, answer string,
	admit func(context.Context, *store.Tx, *Withdrawal) error,
) (w Withdrawal, err error) {
	err = s.Store.Write(ctx, func(tx *store.Tx) error {
		w = Withdrawal{}
		if w.Withdrawal, err = tx.Withdrawal(ctx, withdrawalID); err != nil && !fault.Is(err, fault.NotFound) {
			return err
		}
		if err := admit(ctx, tx, &w); err != nil {
			return err
		}
		if err := to.CheckAnswer(answer); err != nil {
			return err
		}
		now := s.Now().UTC().Truncate(time.Microsecond)
		decided, err := w.Decide(to, payment.Decision{DecidedAt: now, DecidedBy: who.String(), Answer: answer})
		if err != nil || !decided {
			return err
		}
		moved := ledger.Restored(now, w.ProviderID, w.ID, w.Amount)
		if to == payment.Confirmed {
			moved = ledger.Paid(now, w.ProviderID, w.ID, w.Amount)
		}
		return firstErrorOf(
			func() error { return tx.DecideWithdrawal(ctx, w.Withdrawal) },
			func() error { return tx.PostAll(ctx, []ledger.Entry{by(w.DecidedBy, moved)}) },
		)
	})
	return w, err
}

func noWithdrawal(given string) error {
	return fault.Newf(fault.NotFound, "no withdrawal %.120q", given)
}

// Withdrawals returns the withdrawals of a provider in a state, "" for any: what
// waits for a decision oldest first, else the newest first. Returns Invalid for
// what is no state.
func (s *Service) Withdrawals(ctx context.Context, who account.Actor, provider string, state payment.State) ([]Withdrawal, error) {
	var out []Withdrawal
	err := s.Store.Read(ctx, func(tx *store.Tx) error {
		p, err := s.provider(ctx, tx, who, provider)
		if err != nil {
			return err
		}
		out, err = withdrawals(ctx, tx, p.ID, state, map[string]string{p.ID: p.Name})
		return err
	})
	return out, err
}

// AllWithdrawals is Withdrawals of all providers. For operators.
func (s *Service) AllWithdrawals(ctx context.Context, who account.Actor, state payment.State) ([]Withdrawal, error) {
	if err := who.RequireOperator(); err != nil {
		return nil, err
	}
	var out []Withdrawal
	err := s.Store.Read(ctx, func(tx *store.Tx) error {
		all, err := tx.Providers(ctx, "")
		if err != nil {
			return err
		}
		names := make(map[string]string, len(all))
		for _, p := range all {
			names[p.ID] = p.Name
		}
		out, err = withdrawals(ctx, tx, "", state, names)
		return err
	})
	return out, err
}

func withdrawals(ctx context.Context, tx *store.Tx, providerID string, state payment.State, names map[string]string) ([]Withdrawal, error) {
	if err := state.Check(); state != "" && err != nil {
		return nil, err
	}
	list, err := tx.Withdrawals(ctx, providerID, state, MaxWithdrawals)
	out := make([]Withdrawal, len(list))
	for i, w := range list {
		out[i] = Withdrawal{w, names[w.ProviderID]}
	}
	return out, err
}
