// Package payment knows money on its way into the marketplace and out of it:
// payments for accounts, whatever their source, and withdrawals of what
// providers earned. It knows no ledger: who takes a payment enters it there.
package payment

import (
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/money"
)

// Payment is money for an account from the world outside.
type Payment struct {
	Source    string       // where it comes from: one word, which stays what it is for good
	ID        string       // which of its source's payments it is
	AccountID string       // whose balance it is for
	Amount    money.Amount // positive
	Note      string       // a sentence that the customer reads, "" for none
	Actor     string       // who brought it about, for operators alone
	At        time.Time    // when it was made, as its source says

	// Arrived says that the money is here already: refusing it would lose it.
	Arrived bool
}

// Receipt says how a payment stands in the ledger.
type Receipt struct {
	Source, ID string
	AccountID  string
	Amount     money.Amount
	Reason     string    // what the customer reads
	Actor      string    // who brought it about, for operators alone
	At         time.Time // when it was credited
	Again      bool      // it was credited before, and this changed nothing
	Beyond     string    // the bound that it is beyond, having arrived already; "" for none
}

// Operator is the source of what operators credit.
const Operator = "operator"

const (
	maxSource = 32
	maxID     = 200
	maxNote   = 500
)

// Key identifies the payment among those of all sources.
func (p Payment) Key() string { return p.Source + ":" + p.ID }

// Reason says in a sentence for the customer what the payment was.
func (p Payment) Reason() string {
	said := "payment through " + p.Source
	if p.Source == Operator {
		said = "credit by the operator"
	}
	if p.Note == "" {
		return said
	}
	return said + ": " + p.Note
}

// Check returns an Invalid fault for what is no payment.
func (p Payment) Check() error {
	switch {
	case !isSource(p.Source):
		return fault.Newf(fault.Invalid, "a source of payments is 1 to %d small letters and hyphens, not %.40q", maxSource, p.Source)
	case !isID(p.ID):
		return fault.Newf(fault.Invalid, "the id of a payment is 1 to %d visible characters of ASCII, the last of them no colon", maxID)
	case p.Amount <= 0:
		return fault.New(fault.Invalid, "amount has to be more than 0")
	case p.Note != "" || p.Source == Operator:
		return CheckNote(p.Note)
	}
	return nil
}

// CheckNote returns an Invalid fault unless a note says something on one line.
func CheckNote(note string) error {
	if note == "" {
		return fault.New(fault.Invalid, "note is missing: say in a sentence what it is for, the customer reads it")
	}
	return CheckText("note", note, maxNote)
}

func isSource(s string) bool {
	return s != "" && len(s) <= maxSource && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz-") == ""
}

func isID(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return s != "" && len(s) <= maxID && s[len(s)-1] != ':'
}

// CheckText returns an Invalid fault that names the member unless a text is 1 to
// most printable characters on one line.
func CheckText(member, text string, most int) error {
	unfit := func(c rune) bool { return !unicode.IsPrint(c) }
	if strings.TrimSpace(text) == "" || !utf8.ValidString(text) || utf8.RuneCountInString(text) > most || strings.ContainsFunc(text, unfit) {
		return fault.Newf(fault.Invalid, "%s is not 1 to %d printable characters on one line", member, most)
	}
	return nil
}
