package storetest

import (
	"context"
	"sync/atomic"
)

// Mortal is a context that ends when it was asked so many times whether it has:
// at each statement of the store there is such a moment or more.
type Mortal struct {
	context.Context //nolint:containedctx // it is one
	End             context.CancelFunc
	left            atomic.Int64
}

// NewMortal returns a context that outlives so many questions.
func NewMortal(ctx context.Context, questions int64) *Mortal {
	m := &Mortal{}
	m.Context, m.End = context.WithCancel(ctx)
	m.left.Store(questions)
	return m
}

// Done is that of the context.
func (m *Mortal) Done() <-chan struct{} {
	m.asked()
	return m.Context.Done()
}

// Err is that of the context.
func (m *Mortal) Err() error {
	m.asked()
	return m.Context.Err()
}

func (m *Mortal) asked() {
	if m.left.Add(-1) < 0 {
		m.End()
	}
}
