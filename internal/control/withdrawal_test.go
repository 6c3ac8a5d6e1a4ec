package control_test

import (
	"context"
	"fmt"
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

// earned opens a shop that has earned so many epochs of a VM for good.
func (c *cloud) earned(name string, epochs int) shop {
	c.t.Helper()
	k := c.shop(name, 1)
	a, anna := k.join(1), c.account("Anna", money.Amount(epochs+1)*price)
	id := c.deploy(anna)
	a.reports(vm.Ready, id)
	c.pass(time.Duration(epochs) * epoch)
	want(c.t, "earned", c.holds(ledger.Earned(k.providerID())), money.Amount(epochs)*price)
	return k
}

func (k shop) withdraw(amount money.Amount) control.Withdrawal {
	k.t.Helper()
	w, err := k.Withdraw(k.t.Context(), k.who, k.name, control.Wanted{Amount: amount, To: "IBAN DE02 1203"})
	k.must("Withdraw", err)
	return w
}

// purse is what a provider has earned, asked for and been paid.
func (k shop) purse() [3]money.Amount {
	k.t.Helper()
	e, err := k.Earnings(k.t.Context(), k.who, k.name, control.EarningsByDay, time.Time{})
	k.must("Earnings", err)
	want(k.t, "earned", e.Earned, k.holds(ledger.Earned(k.providerID())))
	want(k.t, "withdrawing", e.Withdrawing, k.holds(ledger.Withdrawing(k.providerID())))
	return [3]money.Amount{e.Earned, e.Withdrawing, e.Withdrawn}
}

// A provider asks for what it earned; an operator pays it, or says why not; until
// then the provider can take it back.
func TestWithdrawal(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		nord, olga := c.earned("Nord", 5), c.operator("Olga")
		outside := c.holds(ledger.External)
		asked := c.clock.Now()
		paid, refused, back := nord.withdraw(2*price), nord.withdraw(price), nord.withdraw(2*price)
		want(t, "what was asked for", paid, control.Withdrawal{Provider: "Nord", Withdrawal: payment.Withdrawal{
			ID: paid.ID, ProviderID: nord.providerID(), Amount: 2 * price, To: "IBAN DE02 1203", State: payment.Requested,
			RequestedAt: asked, RequestedBy: nord.who.String(),
		}})
		want(t, "asked for", nord.purse(), [3]money.Amount{0, 5 * price, 0})
		_, err := c.Withdraw(t.Context(), nord.who, "Nord", control.Wanted{Amount: 1, To: "me"})
		wantFault(t, "the same money again", err, fault.Unaffordable)

		c.clock.advance(time.Hour)
		for range 2 { // each decision may be repeated
			w, err := c.ConfirmWithdrawal(t.Context(), olga, paid.ID, "tx 0xab")
			c.must("ConfirmWithdrawal", err)
			paid.State, paid.Decision = payment.Confirmed, payment.Decision{DecidedAt: asked.Add(time.Hour), DecidedBy: olga.String(), Answer: "tx 0xab"}
			want(t, "paid", w, paid)
			w, err = c.RejectWithdrawal(t.Context(), olga, refused.ID, "no such account there")
			c.must("RejectWithdrawal", err)
			want(t, "rejected", []any{w.State, w.Answer, w.DecidedBy}, []any{payment.Rejected, "no such account there", olga.String()})
			w, err = c.CancelWithdrawal(t.Context(), nord.who, "Nord", back.ID)
			c.must("CancelWithdrawal", err)
			want(t, "cancelled", []any{w.State, w.Answer, w.DecidedBy, w.Provider}, []any{payment.Cancelled, "", nord.who.String(), "Nord"})
			c.clock.advance(time.Hour)
		}
		want(t, "decided", nord.purse(), [3]money.Amount{3 * price, 0, 2 * price})
		want(t, "what left the marketplace", c.holds(ledger.External)-outside, 2*price)

		for _, id := range []string{paid.ID, refused.ID, back.ID} {
			for name, decide := range c.decisions(olga, nord, id) {
				w, err := decide()
				if string(w.State) == name {
					continue
				}
				wantFault(t, name+" what was decided otherwise", err, fault.Conflict)
			}
		}
		_, err = c.ConfirmWithdrawal(t.Context(), olga, paid.ID, "tx 0xcd")
		wantFault(t, "paid twice", err, fault.Conflict)
		want(t, "it names the first", strings.Contains(fault.Message(err), `"tx 0xab"`), true)
		want(t, "as before", nord.purse(), [3]money.Amount{3 * price, 0, 2 * price})
		for _, e := range c.entries(ledger.External, ledger.Withdrawal) {
			want(t, "who paid", e.Actor, olga.String())
		}
		want(t, "sound", c.fsck().Discrepancies, []control.Discrepancy(nil))
	})
}

