// Package ledger keeps money by double entry: every entry moves one amount
// from one account to another, and a balance is the sum of an account's
// entries. It knows which entries the life of a VM makes, not where they are kept.
package ledger

import (
	"fmt"
	"strings"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/money"
)

// Account names one account of the ledger.
type Account string

// The accounts that exist once. External stands for the world outside: money
// comes from it and goes to it, so it alone may be below zero.
const (
	External Account = "external"
	Platform Account = "platform"
)

// Customer returns the account of a customer's free balance.
func Customer(accountID string) Account { return Account(customers + accountID) }

const customers = "account:"

// Reserve returns the account that holds the reserve of one VM.
func Reserve(vmID string) Account { return Account("vm:" + vmID) }

// Pending returns the account of what a provider earned and can't withdraw yet.
func Pending(providerID string) Account { return Account("provider:" + providerID + ":pending") }

// Earned returns the account of what a provider earned for good.
func Earned(providerID string) Account { return Account("provider:" + providerID) }

// Withdrawing returns the account of what a provider has asked for and was not
// paid yet.
func Withdrawing(providerID string) Account {
	return Account("provider:" + providerID + withdrawing)
}

const withdrawing = ":withdrawing"

func (a Account) isWithdrawing() bool { return strings.HasSuffix(string(a), withdrawing) }

// MayOwe reports whether the account may be below zero.
func (a Account) MayOwe() bool { return a == External }

// OfProvider reports whether the account is a provider's, which the money of many
// VMs comes to.
func (a Account) OfProvider() bool { return strings.HasPrefix(string(a), "provider:") }

// Kind says why money moved.
type Kind string

// The kinds of entries.
const (
	Deposit    Kind = "deposit"    // external → customer
	Withdrawal Kind = "withdrawal" // customer, or provider withdrawing → external
	Hold       Kind = "hold"       // customer → reserve, at deploy
	Charge     Kind = "charge"     // reserve → provider pending, one epoch
	TopUp      Kind = "topup"      // customer → reserve
	Refund     Kind = "refund"     // reserve → customer
	Return     Kind = "return"     // provider pending → reserve, the part of an epoch that was not delivered
	Settle     Kind = "settle"     // provider pending → provider, once an epoch is over
	Commission Kind = "fee"        // provider pending → platform, the fee
	Request    Kind = "request"    // provider → provider withdrawing, asked for
	Restore    Kind = "restore"    // provider withdrawing → provider, not paid after all
)

// Entry moves Amount from one account to another. It is never changed.
type Entry struct {
	At     time.Time
	Kind   Kind
	From   Account
	To     Account
	Amount money.Amount // positive
	VM     string       // the VM it is about, "" for none
	// Customer is whose VM it is about, where neither of the accounts says so.
	Customer string
	// Counted says that a charge counts towards what its customer has spent, and
	// towards that of an API key unless KeyID is "".
	Counted bool
	KeyID   string

	Epoch  int64  // the epoch that a charge pays or a return is of, from 1; 0 for other kinds
	Reason string // a sentence for the customer
	Actor  string // who moved it by hand, for the operator alone; "" for nobody
	// Key is unique in the ledger: whatever is retried makes the same key, and
	// so no second entry.
	Key string
}

// DepositEpochs is how many epochs of rent a deploy reserves: one to be
// charged when the VM becomes active, one to be kept.
const DepositEpochs = 2

// DepositFor returns the deposit of VMs that cost perEpoch in all. Returns an
// Invalid fault when it can't be held.
func DepositFor(perEpoch money.Amount) (money.Amount, error) { return perEpoch.Times(DepositEpochs) }

// Credit is a deposit by the operator or a payment source. The key says which
// payment it is.
func Credit(at time.Time, accountID string, amount money.Amount, reason, key string) Entry {
	return Entry{At: at, Kind: Deposit, From: External, To: Customer(accountID), Amount: amount, Reason: reason, Key: "deposit:" + key}
}

// Debit takes money out of a customer's balance.
func Debit(at time.Time, accountID string, amount money.Amount, reason, key string) Entry {
	return Entry{At: at, Kind: Withdrawal, From: Customer(accountID), To: External, Amount: amount, Reason: reason, Key: "withdrawal:" + key}
}

