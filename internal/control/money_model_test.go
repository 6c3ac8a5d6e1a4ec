package control_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/payment"
	"github.com/cpucloud/cpucloud/internal/store/storetest"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// Whatever is paid in, and paid again, asked for, taken back, paid out and refused,
// by requests that are cut off at any moment and by replicas that are started
// again: what is there is what came in less what went out, each payment counts
// once, and what providers ask for is neither lost nor paid twice.
func TestMoneyModel(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, e storetest.Engine) {
		property(t, e, func(rt *rapid.T) {
			db := e.Open(t)
			defer func() { _ = db.Close() }() // rather than hundreds of them at the end of the test
			c := newCloud(rt, db)
			c.random = rand.NewChaCha8([32]byte{}) // the same ids in every run, so that a failure can be repeated
			c.limits = payment.Limits{MinDeposit: 2, MaxBalance: 30 * price, MinWithdrawal: price / 2}
			c.restart()
			m := &moneys{cloud: c, rt: rt, shop: c.shop("Nord", 1), payments: map[string]payment.Receipt{}}
			m.provider = m.shop.providerID()
			agent := m.shop.join(2)
			m.who = []account.Actor{c.account("Anna", 20*price), c.account("Bert", 0)}
			agent.reports(vm.Ready, c.deploy(m.who[0]), c.deploy(m.who[0]))
			rt.Repeat(map[string]func(*rapid.T){
				"credit":  func(*rapid.T) { m.credit() },
				"arrive":  func(*rapid.T) { m.arrive() },
				"correct": func(*rapid.T) { m.correct() },
				"ask":     func(*rapid.T) { m.ask() },
				"cancel":  func(*rapid.T) { m.decide(payment.Cancelled) },
				"confirm": func(*rapid.T) { m.decide(payment.Confirmed) },
				"reject":  func(*rapid.T) { m.decide(payment.Rejected) },
				"day":     func(*rapid.T) { m.pass(epoch) },
				"replica": func(*rapid.T) { m.restart() },
				"":        func(*rapid.T) { m.check() },
			})
		})
	})
}

// moneys is a marketplace into which money comes, and out of which it goes.
type moneys struct {
	*cloud
	rt       *rapid.T
	shop     shop
	provider string
	who      []account.Actor
	payments map[string]payment.Receipt // those that are known to be credited, by their key
	asked    []payment.Withdrawal       // as they were stored last
}

// attempt does something under a context that ends at one of its next checks, or
// does not, and reports whether it is known to have been done to its end.
func (m *moneys) attempt(do func(ctx context.Context) error) (whole bool, err error) {
	if rapid.Bool().Draw(m.rt, "whole") {
		return true, do(m.rt.Context())
	}
	ctx := newMortal(m.rt.Context(), rapid.Int64Range(1, 60).Draw(m.rt, "questions until the end"))
	defer ctx.end()
	err = do(ctx)
	return err == nil, err
}

// draw draws a payment out of few, so that some are drawn again, with the same
// amount or another.
func (m *moneys) draw(source string) payment.Payment {
	n := rapid.IntRange(0, 9).Draw(m.rt, "payment")
	p := payment.Payment{Source: source, ID: fmt.Sprint("p", n), AccountID: m.who[n%2].AccountID, Amount: money.Amount(n+1) * price, Note: "a note"}
	switch rapid.IntRange(0, 9).Draw(m.rt, "mistake") {
	case 0:
		p.Amount++
	case 1:
		p.AccountID = m.who[1-n%2].AccountID
	}
	return p
}

// answered checks what a payment was answered against what is known of it.
func (m *moneys) answered(p payment.Payment, r payment.Receipt, whole bool, err error) {
	before, known := m.payments[p.Key()]
	switch {
	case err == nil && known:
		want(m.rt, "the answer again", []any{r.Again, r.Amount, r.AccountID, r.At}, []any{true, before.Amount, before.AccountID, before.At})
	case err == nil:
		m.payments[p.Key()] = r
	case fault.Is(err, fault.Conflict) && known:
		want(m.rt, "it is the same payment", before.AccountID == p.AccountID && before.Amount == p.Amount, false)
	case whole && known:
		m.rt.Errorf("a payment that is credited is answered %v", err)
	}
}

func (m *moneys) credit() {
	p := m.draw(payment.Operator)
	var made control.Credited
	whole, err := m.attempt(func(ctx context.Context) (err error) {
		made, err = m.Credit(ctx, operator, p.AccountID, control.Credit{Amount: p.Amount, Note: p.Note, PaymentID: p.ID})
		return err
	})
	m.answered(p, made.Receipt, whole, err)
}

// arrive lets a payment arrive that can't be refused any more.
func (m *moneys) arrive() {
	p := m.draw("bank")
	p.Arrived = true
	bank := &bank{paid: []payment.Payment{p}}
	m.sources = []control.PaymentSource{bank}
	m.restart()
	whole, _ := m.attempt(func(ctx context.Context) error { return errOf(m.Collect(ctx)) })
	if whole && bank.told[0] != nil {
		wantFault(m.rt, "what has arrived is refused as another alone", bank.told[0], fault.Conflict)
	}
	m.answered(p, bank.receipts[0], whole, bank.told[0])
}

