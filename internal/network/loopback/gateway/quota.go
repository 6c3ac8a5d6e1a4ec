package gateway

import "sync/atomic"

// Quota bounds how many of something may be held at the same time.
type Quota struct {
	limit  int64
	held   atomic.Int64
	parent *Quota
}

// NewQuota returns a quota of limit. What it gives is taken from parent too,
// unless that is nil.
func NewQuota(limit int64, parent *Quota) *Quota { return &Quota{limit: limit, parent: parent} }

// take reports whether there was one left, and holds it.
func (q *Quota) take() bool {
	if q == nil {
		return true
	}
	if q.held.Add(1) > q.limit || !q.parent.take() {
		q.held.Add(-1)
		return false
	}
	return true
}

// give returns one that take gave.
func (q *Quota) give() {
	if q != nil {
		q.held.Add(-1)
		q.parent.give()
	}
}
