package payment

import (
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/money"
)

// State says how far a withdrawal has come.
type State string

// The states. Only Requested is followed by another.
const (
	Requested State = "requested" // its provider asked for it; an operator, or its provider, decides
	Confirmed State = "confirmed" // an operator paid it
	Rejected  State = "rejected"  // an operator won't pay it
	Cancelled State = "cancelled" // its provider took it back
)

// Check returns an Invalid fault unless s is one of the states.
func (s State) Check() error {
	switch s {
	case Requested, Confirmed, Rejected, Cancelled:
		return nil
	}
	return fault.Newf(fault.Invalid, "a withdrawal is requested, confirmed, rejected or cancelled, not %.40q", string(s))
}

// Withdrawal is a provider's request to be paid what it earned.
type Withdrawal struct {
	ID          string
	ProviderID  string
	Amount      money.Amount
	To          string // where to pay it, in the provider's words
	Note        string // "" for none
	RequestKey  string // unique to it among its provider's, so that a repeated request is the same one; "" for none
	State       State
	RequestedAt time.Time
	RequestedBy string // who asked, for operators alone
	Decision           // zero while it is requested
}

// Decision is what became of a withdrawal.
type Decision struct {
	DecidedAt time.Time
	DecidedBy string // for operators alone
	Answer    string // the reference of the transfer, or why there is none; "" where its provider took it back
}

const (
	maxTo        = 200
	maxReference = 200
)

// Check returns an Invalid fault for what can't be asked for.
func (w Withdrawal) Check() error {
	if w.Note != "" {
		if err := CheckText("note", w.Note, maxNote); err != nil {
			return err
		}
	}
	if w.RequestKey != "" && !isID(w.RequestKey) {
		return fault.Newf(fault.Invalid, "the key of a request is 1 to %d visible characters of ASCII, the last of them no colon", maxID)
	}
	return CheckText("to", w.To, maxTo)
}

// Asks reports whether w asks for the same as another.
func (w Withdrawal) Asks(other Withdrawal) bool {
	return w.ProviderID == other.ProviderID && w.Amount == other.Amount && w.To == other.To && w.Note == other.Note
}

// CheckAnswer returns an Invalid fault for an answer that can't go with a decision.
func (s State) CheckAnswer(answer string) error {
	switch s {
	case Confirmed:
		return CheckText("reference", answer, maxReference)
	case Rejected:
		return CheckText("reason", answer, maxNote)
	case Requested, Cancelled:
	}
	return nil
}

// Decide makes the decision that leads to a state. One that was made already
// changes nothing, and decided is false. Returns a Conflict fault for one that
// was decided otherwise; paid twice is paid otherwise.
func (w *Withdrawal) Decide(to State, d Decision) (decided bool, err error) {
	switch {
	case w.State == Requested:
		w.State, w.Decision = to, d
		return true, nil
	case w.State == Confirmed && to == Confirmed && w.Answer != d.Answer:
		return false, fault.Newf(fault.Conflict, "withdrawal %s was paid already, with the reference %q", w.ID, w.Answer)
	case w.State != to:
		return false, fault.Newf(fault.Conflict, "withdrawal %s was decided already: it is %s", w.ID, w.State)
	}
	return false, nil
}