// decisions are all that can be decided of a withdrawal, by the state that follows.
func (c *cloud) decisions(olga account.Actor, k shop, id string) map[string]func() (control.Withdrawal, error) {
	ctx := c.t.Context()
	return map[string]func() (control.Withdrawal, error){
		"confirmed": func() (control.Withdrawal, error) { return c.ConfirmWithdrawal(ctx, olga, id, "tx 0xab") },
		"rejected":  func() (control.Withdrawal, error) { return c.RejectWithdrawal(ctx, olga, id, "no") },
		"cancelled": func() (control.Withdrawal, error) { return c.CancelWithdrawal(ctx, k.who, k.name, id) },
	}
}

// Withdrawals are listed for their provider, and all of them for operators: what
// is to be decided oldest first, the rest newest first.
func TestWithdrawals(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		nord, sued := c.earned("Nord", 3), c.shop("Sued", 2)
		first := nord.withdraw(1)
		c.clock.advance(time.Second)
		second := nord.withdraw(2)
		c.clock.advance(time.Second)
		third := nord.withdraw(3)
		_, err := c.CancelWithdrawal(t.Context(), nord.who, "Nord", second.ID)
		c.must("CancelWithdrawal", err)
		ids := func(list []control.Withdrawal, err error) (out []string) {
			c.must("list", err)
			for _, w := range list {
				want(t, "provider", w.Provider, "Nord")
				out = append(out, w.ID)
			}
			return out
		}
		for _, row := range []struct {
			state payment.State
			want  []string
		}{
			{"", []string{third.ID, second.ID, first.ID}},
			{payment.Requested, []string{first.ID, third.ID}},
			{payment.Cancelled, []string{second.ID}},
			{payment.Confirmed, nil},
		} {
			want(t, "of the provider: "+string(row.state), ids(c.Withdrawals(t.Context(), nord.who, "Nord", row.state)), row.want)
			want(t, "of all: "+string(row.state), ids(c.AllWithdrawals(t.Context(), operator, row.state)), row.want)
			want(t, "of another: "+string(row.state), ids(c.Withdrawals(t.Context(), sued.who, "Sued", row.state)), []string(nil))
		}
		_, err = c.Withdrawals(t.Context(), nord.who, "Nord", "lost")
		wantFault(t, "no state", err, fault.Invalid)
	})
}

// A request that is sent again is the same one; its key does for no other.
func TestWithdrawalRepeated(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		nord := c.earned("Nord", 3)
		asked := control.Wanted{Amount: price, To: "me", Note: "May", RequestKey: "k1"}
		first, err := c.Withdraw(t.Context(), nord.who, "Nord", asked)
		c.must("Withdraw", err)
		for _, err := range together(8, func(int) error {
			again, err := c.Withdraw(t.Context(), nord.who, "Nord", asked)
			want(t, "again", again, first)
			return err
		}) {
			c.must("Withdraw again", err)
		}
		paid, err := c.ConfirmWithdrawal(t.Context(), operator, first.ID, "tx")
		c.must("ConfirmWithdrawal", err)
		again, err := c.Withdraw(t.Context(), nord.who, nord.providerID(), asked)
		c.must("Withdraw after it was paid", err)
		want(t, "after it was paid", again, paid)
		for name, other := range map[string]control.Wanted{
			"amount": {price + 1, "me", "May", "k1"}, "destination": {price, "you", "May", "k1"}, "note": {price, "me", "June", "k1"},
		} {
			_, err := c.Withdraw(t.Context(), nord.who, "Nord", other)
			wantFault(t, "another "+name, err, fault.Conflict)
		}
		asked.RequestKey = ""
		for range 2 {
			_, err = c.Withdraw(t.Context(), nord.who, "Nord", asked)
			c.must("Withdraw without a key", err)
		}
		want(t, "purse", nord.purse(), [3]money.Amount{0, 2 * price, price})
	})
}

