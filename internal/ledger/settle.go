package ledger

import (
	"fmt"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/money"
)

// Fee is the platform's part of what providers earn, in millionths.
type Fee int64

// whole is a fee of all.
const whole Fee = 1_000_000

// ParseFee reads a fee in percent, such as "2.5", with up to four decimals.
// Returns an Invalid fault for anything but 0 to 100.
func ParseFee(percent string) (Fee, error) {
	millionths, err := money.Parse(percent) // a percent is 10,000 millionths, and an amount has six decimals
	if err != nil || millionths%100 != 0 || millionths > 100*money.USDC {
		return 0, fault.Newf(fault.Invalid, "a fee is 0 to 100 percent with at most four decimals, not %.40q", percent)
	}
	return Fee(millionths / 100), nil
}

// Of returns the fee of an amount, rounded half up to a micro-USDC.
func (f Fee) Of(amount money.Amount) money.Amount { return amount.Share(int64(f), int64(whole)) }

// Settlement is what a provider gets for good, with the fee that is kept of it.
type Settlement struct {
	ProviderID string
	Earned     money.Amount // without the fee
	Fee        money.Amount
	Key        string // unique: it names the first VM and epoch that are in it
}

// Settlements sums up what is settled at one time, by provider.
type Settlements struct {
	list []Settlement
	at   map[string]int
}

// Add adds what one epoch of a VM brought in: its price, or what is left of it
// after a part was returned.
func (s *Settlements) Add(providerID, vmID string, epoch int64, amount money.Amount, fee Fee) {
	if amount <= 0 {
		return
	}
	if s.at == nil {
		s.at = map[string]int{}
	}
	i, known := s.at[providerID]
	if !known {
		i = len(s.list)
		s.at[providerID] = i
		s.list = append(s.list, Settlement{ProviderID: providerID, Key: fmt.Sprintf("%s:%d", vmID, epoch)})
	}
	kept := fee.Of(amount)
	s.list[i].Earned += amount - kept
	s.list[i].Fee += kept
}

// Entries returns the entries that settle.
func (s *Settlements) Entries(at time.Time) []Entry {
	var entries []Entry
	for _, one := range s.list {
		if one.Earned > 0 {
			entries = append(entries, Entry{
				At: at, Kind: Settle, From: Pending(one.ProviderID), To: Earned(one.ProviderID), Amount: one.Earned,
				Reason: "earned for good: the epochs are over", Key: "settle:" + one.Key,
			})
		}
		if one.Fee > 0 {
			entries = append(entries, Entry{
				At: at, Kind: Commission, From: Pending(one.ProviderID), To: Platform, Amount: one.Fee,
				Reason: "fee of the platform", Key: "fee:" + one.Key,
			})
		}
	}
	return entries
}