// Reservation is the hold of two epochs at deploy.
func Reservation(at time.Time, accountID, vmID string, price money.Amount) (Entry, error) {
	amount, err := DepositFor(price)
	return Entry{
		At: at, Kind: Hold, From: Customer(accountID), To: Reserve(vmID), Amount: amount, VM: vmID,
		Reason: "deposit of two epochs", Key: "hold:" + vmID,
	}, err
}

// Rent charges epoch n, counted from 1, of a VM.
func Rent(at time.Time, accountID, vmID, providerID string, price money.Amount, n int64) Entry {
	return Entry{
		At: at, Kind: Charge, From: Reserve(vmID), To: Pending(providerID), Amount: price, VM: vmID, Customer: accountID, Epoch: n,
		Reason: fmt.Sprintf("rent of epoch %d", n), Key: fmt.Sprintf("charge:%s:%d", vmID, n),
	}
}

// Undelivered returns to a VM's reserve a part of what epoch n was charged.
func Undelivered(at time.Time, accountID, vmID, providerID string, part money.Amount, n int64) Entry {
	return Entry{
		At: at, Kind: Return, From: Pending(providerID), To: Reserve(vmID), Amount: part, VM: vmID, Customer: accountID, Epoch: n,
		Reason: fmt.Sprintf("the part of epoch %d that was not delivered", n), Key: fmt.Sprintf("return:%s:%d", vmID, n),
	}
}

// Release returns what is left in a VM's reserve to its customer when it ends: once in
// generation n of what is wanted of it, since it may be undeleted and end again.
func Release(at time.Time, accountID, vmID string, rest money.Amount, reason string, n int64) Entry {
	return Entry{
		At: at, Kind: Refund, From: Reserve(vmID), To: Customer(accountID), Amount: rest, VM: vmID,
		Reason: reason, Key: fmt.Sprintf("refund:%s:end:%d", vmID, n),
	}
}

// Difference returns to a VM's customer a part of its reserve that is not needed
// any more: since generation n of what is wanted of it, it costs less.
func Difference(at time.Time, accountID, vmID string, part money.Amount, n int64) Entry {
	return Entry{
		At: at, Kind: Refund, From: Reserve(vmID), To: Customer(accountID), Amount: part, VM: vmID,
		Reason: "its new place costs less", Key: fmt.Sprintf("refund:%s:%d", vmID, n),
	}
}

// Adjust brings a VM's reserve from what it holds to what a new price needs, once in a
// generation of what is wanted of it and before epoch n: from its customer's balance, or
// back to it. It is nil when that is the same.
func Adjust(at time.Time, accountID, vmID string, holds, needs money.Amount, generation, n int64) *Entry {
	e := Entry{
		At: at, Kind: TopUp, From: Customer(accountID), To: Reserve(vmID), Amount: needs - holds, VM: vmID,
		Reason: "reserve for its new price", Key: fmt.Sprintf("topup:%s:%d:%d", vmID, generation, n),
	}
	switch {
	case needs == holds:
		return nil
	case needs < holds:
		e.Kind, e.From, e.To, e.Amount = Refund, e.To, e.From, holds-needs
		e.Reason, e.Key = "its new price needs less", fmt.Sprintf("refund:%s:%d:%d", vmID, generation, n)
	}
	return &e
}

// Owner returns the customer whose balance, or whose VM's reserve, the entry moves;
// "" for nobody's.
func (e Entry) Owner() string {
	for _, a := range []Account{e.From, e.To} {
		if owner, ok := strings.CutPrefix(string(a), customers); ok {
			return owner
		}
	}
	return e.Customer
}

// Check returns an Internal fault for an entry that must never be written.
func (e Entry) Check() error {
	switch {
	case e.Amount <= 0:
		return fault.Newf(fault.Internal, "entry %s moves %s", e.Key, e.Amount)
	case e.From == "" || e.To == "" || e.From == e.To:
		return fault.Newf(fault.Internal, "entry %s moves from %q to %q", e.Key, e.From, e.To)
	case e.Key == "" || strings.HasSuffix(e.Key, ":"):
		return fault.Newf(fault.Internal, "entry from %q to %q has no key", e.From, e.To)
	case e.At.IsZero():
		return fault.Newf(fault.Internal, "entry %s has no time", e.Key)
	}
	return nil
}