// However many ask at once, no more is asked for than was earned; however many
// decide at once, on whichever replica, it is decided once.
func TestWithdrawalsTogether(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		nord, olga := c.earned("Nord", 3), c.operator("Olga")
		replicas := []*control.Service{c.Service}
		c.restart()
		replicas = append(replicas, c.Service)
		errs := together(10, func(i int) error {
			_, err := replicas[i%2].Withdraw(t.Context(), nord.who, "Nord", control.Wanted{Amount: price, To: "me"})
			return err
		})
		want(t, "asked together", tally(errs), map[fault.Kind]int{"": 3, fault.Unaffordable: 7})

		list, err := c.Withdrawals(t.Context(), nord.who, "Nord", payment.Requested)
		c.must("Withdrawals", err)
		paid := money.Amount(0)
		for n, w := range list {
			decide := []func(s *control.Service, i int) (control.Withdrawal, error){
				func(s *control.Service, i int) (control.Withdrawal, error) {
					return s.ConfirmWithdrawal(t.Context(), olga, w.ID, fmt.Sprint("transfer ", i)) // each operator made one
				},
				func(s *control.Service, _ int) (control.Withdrawal, error) {
					return s.RejectWithdrawal(t.Context(), operator, w.ID, "no")
				},
				func(s *control.Service, _ int) (control.Withdrawal, error) {
					return s.CancelWithdrawal(t.Context(), nord.who, "Nord", w.ID)
				},
			}
			if n == 0 {
				decide = decide[:1]
			}
			states := make([]payment.State, 8)
			errs := together(len(states), func(i int) error {
				w, err := decide[i%len(decide)](replicas[i%2], i)
				if err == nil {
					states[i] = w.State
				}
				return err
			})
			kept, err := c.Withdrawals(t.Context(), nord.who, "Nord", "")
			c.must("Withdrawals", err)
			got := kept[len(kept)-1-n]
			want(t, "it is the same one", got.ID, w.ID)
			said := tally(errs)
			want(t, "answers", said[""]+said[fault.Conflict], len(states))
			if got.State == payment.Confirmed {
				paid += price
				want(t, "transfers that count", said[""], 1)
			}
			for _, state := range states {
				want(t, "all are told the same", state == "" || state == got.State, true)
			}
		}
		want(t, "purse", nord.purse(), [3]money.Amount{3*price - paid, 0, paid})
		c.audit()
		want(t, "sound", len(c.fsck().Discrepancies), 0)
	})
}

// A request or decision that is cut off at any statement was made or was not, and
// sending it again completes it once.
func TestWithdrawalCutOff(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		nord, cuts := c.earned("Nord", 1), map[payment.State]int{}
		for n, left := 0, 2; left > 0; n++ {
			w, whole := control.Withdrawal{}, 0
			cut := func(do func(ctx context.Context) error) {
				ctx := newMortal(t.Context(), int64(n))
				_ = do(ctx) // it was done or it was not
				if ctx.Context.Err() == nil {
					whole++
				}
				ctx.end()
				list, err := c.Withdrawals(t.Context(), operator, "Nord", "")
				c.must("Withdrawals", err)
				want(t, "requests", len(list)-n <= 1, true)
				if len(list) > n {
					w = list[0]
					cuts[w.State]++
				}
				want(t, "sound", c.fsck().Discrepancies, []control.Discrepancy(nil))
				c.must("done again", do(t.Context()))
				c.clock.advance(time.Second)
			}
			cut(func(ctx context.Context) (err error) {
				w, err = c.Withdraw(ctx, nord.who, "Nord", control.Wanted{Amount: 1, To: "me", RequestKey: fmt.Sprint(n)})
				return err
			})
			cut(func(ctx context.Context) error { return errOf(c.ConfirmWithdrawal(ctx, operator, w.ID, "tx")) })
			if whole == 2 {
				left--
			}
			want(t, "purse", nord.purse(), [3]money.Amount{price - money.Amount(n+1), 0, money.Amount(n + 1)})
		}
		if cuts[payment.Requested] < 5 || cuts[payment.Confirmed] < 2 {
			t.Errorf("it was cut off in too few ways: %v", cuts)
		}
	})
}

