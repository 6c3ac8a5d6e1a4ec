package servertest_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/servertest"
	"github.com/cpucloud/cpucloud/internal/store"
)

// The control plane is killed at any moment while operators credit and providers
// withdraw, each insisting until there is an answer: every payment is there once,
// and every withdrawal was decided once.
func TestMoneyKill(t *testing.T) {
	t.Parallel()
	seed := *chaosSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("to repeat it: -chaos.seed=%d", seed)
	const (
		workers = 4
		kills   = 12
		wealth  = 1_000_000
	)
	c := &chaos{T: t, cloud: servertest.Start(t, servertest.Options{})}
	a, err := c.cloud.Customer("0").Account(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	provider := c.earns(wealth * money.USDC)

	plane := newProcess(t, "control", listenVariable+"="+c.cloud.URL[len("http://"):], dirVariable+"="+c.cloud.Dir)
	stop := c.killing(seed, plane)
	var people sync.WaitGroup
	var done [3]atomic.Int64 // by what was decided
	for n := range workers {
		people.Go(func() {
			for i := 0; plane.killed() < kills && !t.Failed(); i++ {
				id := fmt.Sprintf("%d-%d", n, i)
				c.credit(a.ID, id)
				c.withdraw(provider, id, i%3)
				done[i%3].Add(1)
			}
		})
	}
	people.Wait()
	stop()
	plane.kill()
	paid := done[0].Load()
	all := paid + done[1].Load() + done[2].Load()
	t.Logf("control plane was killed %d times, %d payments and withdrawals went through", plane.kills, all)

	c.cloud.StartServer()
	operator := c.cloud.Operator
	found, err := operator.Fsck(t.Context())
	if err != nil || !found.Sound {
		t.Errorf("what does not fit: %+v, %v", found.Discrepancies, err)
	}
	b, err := operator.Balance(t.Context(), a.ID)
	if want := fmt.Sprint(all); err != nil || b.Balance != want {
		t.Errorf("balance %s, %v, want %s", b.Balance, err, want)
	}
	e, err := operator.Earnings(t.Context(), provider, "day", time.Time{})
	if err != nil || e.Withdrawn != fmt.Sprint(paid) || e.Withdrawing != "0" || e.Earned != fmt.Sprint(wealth-paid) {
		t.Errorf("earnings %+v, %v, want %d withdrawn and the rest earned", e, err, paid)
	}
	list, err := operator.AllWithdrawals(t.Context(), "")
	if err != nil || int64(len(list)) != min(all, control.MaxWithdrawals) {
		t.Errorf("%d withdrawals, %v, want %d", len(list), err, all)
	}
}

// earns makes a provider that has earned an amount, and stops the control plane.
func (c *chaos) earns(amount money.Amount) (provider string) {
	c.Helper()
	p, err := c.cloud.Operator.CreateProvider(c.Context(), "Nord")
	if err != nil {
		c.Fatal(err)
	}
	c.cloud.StopServer()
	db, err := store.Open(c.Context(), filepath.Join(c.cloud.Dir, "cloud.db"))
	if err != nil {
		c.Fatal(err)
	}
	defer db.Close() //nolint:errcheck // what it wrote is looked at later
	err = db.Write(c.Context(), func(tx *store.Tx) error {
		return tx.PostAll(c.Context(), []ledger.Entry{{
			At: time.Unix(1, 0), Kind: ledger.Deposit, From: ledger.External, To: ledger.Earned(p.ID), Amount: amount, Key: "earned before",
		}})
	})
	if err != nil {
		c.Fatal(err)
	}
	return p.ID
}

func (c *chaos) credit(accountID, id string) {
	for range 2 { // as somebody who is not sure whether it was done
		c.insist("credit", func(ctx context.Context) error {
			_, err := c.cloud.Operator.Credit(ctx, accountID, client.Credit{Amount: "1", Note: "payment " + id, PaymentID: id})
			return err
		})
	}
}

func (c *chaos) withdraw(provider, id string, fate int) {
	var w client.Withdrawal
	operator := c.cloud.Operator
	for range 2 {
		c.insist("withdraw", func(ctx context.Context) (err error) {
			w, err = operator.Withdraw(ctx, provider, client.WithdrawalRequest{Amount: "1", To: "me", RequestID: id})
			return err
		})
	}
	for range 2 {
		c.insist("decide", func(ctx context.Context) (err error) {
			switch fate {
			case 0:
				_, err = operator.ConfirmWithdrawal(ctx, w.ID, "transfer "+id)
			case 1:
				_, err = operator.RejectWithdrawal(ctx, w.ID, "no")
			default:
				_, err = operator.CancelWithdrawal(ctx, provider, w.ID)
			}
			return err
		})
	}
}
