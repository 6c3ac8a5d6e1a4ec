package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"reflect"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
)

// operation is one row of the route table with what the document says of it.
type operation struct {
	method, path string
	access       access
	status       int  // of success, 0 for 200
	reads        bool // it only reads, though its method is not GET

	id, tag  string
	summary  string
	text     string
	query    []parameter
	headers  []parameter
	request  string         // example, JSON
	optional bool           // the body may be left out
	planned  bool           // a dry run answers with a plan
	response string         // example, JSON
	body     reflect.Type   // of the answer where it writes itself; nil is what the handler returns
	others   []string       // types of content that it can be answered in besides JSON
	refusals map[int]string // by status: what is said, as an example
}

type parameter struct {
	name, text, example string
}

// access says whom an operation serves.
type access int

const (
	customer access = iota // any API key
	operator               // an operator's API key
	public                 // anyone
)

// call is one request that was admitted.
type call struct {
	*http.Request
	who    account.Actor
	query  url.Values
	status int  // of success
	dry    bool // nothing may change
}

// none is the type of a body that isn't there.
type none struct{}

// handle serves op with do: admit, decode, do, answer.
func handle[In, Out any](a *api, op operation, do func(*call, In) (Out, error)) {
	answer := op.body
	if answer == nil {
		answer = reflect.TypeFor[Out]()
	}
	a.describe(op, reflect.TypeFor[In](), answer)
	a.mux.HandleFunc(op.method+" "+op.path, func(w http.ResponseWriter, r *http.Request) {
		c, err := a.admit(op, r)
		if err != nil {
			a.turnAway(w, r, err)
			return
		}
		if c.dry {
			w.Header().Set(dryRunHeader, "true")
			c.Request = c.WithContext(control.Rehearse(r.Context()))
		}
		var in In
		if err := decode(w, r, &in); err != nil {
			a.refuse(w, r, err)
			return
		}
		out, err := do(c, in)
		if err != nil {
			a.refuse(w, r, err)
			return
		}
		if err := a.answer(w, c.Request, c.status, out); err != nil {
			a.Log.ErrorContext(r.Context(), "an answer was cut short", "request_id", w.Header().Get(requestIDHeader), "path", r.URL.Path, "error", err)
		}
	})
}

// admit authenticates the caller, before anything of the body is read.
func (a *api) admit(op operation, r *http.Request) (*call, error) {
	c := &call{Request: r, status: op.success()}
	var err error
	if op.access != public {
		if c.who, err = a.authenticate(r); err != nil {
			return nil, err
		}
	}
	if op.access == operator {
		if err := c.who.RequireOperator(); err != nil {
			return nil, err
		}
	}
	if c.query, err = url.ParseQuery(r.URL.RawQuery); err != nil {
		return nil, fault.New(fault.Malformed, "the query of the address can't be read")
	}
	if op.changes() {
		c.dry, err = c.wantsDry()
	}
	return c, err
}

func (op operation) success() int {
	if op.status == 0 {
		return http.StatusOK
	}
	return op.status
}

// answer answers with what was done. It returns an error that broke it off when
// part of it was sent.
func (a *api) answer(w http.ResponseWriter, r *http.Request, status int, out any) error {
	if status == http.StatusNoContent {
		w.WriteHeader(status)
		return nil
	}
	if s, ok := out.(writer); ok {
		p := &page{w: w, status: status}
		err := s.write(r.Context(), p)
		if err == nil {
			err = p.close()
		}
		switch {
		case err == nil:
		case !p.begun:
			a.refuse(w, r, err)
		case p.err == nil: // it is not that nobody reads any more
			return err
		}
		return nil
	}
	body, err := json.Marshal(out)
	if err != nil {
		a.refuse(w, r, fmt.Errorf("encode answer: %w", err))
		return nil
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that went away needs no answer
	return nil
}