// What can't be asked for or decided is refused, and moves nothing.
func TestBadWithdrawals(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		c.limits = payment.Limits{MinWithdrawal: price}
		c.restart()
		nord, sued := c.earned("Nord", 5), c.shop("Sued", 2)
		w := nord.withdraw(price)
		before := nord.purse()
		long := strings.Repeat("x", 501)
		for name, row := range map[string]struct {
			wanted control.Wanted
			kind   fault.Kind
			says   string
		}{
			"nothing":           {control.Wanted{To: "me"}, fault.Invalid, "amount has to be more than 0"},
			"less than nothing": {control.Wanted{Amount: -1, To: "me"}, fault.Invalid, "amount has to be more than 0"},
			"too little":        {control.Wanted{Amount: price - 1, To: "me"}, fault.Invalid, fmt.Sprintf("the smallest withdrawal is %s USDC, not %s", price, price-1)},
			"too much": {
				control.Wanted{Amount: 4*price + 1, To: "me"},
				fault.Unaffordable,
				fmt.Sprintf("%s USDC can be withdrawn, not %s: what is pending is not earned for good yet", 4*price, 4*price+1),
			},
			"to nowhere":  {control.Wanted{Amount: price}, fault.Invalid, "to is not 1 to 200 printable characters on one line"},
			"to two":      {control.Wanted{Amount: price, To: "a\nb"}, fault.Invalid, "to is not"},
			"to far":      {control.Wanted{Amount: price, To: long}, fault.Invalid, "to is not"},
			"a bad note":  {control.Wanted{Amount: price, To: "me", Note: "\u202e"}, fault.Invalid, "note is not"},
			"a long note": {control.Wanted{Amount: price, To: "me", Note: long}, fault.Invalid, "note is not"},
			"a bad key":   {control.Wanted{Amount: price, To: "me", RequestKey: "a b"}, fault.Invalid, "the key of a request is"},
		} {
			_, err := c.Withdraw(t.Context(), nord.who, "Nord", row.wanted)
			wantFault(t, name, err, row.kind)
			want(t, name+" says "+row.says, strings.HasPrefix(fault.Message(err), row.says), true)
		}
		for name, decide := range map[string]func(ctx context.Context) error{
			"confirm without a reference": func(ctx context.Context) error { return errOf(c.ConfirmWithdrawal(ctx, operator, w.ID, "")) },
			"confirm with a long one":     func(ctx context.Context) error { return errOf(c.ConfirmWithdrawal(ctx, operator, w.ID, long)) },
			"reject without a reason":     func(ctx context.Context) error { return errOf(c.RejectWithdrawal(ctx, operator, w.ID, " ")) },
		} {
			wantFault(t, name, decide(t.Context()), fault.Invalid)
		}
		for name, decide := range map[string]func(ctx context.Context) error{
			"confirm by its provider": func(ctx context.Context) error { return errOf(c.ConfirmWithdrawal(ctx, nord.who, w.ID, "x")) },
			"reject by its provider":  func(ctx context.Context) error { return errOf(c.RejectWithdrawal(ctx, nord.who, w.ID, "x")) },
			"list all":                func(ctx context.Context) error { return errOf(c.AllWithdrawals(ctx, nord.who, "")) },
		} {
			wantFault(t, name, decide(t.Context()), fault.Denied)
		}
		for name, decide := range map[string]func(ctx context.Context) error{
			"another's":      func(ctx context.Context) error { return errOf(c.CancelWithdrawal(ctx, sued.who, "Sued", w.ID)) },
			"as another":     func(ctx context.Context) error { return errOf(c.CancelWithdrawal(ctx, sued.who, "Nord", w.ID)) },
			"by an operator": func(ctx context.Context) error { return errOf(c.CancelWithdrawal(ctx, operator, "Sued", w.ID)) },
			"none":           func(ctx context.Context) error { return errOf(c.CancelWithdrawal(ctx, nord.who, "Nord", "wdr_0")) },
			"confirm none":   func(ctx context.Context) error { return errOf(c.ConfirmWithdrawal(ctx, operator, "wdr_0", "x")) },
			"another's earnings": func(ctx context.Context) error {
				return errOf(c.Withdraw(ctx, sued.who, "Nord", control.Wanted{Amount: price, To: "me"}))
			},
			"another's list":      func(ctx context.Context) error { return errOf(c.Withdrawals(ctx, sued.who, "Nord", "")) },
			"of no such provider": func(ctx context.Context) error { return errOf(c.Withdrawals(ctx, operator, "prv_0", "")) },
		} {
			wantFault(t, name, decide(t.Context()), fault.NotFound)
		}
		want(t, "purse", nord.purse(), before)

		c.limits = payment.Limits{}
		c.restart()
		nord.cloud = c
		for range 19 {
			nord.withdraw(1)
		}
		_, err := c.Withdraw(t.Context(), nord.who, "Nord", control.Wanted{Amount: 1, To: "me"})
		wantFault(t, "too many at once", err, fault.Exhausted)
		c.audit()
	})
}

func errOf[T any](_ T, err error) error { return err }
