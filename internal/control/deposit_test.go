package control_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/payment"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// An operator's credit says in the ledger what it is for and who made it: the
// first for the customer, the second for other operators.
func TestCredit(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		anna, olga := c.account("Anna", 0), c.operator("Olga")
		made, err := c.Credit(t.Context(), olga, anna.AccountID, control.Credit{Amount: 5, Note: "invoice 7", PaymentID: "inv-7"})
		c.must("Credit", err)
		want(t, "balance", made.Free, money.Amount(5))
		want(t, "receipt", made.Receipt, payment.Receipt{
			Source: payment.Operator, ID: "inv-7", AccountID: anna.AccountID, Amount: 5, Reason: "credit by the operator: invoice 7",
			Actor: olga.AccountID + "/" + olga.KeyID, At: c.clock.Now(),
		})
		want(t, "entries", c.entries(ledger.Customer(anna.AccountID), ledger.Deposit), []ledger.Entry{{
			At: c.clock.Now(), Kind: ledger.Deposit, From: ledger.External, To: ledger.Customer(anna.AccountID), Amount: 5,
			Reason: "credit by the operator: invoice 7", Actor: olga.String(), Key: "deposit:operator:inv-7",
		}})

		c.clock.advance(time.Hour)
		again, err := c.Credit(t.Context(), operator, anna.AccountID, control.Credit{Amount: 5, Note: "invoice 7, I think", PaymentID: "inv-7"})
		c.must("Credit again", err)
		want(t, "it is said that it is there", again.Receipt.Again, true)
		again.Receipt.Again = false
		want(t, "the answer of before", again, made)
		for name, other := range map[string]struct {
			to     string
			amount money.Amount
		}{"another amount": {anna.AccountID, 6}, "another account": {olga.AccountID, 5}} {
			_, err := c.Credit(t.Context(), operator, other.to, control.Credit{Amount: other.amount, Note: "x", PaymentID: "inv-7"})
			wantFault(t, name, err, fault.Conflict)
			want(t, name, err.Error(), `payment "inv-7" was credited already: 0.000005 USDC to `+anna.AccountID+`; another payment needs another id`)
		}
		for range 2 { // without an id each is one of its own
			_, err = c.Credit(t.Context(), olga, anna.AccountID, gift(1))
			c.must("Credit without an id", err)
		}
		want(t, "balance", c.free(anna), money.Amount(7))
		c.audit()
	})
}

// Setting a balance moves the difference, and says why and by whom.
func TestSetBalance(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		c.limits = payment.Limits{MinDeposit: 10, MaxBalance: 100}
		c.restart()
		anna, olga := c.account("Anna", 0), c.operator("Olga")
		for _, amount := range []money.Amount{3, 3, 500, 1} { // a correction is not bound by what binds deposits
			b, err := c.SetBalance(t.Context(), olga, anna.AccountID, amount, "as agreed")
			c.must("SetBalance", err)
			want(t, "balance", b.Free, amount)
		}
		in, out := c.entries(ledger.Customer(anna.AccountID), ledger.Deposit), c.entries(ledger.Customer(anna.AccountID), ledger.Withdrawal)
		want(t, "entries", []int{len(in), len(out)}, []int{2, 1})
		for _, e := range append(in, out...) {
			want(t, "said", []string{e.Reason, e.Actor}, []string{"balance set by the operator: as agreed", olga.String()})
		}
		for _, note := range []string{"", " ", "a\nb", strings.Repeat("x", 501)} {
			_, err := c.SetBalance(t.Context(), olga, anna.AccountID, 2, note)
			wantFault(t, "note "+note, err, fault.Invalid)
		}
		_, err := c.SetBalance(t.Context(), olga, "acc_none", 2, "x")
		wantFault(t, "an unknown account", err, fault.NotFound)
		want(t, "balance", c.free(anna), money.Amount(1))
		c.audit()
	})
}

