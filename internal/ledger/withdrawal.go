package ledger

import (
	"time"

	"github.com/cpucloud/cpucloud/internal/money"
)

// Asked takes what a provider wants to be paid out of what it earned, so that it
// can't be asked for twice.
func Asked(at time.Time, providerID, withdrawalID string, amount money.Amount) Entry {
	return Entry{
		At: at, Kind: Request, From: Earned(providerID), To: Withdrawing(providerID), Amount: amount,
		Reason: "asked for: " + withdrawalID, Key: "request:" + withdrawalID,
	}
}

// Paid pays what a provider has asked for.
func Paid(at time.Time, providerID, withdrawalID string, amount money.Amount) Entry {
	return Entry{
		At: at, Kind: Withdrawal, From: Withdrawing(providerID), To: External, Amount: amount,
		Reason: "paid: " + withdrawalID, Key: "withdrawal:" + withdrawalID,
	}
}

// Restored gives back to a provider what it has asked for and is not paid.
func Restored(at time.Time, providerID, withdrawalID string, amount money.Amount) Entry {
	return Entry{
		At: at, Kind: Restore, From: Withdrawing(providerID), To: Earned(providerID), Amount: amount,
		Reason: "not paid: " + withdrawalID, Key: "restore:" + withdrawalID,
	}
}
