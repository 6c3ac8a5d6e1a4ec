package payment_test

import (
	"strings"
	"testing"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/payment"
)

// A payment says where it came from and which it is; its customer reads what for.
func TestPayment(t *testing.T) {
	t.Parallel()
	good := payment.Payment{Source: "bank", ID: "2026/7:a", AccountID: "acc_1", Amount: 1}
	for reason, p := range map[string]payment.Payment{
		"payment through bank":              good,
		"payment through bank: thanks":      {Source: "bank", ID: "2026/7:a", Amount: 1, Note: "thanks"},
		"credit by the operator: invoice 7": {Source: payment.Operator, ID: "7", Amount: 1, Note: "invoice 7"},
	} {
		if err := p.Check(); err != nil || p.Reason() != reason {
			t.Errorf("got %q, %v, want %q", p.Reason(), err, reason)
		}
	}
	if got := good.Key(); got != "bank:2026/7:a" {
		t.Errorf("key %q", got)
	}
	for name, spoil := range map[string]func(*payment.Payment){
		"no source":                   func(p *payment.Payment) { p.Source = "" },
		"a source with a colon":       func(p *payment.Payment) { p.Source = "a:b" },
		"a long source":               func(p *payment.Payment) { p.Source = strings.Repeat("a", 33) },
		"no id":                       func(p *payment.Payment) { p.ID = "" },
		"an id that ends in a colon":  func(p *payment.Payment) { p.ID = "7:" },
		"an id with a space":          func(p *payment.Payment) { p.ID = "7 8" },
		"an id of another alphabet":   func(p *payment.Payment) { p.ID = "ä" },
		"a long id":                   func(p *payment.Payment) { p.ID = strings.Repeat("7", 201) },
		"nothing":                     func(p *payment.Payment) { p.Amount = 0 },
		"less than nothing":           func(p *payment.Payment) { p.Amount = -1 },
		"a note of spaces":            func(p *payment.Payment) { p.Note = "  " },
		"a note of two lines":         func(p *payment.Payment) { p.Note = "a\nb" },
		"a long note":                 func(p *payment.Payment) { p.Note = strings.Repeat("ä", 501) },
		"an operator without a note":  func(p *payment.Payment) { p.Source = payment.Operator },
		"a note that is not readable": func(p *payment.Payment) { p.Note = "\xff" },
	} {
		p := good
		spoil(&p)
		if err := p.Check(); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: got %v, want a fault of kind invalid", name, err)
		}
	}
}

// Limits say what would fit; zero is none.
func TestLimits(t *testing.T) {
	t.Parallel()
	const usdc = money.USDC
	l := payment.Limits{MinDeposit: 10 * usdc, MaxBalance: 100 * usdc, MinWithdrawal: 5 * usdc}
	for _, row := range []struct {
		limits       payment.Limits
		amount, free money.Amount
		says         string
	}{
		{l, 10 * usdc, 0, ""},
		{l, 100 * usdc, 0, ""},
		{l, 10 * usdc, 90 * usdc, ""},
		{l, 10*usdc - 1, 0, "the smallest deposit is 10 USDC, not 9.999999"},
		{l, 100*usdc + 1, 0, "a balance is 100 USDC at most and this one holds 0: up to 100 USDC fit"},
		{l, 11 * usdc, 90 * usdc, "a balance is 100 USDC at most and this one holds 90: up to 10 USDC fit"},
		{l, 10 * usdc, 90*usdc + 1, "a balance is 100 USDC at most and this one holds 90.000001: no deposit fits until some of it is spent"},
		{l, money.Max, 200 * usdc, "a balance is 100 USDC at most and this one holds 200: no deposit fits until some of it is spent"},
		{payment.Limits{}, money.Max, money.Max, ""},
		{payment.Limits{MaxBalance: 5}, 1, 5, "a balance is 0.000005 USDC at most and this one holds 0.000005: no deposit fits until some of it is spent"},
	} {
		if err := row.limits.Deposit(row.amount, row.free); (err == nil) != (row.says == "") || err != nil && (fault.Message(err) != row.says || !fault.Is(err, fault.Invalid)) {
			t.Errorf("%s to %s: got %v, want %q", row.amount, row.free, err, row.says)
		}
	}
	for amount, ok := range map[money.Amount]bool{5 * usdc: true, 5*usdc - 1: false, 0: false, -1: false} {
		if err := l.Withdrawal(amount); (err == nil) != ok {
			t.Errorf("withdrawal of %s: %v", amount, err)
		}
	}
	if err := (payment.Limits{}).Withdrawal(0); !fault.Is(err, fault.Invalid) {
		t.Errorf("withdrawal of nothing: %v", err)
	}
}

// A withdrawal is decided once; the same decision may be made again.
func TestDecide(t *testing.T) {
	t.Parallel()
	states := []payment.State{payment.Requested, payment.Confirmed, payment.Rejected, payment.Cancelled}
	for _, from := range states {
		for _, to := range states[1:] {
			w := payment.Withdrawal{ID: "wdr_1", State: from, Decision: payment.Decision{Answer: "a"}}
			before := w
			want, conflict := before, from != payment.Requested && from != to
			if from == payment.Requested {
				want.State, want.Decision = to, payment.Decision{DecidedBy: "olga", Answer: "a"}
			}
			decided, err := w.Decide(to, payment.Decision{DecidedBy: "olga", Answer: "a"})
			if decided != (from == payment.Requested) || fault.Is(err, fault.Conflict) != conflict || (err != nil) != conflict || w != want {
				t.Errorf("%s → %s: %t, %v, %+v, want %+v", from, to, decided, err, w, want)
			}
		}
	}
	w := payment.Withdrawal{State: payment.Confirmed, Decision: payment.Decision{Answer: "a"}}
	if _, err := w.Decide(payment.Confirmed, payment.Decision{Answer: "b"}); !fault.Is(err, fault.Conflict) {
		t.Errorf("paid by another transfer: %v", err)
	}
	w.State = payment.Rejected
	if decided, err := w.Decide(payment.Rejected, payment.Decision{Answer: "b"}); decided || err != nil || w.Answer != "a" {
		t.Errorf("rejected for another reason: %t, %v, %q", decided, err, w.Answer)
	}
}
