package client

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Error is a refusal: the cloud answered, but not with what was asked for.
type Error struct {
	Status    int     // of HTTP
	Message   string  // one sentence of the cloud
	RequestID string  // names the request in the operator's log; may be empty
	Faults    []Fault // all that is wrong with a document, where the cloud says it one by one
}

// Fault is one thing that is wrong with a document, such as a listing.
type Fault struct {
	Path    string `json:"path"` // such as offers[1].prices.vcpu
	Message string `json:"message"`
}

// Error returns the cloud's sentence.
func (e *Error) Error() string { return e.Message }

// The sentences of a refused deployment or estimate, as the API fixes them.
const (
	NoSuitableOffer = "No suitable offer found" // nothing matches
	NotEnoughOffers = "Not enough offers found" // something matches, but fewer than asked for
)

// StatusOf returns the HTTP status of the refusal in err's chain, or 0.
func StatusOf(err error) int {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Status
	}
	return 0
}

// Unreached reports whether err means that no answer came: the cloud may or
// may not have done what it was asked for.
func Unreached(err error) bool {
	_, ok := errors.AsType[*unreached](err)
	return ok
}

type unreached struct{ error }

func (u *unreached) Unwrap() error { return u.error }

// refusal makes an Error of an answer that isn't one of success.
func refusal(res *http.Response) error {
	e := &Error{Status: res.StatusCode, RequestID: res.Header.Get("X-Request-Id")}
	var said struct {
		Error  string  `json:"error"`
		Faults []Fault `json:"faults"`
	}
	if text, err := io.ReadAll(io.LimitReader(res.Body, maxRefusal)); err == nil {
		_ = json.Unmarshal(text, &said) // a proxy's page says less than its status does
	}
	e.Faults = said.Faults
	e.Message = cmp.Or(said.Error, fmt.Sprintf("the cloud answered %d %s", res.StatusCode, http.StatusText(res.StatusCode)))
	return e
}

// pauses are between tries: long enough for a restart of a proxy, short enough
// for a person who mistyped the address.
var pauses = [...]time.Duration{100 * time.Millisecond, 300 * time.Millisecond, 900 * time.Millisecond}

func worthRepeating(err error) bool {
	return Unreached(err) || StatusOf(err) == http.StatusServiceUnavailable
}

// pause waits and reports whether it may go on.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
