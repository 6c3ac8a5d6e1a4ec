package server

import (
	"sync/atomic"
	"time"
)

// clock is the billing clock: the given one, and in tests a while ahead of it.
type clock struct {
	now   func() time.Time
	ahead *atomic.Int64 // nanoseconds; nil for a clock that can't be moved
}

func newClock(now func() time.Time, test bool) clock {
	c := clock{now: now}
	if test {
		c.ahead = &atomic.Int64{}
	}
	return c
}

// Now returns the time.
func (c clock) Now() time.Time {
	if c.ahead == nil {
		return c.now()
	}
	return c.now().Add(time.Duration(c.ahead.Load()))
}

// advance returns what moves the clock forward, nil for a clock that can't be moved.
func (c clock) advance() func(time.Duration) {
	if c.ahead == nil {
		return nil
	}
	return func(d time.Duration) { c.ahead.Add(int64(d)) }
}
