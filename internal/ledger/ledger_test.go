package ledger_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/money"
)

var now = time.Unix(1_772_366_400, 0)

// The entries of a VM's life, each from and to the account that the tables of
// docs/billing.md name, under a key that a retry makes again.
func TestEntries(t *testing.T) {
	t.Parallel()
	hold, err := ledger.Reservation(now, "anna", "0x1", 50)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		got  ledger.Entry
		want ledger.Entry
	}{
		{
			ledger.Credit(now, "anna", 100, "a gift", "pay_1"),
			ledger.Entry{Kind: ledger.Deposit, From: "external", To: "account:anna", Amount: 100, Reason: "a gift", Key: "deposit:pay_1"},
		},
		{
			ledger.Debit(now, "anna", 100, "a correction", "pay_1"),
			ledger.Entry{Kind: ledger.Withdrawal, From: "account:anna", To: "external", Amount: 100, Reason: "a correction", Key: "withdrawal:pay_1"},
		},
		{
			hold,
			ledger.Entry{Kind: ledger.Hold, From: "account:anna", To: "vm:0x1", Amount: 100, VM: "0x1", Reason: "deposit of two epochs", Key: "hold:0x1"},
		},
		{
			ledger.Rent(now, "anna", "0x1", "nord", 50, 12),
			ledger.Entry{Kind: ledger.Charge, From: "vm:0x1", To: "provider:nord:pending", Amount: 50, VM: "0x1", Customer: "anna", Epoch: 12, Reason: "rent of epoch 12", Key: "charge:0x1:12"},
		},
		{
			ledger.Undelivered(now, "anna", "0x1", "nord", 20, 12),
			ledger.Entry{
				Kind: ledger.Return, From: "provider:nord:pending", To: "vm:0x1", Amount: 20, VM: "0x1", Customer: "anna", Epoch: 12,
				Reason: "the part of epoch 12 that was not delivered", Key: "return:0x1:12",
			},
		},
		{
			ledger.Release(now, "anna", "0x1", 50, "deleted", 3),
			ledger.Entry{Kind: ledger.Refund, From: "vm:0x1", To: "account:anna", Amount: 50, VM: "0x1", Reason: "deleted", Key: "refund:0x1:end:3"},
		},
		{
			ledger.Asked(now, "nord", "wdr_1", 50),
			ledger.Entry{Kind: ledger.Request, From: "provider:nord", To: "provider:nord:withdrawing", Amount: 50, Reason: "asked for: wdr_1", Key: "request:wdr_1"},
		},
		{
			ledger.Paid(now, "nord", "wdr_1", 50),
			ledger.Entry{Kind: ledger.Withdrawal, From: "provider:nord:withdrawing", To: "external", Amount: 50, Reason: "paid: wdr_1", Key: "withdrawal:wdr_1"},
		},
		{
			ledger.Restored(now, "nord", "wdr_1", 50),
			ledger.Entry{Kind: ledger.Restore, From: "provider:nord:withdrawing", To: "provider:nord", Amount: 50, Reason: "not paid: wdr_1", Key: "restore:wdr_1"},
		},
	} {
		c.want.At = now
		if c.got != c.want {
			t.Errorf("got %+v, want %+v", c.got, c.want)
		}
		if err := c.got.Check(); err != nil {
			t.Errorf("%s: %v", c.got.Key, err)
		}
	}
}

// Different epochs, VMs and payments have different keys, and so are entered
// beside each other.
func TestKeysDiffer(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		vms, epochs := rapid.SampledFrom([]string{"0x1", "0x11", "0x2"}), rapid.Int64Range(1, 120)
		v, n := vms.Draw(t, "VM"), epochs.Draw(t, "epoch")
		w, m := vms.Draw(t, "other VM"), epochs.Draw(t, "other epoch")
		a, b := ledger.Rent(now, "anna", v, "p", 1, n), ledger.Rent(now.Add(1), "anna", w, "q", 2, m)
		if same := v == w && n == m; same != (a.Key == b.Key) {
			t.Errorf("epoch %d of %s has the key %s, epoch %d of %s %s", n, v, a.Key, m, w, b.Key)
		}
		keys := map[string]bool{}
		hold, err := ledger.Reservation(now, "a", v, 1)
		for _, e := range []ledger.Entry{
			a, hold, ledger.Credit(now, "a", 1, "", v), ledger.Debit(now, "a", 1, "", v), ledger.Release(now, "a", v, 1, "", n),
			ledger.Undelivered(now, "anna", v, "p", 1, n), *ledger.Adjust(now, "anna", v, 1, 2, n, n), *ledger.Adjust(now, "anna", v, 2, 1, n, n),
			ledger.Difference(now, "anna", v, 1, n),
		} {
			keys[e.Key] = true
		}
		if err != nil || len(keys) != 9 {
			t.Errorf("nine kinds of entries have %d keys (%v)", len(keys), err)
		}
	})
}

func TestCheck(t *testing.T) {
	t.Parallel()
	good := ledger.Credit(now, "anna", 1, "", "1")
	for name, spoil := range map[string]func(*ledger.Entry){
		"no amount":       func(e *ledger.Entry) { e.Amount = 0 },
		"negative amount": func(e *ledger.Entry) { e.Amount = -1 },
		"from nowhere":    func(e *ledger.Entry) { e.From = "" },
		"to nowhere":      func(e *ledger.Entry) { e.To = "" },
		"to itself":       func(e *ledger.Entry) { e.To = e.From },
		"no key":          func(e *ledger.Entry) { e.Key = "" },
		"half a key":      func(e *ledger.Entry) { e.Key = "deposit:" },
		"no time":         func(e *ledger.Entry) { e.At = time.Time{} },
	} {
		e := good
		spoil(&e)
		if err := e.Check(); !fault.Is(err, fault.Internal) {
			t.Errorf("%s: got %v, want a fault of kind internal", name, err)
		}
	}
}

func TestDepositFor(t *testing.T) {
	t.Parallel()
	if got, err := ledger.DepositFor(21); err != nil || got != 42 {
		t.Errorf("got %s, %v, want two epochs", got, err)
	}
	if got, err := ledger.DepositFor(money.Max/2 + 1); !fault.Is(err, fault.Invalid) {
		t.Errorf("got %s, %v for more than can be held", got, err)
	}
	if _, err := ledger.Reservation(now, "anna", "0x1", money.Max); !fault.Is(err, fault.Invalid) {
		t.Errorf("got %v for a hold of more than can be held", err)
	}
}

func TestMayOwe(t *testing.T) {
	t.Parallel()
	for _, a := range []ledger.Account{
		ledger.Platform, ledger.Customer("external"), ledger.Reserve("0x1"), ledger.Pending("nord"), ledger.Earned("nord"), ledger.Withdrawing("nord"), "",
	} {
		if a.MayOwe() {
			t.Errorf("%q may be below zero", a)
		}
	}
	if !ledger.External.MayOwe() {
		t.Error("no money can come into the world")
	}
}
