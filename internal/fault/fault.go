// Package fault gives errors a kind: what the caller can do about them.
//
// A fault is made where the reason is known, with a sentence written for the
// person who will read it. On the way up it is wrapped with fmt.Errorf and
// %w; kind and sentence survive the wrapping. An error that carries no fault
// is Internal: its text is for the operator's log, never for a customer.
package fault

import (
	"errors"
	"fmt"
)

// Kind says what the caller can do about an error.
type Kind string

// The kinds of fault. The HTTP API turns each into one status, in one table.
const (
	Malformed     Kind = "malformed"     // the request can't be read: wrong JSON, wrong type
	Invalid       Kind = "invalid"       // well formed, but a value is not acceptable
	Denied        Kind = "denied"        // no such key, or the key may not do this
	NotFound      Kind = "not_found"     // no such thing, or it belongs to someone else
	Conflict      Kind = "conflict"      // the thing is not in a state that allows this
	Unsatisfiable Kind = "unsatisfiable" // acceptable, but no offer fits
	Unaffordable  Kind = "unaffordable"  // acceptable, but the balance is too small
	Exhausted     Kind = "exhausted"     // a limit on rate or size was reached
	Unavailable   Kind = "unavailable"   // try again later: a part is starting, stopping or out of reach
	Internal      Kind = "internal"      // our fault; the operator has to look
)

// Error is a fault: a kind and one sentence for the reader.
type Error struct {
	Kind    Kind
	Message string
}

// Error returns the sentence.
func (e *Error) Error() string { return e.Message }

// New returns a fault of kind k. The sentence says what is wrong and, where it
// is not plain, what to do.
func New(k Kind, sentence string) error { return &Error{Kind: k, Message: sentence} }

// Newf is New with formatting.
func Newf(k Kind, format string, args ...any) error {
	return &Error{Kind: k, Message: fmt.Sprintf(format, args...)}
}

// KindOf returns the kind of the first fault in err's chain, Internal when
// there is none, and "" for nil.
func KindOf(err error) Kind {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Internal
}

// Is reports whether err carries a fault of kind k.
func Is(err error, k Kind) bool { return err != nil && KindOf(err) == k }

// Message returns the sentence that may be shown to the caller. For an error
// without a fault, or an Internal one, it is a constant text.
func Message(err error) string {
	if e, ok := errors.AsType[*Error](err); ok && e.Kind != Internal {
		return e.Message
	}
	return "internal error"
}
