package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
)

// Two faults that only HTTP knows.
const (
	tooLarge  fault.Kind = "too_large"
	badMethod fault.Kind = "bad_method"
)

// statuses turns every kind of fault into a status. No other place does.
var statuses = map[fault.Kind]int{
	fault.Malformed:     http.StatusBadRequest,
	fault.Denied:        http.StatusForbidden,
	fault.NotFound:      http.StatusNotFound,
	badMethod:           http.StatusMethodNotAllowed,
	fault.Conflict:      http.StatusConflict,
	tooLarge:            http.StatusRequestEntityTooLarge,
	fault.Invalid:       http.StatusUnprocessableEntity,
	fault.Unsatisfiable: http.StatusUnprocessableEntity,
	fault.Unaffordable:  http.StatusUnprocessableEntity,
	fault.Exhausted:     http.StatusUnprocessableEntity,
	fault.Internal:      http.StatusInternalServerError,
	fault.Unavailable:   http.StatusServiceUnavailable,
}

// refusal is the body of every error.
type refusal struct {
	Error  string         `json:"error" doc:"What is wrong, in a sentence."`
	Faults []listingFault `json:"faults,omitempty" doc:"All that is wrong with a listing; of nothing else."`
}

// refuse answers with the error. What is our own fault is logged and not shown.
func (a *api) refuse(w http.ResponseWriter, r *http.Request, err error) {
	text := fault.Message(err)
	status, known := statuses[fault.KindOf(err)]
	if !known {
		status = http.StatusInternalServerError
	}
	switch {
	case status != http.StatusInternalServerError:
	case r.Context().Err() != nil: // whatever failed, failed because it was cut short
		status, text = http.StatusServiceUnavailable, "the server is stopping; try again"
	default:
		requestID := w.Header().Get(requestIDHeader)
		text += " (request " + requestID + ")"
		a.Log.ErrorContext(r.Context(), "request failed", "request_id", requestID, "method", r.Method, "path", r.URL.Path, "error", err)
	}
	said := refusal{Error: text}
	if wrong, ok := errors.AsType[*control.ListingError](err); ok {
		for _, f := range wrong.Faults {
			said.Faults = append(said.Faults, listingFault(f))
		}
	}
	body, err := json.Marshal(said)
	if err != nil { // a string always encodes
		status, body = http.StatusInternalServerError, []byte(`{"error":"internal error"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Connection", "close") // the next try may come to another replica
	}
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that went away needs no answer
}

// turnAway refuses a request whose body was not read. The connection is closed
// then: to keep it, the server would wait for the rest of the body first.
func (a *api) turnAway(w http.ResponseWriter, r *http.Request, err error) {
	if r.ContentLength != 0 {
		w.Header().Set("Connection", "close")
	}
	a.refuse(w, r, err)
}

// missing answers for what no route serves: a path that isn't there, or one
// that has other methods.
func (a *api) missing(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		other := &http.Request{Method: method, URL: r.URL, Host: r.Host}
		if _, pattern := a.mux.Handler(other); pattern != "/" {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) == 0 {
		a.turnAway(w, r, fault.New(fault.NotFound, "no such path; see /docs"))
		return
	}
	list := strings.Join(allowed, ", ")
	w.Header().Set("Allow", list)
	a.turnAway(w, r, fault.Newf(badMethod, "this path takes %s", list))
}