func (m *moneys) correct() {
	i, amount := rapid.IntRange(0, 1).Draw(m.rt, "account"), money.Amount(rapid.Int64Range(0, 40*int64(price)).Draw(m.rt, "amount"))
	before := m.free(m.who[i])
	whole, _ := m.attempt(func(ctx context.Context) error {
		return errOf(m.SetBalance(ctx, operator, m.who[i].AccountID, amount, "as agreed"))
	})
	if after := m.free(m.who[i]); !whole && after != before {
		want(m.rt, "set, or not, and then spent by those that wait for it", after <= amount, true)
	}
}

func (m *moneys) ask() {
	n := rapid.IntRange(0, 7).Draw(m.rt, "request")
	wanted := control.Wanted{Amount: money.Amount(n+1) * price / 2, To: "me", RequestKey: fmt.Sprint("k", n)}
	var w control.Withdrawal
	earned := m.holds(ledger.Earned(m.provider))
	_, err := m.attempt(func(ctx context.Context) (err error) {
		w, err = m.Withdraw(ctx, m.shop.who, "Nord", wanted)
		return err
	})
	i := slices.IndexFunc(m.asked, func(k payment.Withdrawal) bool { return k.RequestKey == wanted.RequestKey })
	switch {
	case err == nil && i >= 0:
		want(m.rt, "asked again", w.ID, m.asked[i].ID)
	case err == nil:
		m.asked = append(m.asked, w.Withdrawal)
	case fault.Is(err, fault.Unaffordable):
		want(m.rt, "it was too much", i < 0 && earned < wanted.Amount, true)
	}
}

func (m *moneys) decide(to payment.State) {
	if len(m.asked) == 0 {
		return
	}
	i := rapid.IntRange(0, len(m.asked)-1).Draw(m.rt, "withdrawal")
	k := &m.asked[i]
	var w control.Withdrawal
	whole, err := m.attempt(func(ctx context.Context) (err error) {
		switch to {
		case payment.Cancelled:
			w, err = m.CancelWithdrawal(ctx, m.shop.who, "Nord", k.ID)
		case payment.Confirmed:
			w, err = m.ConfirmWithdrawal(ctx, operator, k.ID, "tx")
		case payment.Rejected, payment.Requested:
			w, err = m.RejectWithdrawal(ctx, operator, k.ID, "no")
		}
		return err
	})
	if k.State != payment.Requested {
		want(m.rt, "decided again", whole && err == nil, whole && k.State == to)
		return
	}
	if err == nil {
		want(m.rt, "decided", w.State, to)
	}
}

// check compares all that is stored with what is known.
func (m *moneys) check() {
	m.audit()
	want(m.rt, "what does not fit", m.fsck().Discrepancies, []control.Discrepancy(nil))

	// Rule 1: all that is there is what came in less what went out.
	in, out := money.Amount(0), money.Amount(0)
	for _, e := range m.entries(ledger.External, ledger.Deposit) {
		in += e.Amount
	}
	for _, e := range m.entries(ledger.External, ledger.Withdrawal) {
		out += e.Amount
	}
	reserved := money.Amount(0)
	for _, who := range m.who {
		b, err := m.Balance(m.rt.Context(), who, who.AccountID)
		m.must("Balance", err)
		reserved += b.Reserved
	}
	withdrawing := m.holds(ledger.Withdrawing(m.provider))
	there := m.free(m.who[0]) + m.free(m.who[1]) + reserved + m.income(m.provider) + withdrawing + m.holds(ledger.Platform)
	want(m.rt, "what is there", there, in-out)

	// Each payment that was answered is entered once, and what was asked for is
	// what its provider lacks.
	for key, r := range m.payments {
		n := 0
		for _, e := range m.entries(ledger.Customer(r.AccountID), ledger.Deposit) {
			if e.Key == "deposit:"+key && e.Amount == r.Amount {
				n++
			}
		}
		want(m.rt, "entries of payment "+key, n, 1)
	}
	list, err := m.Withdrawals(m.rt.Context(), m.shop.who, "Nord", "")
	m.must("Withdrawals", err)
	waiting, paid := money.Amount(0), money.Amount(0)
	m.asked = m.asked[:0]
	for _, w := range slices.Backward(list) { // those whose answer was lost become known here
		m.asked = append(m.asked, w.Withdrawal)
		switch w.State {
		case payment.Requested:
			waiting += w.Amount
		case payment.Confirmed:
			paid += w.Amount
		case payment.Rejected, payment.Cancelled:
		}
	}
	want(m.rt, "withdrawing", withdrawing, waiting)
	left := money.Amount(0)
	for _, e := range m.entries(ledger.Withdrawing(m.provider), ledger.Withdrawal) {
		left += e.Amount
	}
	want(m.rt, "withdrawn", left, paid)
}

// bank is a source of payments whose money has arrived.
type bank struct {
	paid     []payment.Payment
	receipts []payment.Receipt
	told     []error
}

func (*bank) Name() string { return "bank" }

// Deliver hands over all that was ever paid.
func (b *bank) Deliver(ctx context.Context, take control.TakePayment) error {
	b.receipts, b.told = make([]payment.Receipt, len(b.paid)), make([]error, len(b.paid))
	for i, p := range b.paid {
		b.receipts[i], b.told[i] = take(ctx, p)
		if fault.Is(b.told[i], fault.Internal) {
			return b.told[i] // nothing that this payment is to blame for
		}
	}
	return nil
}

var _ control.PaymentSource = (*bank)(nil)
