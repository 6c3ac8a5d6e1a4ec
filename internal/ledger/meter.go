package ledger

import (
	"fmt"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/money"
)

// Cover says for how long a VM's reserve lasts.
type Cover string

// The covers.
const (
	Full   Cover = "full"   // the reserve holds another epoch
	Short  Cover = "short"  // it runs on what is paid, or in its grace; the balance can't fill the reserve
	Unpaid Cover = "unpaid" // an epoch is due, and neither reserve nor balance pays it
)

// Meter is the billing of one VM. Its money is on a Sheet that has to know the
// VM's reserve, its customer and what its provider has pending.
type Meter struct {
	AccountID  string
	VM         string
	ProviderID string
	Price      money.Amount  // per epoch
	Epoch      time.Duration // from one charge to the next
	Grace      time.Duration // how long an epoch may stay unpaid

	Counted bool   // what is charged counts towards limits
	KeyID   string // of the API key that it counts towards, too

	Epochs int64     // how many were charged
	Next   time.Time // when the next one is due
}

// Run charges every epoch that is due at now, one by one, and fills the reserve
// up to one epoch's price, as far as the money goes: an amount moves whole or
// not at all.
func (m *Meter) Run(s *Sheet, now time.Time) (Cover, error) {
	for !m.Next.After(now) {
		filled, err := m.fill(s, now, m.Price)
		if err != nil {
			return "", err
		}
		if !filled && now.Before(m.Next.Add(m.Grace)) {
			return Short, nil
		}
		if !filled {
			return Unpaid, nil
		}
		if err := m.Charge(s, now); err != nil {
			return "", err
		}
		m.Next = m.Next.Add(m.Epoch) // from when it was due, so that epochs do not drift
	}
	filled, err := m.fill(s, now, m.Price)
	if err != nil || filled {
		return Full, err
	}
	return Short, nil
}

// Charge takes the next epoch's price out of the reserve.
func (m *Meter) Charge(s *Sheet, now time.Time) error {
	if m.Price > 0 { // a provider may give VMs away
		rent := Rent(now, m.AccountID, m.VM, m.ProviderID, m.Price, m.Epochs+1)
		rent.Counted, rent.KeyID = m.Counted, m.KeyID
		if err := s.Post(rent); err != nil {
			return err
		}
	}
	m.Epochs++
	return nil
}

// Restart fills the reserve of a VM that was unpaid: one epoch to be charged when
// it runs again, and one to be kept. It is false, and nothing moves, when the
// balance is too small.
func (m *Meter) Restart(s *Sheet, now time.Time) (bool, error) {
	deposit, err := DepositFor(m.Price)
	if err != nil {
		return false, err
	}
	return m.fill(s, now, deposit)
}

// fill brings the reserve up to an amount. It happens once between two charges.
func (m *Meter) fill(s *Sheet, now time.Time, to money.Amount) (bool, error) {
	missing := to - s.Holds(Reserve(m.VM))
	if missing <= 0 {
		return true, nil
	}
	err := s.Post(Entry{
		At: now, Kind: TopUp, From: Customer(m.AccountID), To: Reserve(m.VM), Amount: missing, VM: m.VM,
		Reason: fmt.Sprintf("reserve for epoch %d", m.Epochs+1), Key: fmt.Sprintf("topup:%s:%d", m.VM, m.Epochs),
	})
	if fault.Is(err, fault.Unaffordable) {
		return false, nil
	}
	return err == nil, err
}

// Accounts returns the accounts that the meter's money moves between.
func (m *Meter) Accounts() []Account {
	return []Account{Reserve(m.VM), Customer(m.AccountID), Pending(m.ProviderID)}
}
