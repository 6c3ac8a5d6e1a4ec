package api

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"

	"github.com/cpucloud/cpucloud/internal/money"
)

// writer is an answer that writes itself, piece by piece.
type writer interface {
	write(ctx context.Context, p *page) error
}

// page is an answer as it is written, mostly JSON. It is sent whole when it is
// small, and in parts when it grows, so that an answer of any length takes
// little memory.
type page struct {
	w      http.ResponseWriter
	status int
	kind   string // of content, "" for JSON
	text   []byte
	begun  bool  // part of it was sent
	err    error // of the connection; what follows is of no use
}

const jsonType = "application/json"

// pageSize is how much is written at once.
const pageSize = 64 << 10

// sheets are buffers of pages that were sent.
var sheets = sync.Pool{New: func() any { return new(make([]byte, 0, pageSize+pageSize/2)) }}

// raw writes text as it is.
func (p *page) raw(text string) {
	if p.text == nil {
		p.text = (*sheets.Get().(*[]byte))[:0] //nolint:forcetypeassert // New makes nothing else
	}
	p.text = append(p.text, text...)
}

// Write writes text as it is. It never fails: see turn.
func (p *page) Write(text []byte) (int, error) {
	p.raw(string(text))
	return len(text), nil
}

// json writes a value.
func (p *page) json(v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	_, err = p.Write(text)
	return err
}

// string writes a text.
func (p *page) string(s string) {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, _ := json.Marshal(s) // a string always encodes
			p.text = append(p.text, quoted...)
			return
		}
	}
	p.text = append(p.text, '"')
	p.text = append(p.text, s...)
	p.text = append(p.text, '"')
}

// member writes the name of a member, such as `,"price":`, and a text.
func (p *page) member(name, value string) {
	p.raw(name)
	p.string(value)
}

// number writes the name of a member and a number.
func (p *page) number(name string, n int64) {
	p.raw(name)
	p.text = strconv.AppendInt(p.text, n, 10)
}

// float writes the name of a member and a number with two decimals.
func (p *page) float(name string, f float64) {
	p.raw(name)
	p.text = strconv.AppendFloat(p.text, f, 'f', 2, 64)
}

// amount writes the name of a member and an amount of money.
func (p *page) amount(name string, a money.Amount) {
	p.raw(name)
	p.text = append(p.text, '"')
	p.text = append(a.Append(p.text), '"')
}

// turn sends what was written when that is enough. It returns an error when
// nobody reads any more.
func (p *page) turn() error {
	if len(p.text) >= pageSize {
		p.send()
	}
	return p.err
}

func (p *page) send() {
	if p.err != nil {
		return
	}
	if !p.begun {
		p.begun = true
		p.w.Header().Set("Content-Type", cmp.Or(p.kind, jsonType))
		p.w.WriteHeader(p.status)
	}
	if _, err := p.w.Write(p.text); err != nil {
		p.err = fmt.Errorf("send answer: %w", err)
	}
	p.text = p.text[:0]
}

// close sends the rest.
func (p *page) close() error {
	if !p.begun {
		p.w.Header().Set("Content-Length", strconv.Itoa(len(p.text)))
	}
	p.send()
	sheets.Put(&p.text)
	return p.err
}

// firstError returns the first error that is one.
func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
