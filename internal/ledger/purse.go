package ledger

import (
	"strings"

	"github.com/cpucloud/cpucloud/internal/money"
)

// Purse is a customer's money: what can be spent, and what the reserves of VMs
// hold.
type Purse struct {
	Free, Reserved money.Amount
}

// Plus returns a purse with what another adds to it.
func (p Purse) Plus(q Purse) Purse { return Purse{p.Free + q.Free, p.Reserved + q.Reserved} }

// Minus is the opposite of Plus.
func (p Purse) Minus(q Purse) Purse { return Purse{p.Free - q.Free, p.Reserved - q.Reserved} }

// Total returns all of it.
func (p Purse) Total() money.Amount { return p.Free + p.Reserved }

// Direction is where an entry moves a customer's money.
type Direction string

// The directions. Nothing is earned or spent by the last two.
const (
	In        Direction = "in"        // from outside, or back from a provider
	Out       Direction = "out"       // to outside, or to a provider
	ToReserve Direction = "toReserve" // from the balance to a VM's reserve
	ToBalance Direction = "toBalance" // from a VM's reserve to the balance
)

// Moves returns what an entry does to the money of a customer whom it concerns:
// one of its accounts is the customer's, or the reserve of one of its VMs.
func (e Entry) Moves(accountID string) (Direction, Purse) {
	own := Customer(accountID)
	take, give := Purse{Free: e.Amount}, Purse{Free: e.Amount} // from and to
	if e.From.isReserve() {
		take = Purse{Reserved: e.Amount}
	}
	if e.To.isReserve() {
		give = Purse{Reserved: e.Amount}
	}
	from, to := e.From == own || e.From.isReserve(), e.To == own || e.To.isReserve()
	switch {
	case from && to && e.To.isReserve():
		return ToReserve, give.Minus(take)
	case from && to:
		return ToBalance, give.Minus(take)
	case from:
		return Out, Purse{}.Minus(take)
	}
	return In, give
}

func (a Account) isReserve() bool { return strings.HasPrefix(string(a), "vm:") }