// A deposit that is too small, or makes a balance too large, is refused with the
// bound and what would fit.
func TestDepositLimits(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		c.limits = payment.Limits{MinDeposit: 10 * money.USDC, MaxBalance: 5_000 * money.USDC}
		c.restart()
		anna := c.account("Anna", 4_980*money.USDC)
		for _, row := range []struct{ amount, says string }{
			{"9.999999", "the smallest deposit is 10 USDC, not 9.999999"},
			{"20.000001", "a balance is 5000 USDC at most and this one holds 4980: up to 20 USDC fit"},
			{"15", ""},
			{"10", "a balance is 5000 USDC at most and this one holds 4995: no deposit fits until some of it is spent"},
		} {
			amount, err := money.Parse(row.amount)
			c.must("Parse", err)
			_, err = c.Credit(t.Context(), operator, anna.AccountID, gift(amount))
			if row.says == "" {
				c.must("Credit", err)
				continue
			}
			wantFault(t, row.amount, err, fault.Invalid)
			want(t, row.amount, fault.Message(err), row.says)
		}
		want(t, "balance", c.free(anna), 4_995*money.USDC)
		c.audit()
	})
}

// What is no payment is refused and moves nothing.
func TestBadCredit(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		anna := c.account("Anna", 7)
		for name, row := range map[string]struct {
			credit control.Credit
			to     string
			kind   fault.Kind
		}{
			"nothing":            {control.Credit{Note: "x"}, anna.AccountID, fault.Invalid},
			"less than nothing":  {control.Credit{Amount: -1, Note: "x"}, anna.AccountID, fault.Invalid},
			"too much":           {control.Credit{Amount: money.Max, Note: "x"}, anna.AccountID, fault.Invalid},
			"no note":            {control.Credit{Amount: 1}, anna.AccountID, fault.Invalid},
			"a note of two":      {control.Credit{Amount: 1, Note: "a\nb"}, anna.AccountID, fault.Invalid},
			"a note of no text":  {control.Credit{Amount: 1, Note: "\xff"}, anna.AccountID, fault.Invalid},
			"a long note":        {control.Credit{Amount: 1, Note: strings.Repeat("ü", 501)}, anna.AccountID, fault.Invalid},
			"an id with a space": {control.Credit{Amount: 1, Note: "x", PaymentID: "a b"}, anna.AccountID, fault.Invalid},
			"an id with a colon": {control.Credit{Amount: 1, Note: "x", PaymentID: "a:"}, anna.AccountID, fault.Invalid},
			"a long id":          {control.Credit{Amount: 1, Note: "x", PaymentID: strings.Repeat("a", 201)}, anna.AccountID, fault.Invalid},
			"nobody":             {control.Credit{Amount: 1, Note: "x"}, "acc_none", fault.NotFound},
		} {
			_, err := c.Credit(t.Context(), operator, row.to, row.credit)
			wantFault(t, name, err, row.kind)
		}
		longest := control.Credit{Amount: 1, Note: strings.Repeat("ü", 500), PaymentID: strings.Repeat("a", 200)}
		_, err := c.Credit(t.Context(), operator, anna.AccountID, longest)
		c.must("Credit with all that may be said", err)
		want(t, "balance", c.free(anna), money.Amount(8))
		c.audit()
	})
}

// operator makes an operator with a key of its own.
func (c *cloud) operator(name string) account.Actor {
	c.t.Helper()
	_, secret, err := c.CreateAccount(c.t.Context(), operator, name, account.Operator)
	c.must("CreateAccount", err)
	who, err := c.Authenticate(c.t.Context(), secret)
	c.must("Authenticate", err)
	return who
}

// A payment that a source delivers lets VMs go on that waited for it, and one that
// fails to be delivered does not hold up the other sources.
func TestCollect(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a, anna := c.join(room(1)), c.account("Anna", 2*price)
		id := c.deploy(anna)
		a.reports(vm.Ready, id)
		c.pass(epoch)
		want(t, "it is short of money", c.stored(id).State, vm.SmallBalance)
		bank := &bank{paid: []payment.Payment{{ID: "1", AccountID: anna.AccountID, Amount: price, Note: "May\n", Arrived: true}}}
		c.sources = []control.PaymentSource{closed{}, bank, closed{}}
		c.restart()
		for _, n := range []int{1, 0} {
			collected, err := c.Collect(t.Context())
			want(t, "the failure is told", err != nil && strings.Contains(err.Error(), "payments through shut"), true)
			want(t, "collected", collected, n)
			want(t, "it goes on", purse(c.stored(id)), sum(vm.Active, price, 2*price))
		}
		want(t, "what its customer reads", bank.receipts[0].Reason, "payment through bank: May")
		c.audit()
	})
}

// closed is a source that is out of reach.
type closed struct{}

func (closed) Name() string { return "shut" }

func (closed) Deliver(context.Context, control.TakePayment) error {
	return errors.New("nobody answers")
}
