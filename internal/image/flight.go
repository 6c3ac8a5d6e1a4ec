package image

import (
	"context"
	"sync"

	"github.com/cpucloud/cpucloud/internal/fault"
)

// Step is a part of a fetch.
type Step string

// The steps, in their order. Unpack is left out for raw disks.
const (
	Download Step = "download" // bytes from the network
	Unpack   Step = "unpack"   // bytes of the disk
)

// Progress of a fetch.
type Progress struct {
	Step  Step
	Done  int64
	Total int64 // 0 if it isn't known
}

// waiter is a call of Get that waits for a fetch.
type waiter struct {
	disk     int64
	progress func(Progress)
}

// flight is a fetch that is under way, and who waits for it.
type flight struct {
	key    string
	tenant string
	cancel context.CancelCauseFunc
	done   chan struct{} // closed when base and err are set
	after  chan struct{} // of a flight for the same that was left, nil if there is none
	base   Base
	err    error

	mu      sync.Mutex
	private bool // what it brings is for its tenant alone
	waiters map[*waiter]struct{}
}

// shares reports whether a tenant may have what the flight brought.
func (f *flight) shares(tenant string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.private || f.tenant == tenant
}

func (f *flight) setPrivate(private bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.private = f.tenant != "" && private
}

// What ends a fetch from within.
var (
	errStopping = fault.New(fault.Unavailable, "the server is stopping")
	errSlow     = fault.New(fault.Unavailable, "fetching the image took too long")
	errStalled  = fault.New(fault.Unavailable, "the image server sends too slowly")
)

// share waits for the fetch of what r asks for, which it starts if there is none.
func (c *Cache) share(ctx context.Context, r Request) (Base, error) {
	for own := c.private(r.URL); ; own = true {
		w := &waiter{disk: r.DiskBytes, progress: r.Progress}
		f, err := c.join(ctx, r, r.key(own), w)
		if err != nil {
			return Base{}, err
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			c.leave(f, w)
			return Base{}, ctx.Err()
		}
		if own || f.shares(r.Tenant) {
			return f.base, f.err
		}
		// It turned out to be another tenant's: this one has to be able to
		// fetch it, too.
	}
}

func (c *Cache) join(ctx context.Context, r Request, key string, w *waiter) (*flight, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errStopping
	}
	if f, ok := c.flights[key]; ok {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.waiters[w] = struct{}{}
		return f, nil
	}
	// The fetch belongs to all who wait for it, not to the first of them.
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	f := &flight{key: key, tenant: r.Tenant, cancel: cancel, done: make(chan struct{}), waiters: map[*waiter]struct{}{w: {}}}
	if before := c.landing[key]; before != nil {
		f.after = before.done
	}
	c.flights[key], c.landing[key] = f, f
	c.fetches.Go(func() { c.fly(ctx, r, f) })
	return f, nil
}

// fly runs one fetch.
func (c *Cache) fly(ctx context.Context, r Request, f *flight) {
	defer f.cancel(nil)
	ctx, done := context.WithTimeoutCause(ctx, c.cfg.Timeout, errSlow)
	defer done()
	if f.after != nil {
		<-f.after // it was cancelled, and closes the file that both would write
	}
	b, ok := c.lookup(r) // somebody may have landed since this one's Get looked
	var err error
	if !ok {
		b, err = c.fetch(ctx, r, f)
	}
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	f.base, f.err = b, err
	c.mu.Lock()
	if c.flights[f.key] == f {
		delete(c.flights, f.key)
	}
	if c.landing[f.key] == f {
		delete(c.landing, f.key)
	}
	c.mu.Unlock()
	close(f.done)
}

// leave ends the fetch if nobody waits for it any more.
func (c *Cache) leave(f *flight, w *waiter) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.waiters, w)
	if len(f.waiters) > 0 {
		return
	}
	f.cancel(nil)
	if c.flights[f.key] == f {
		delete(c.flights, f.key)
	}
}

// Busy reports whether a fetch is under way that a tenant waits for.
func (c *Cache) Busy() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.landing {
		if f.tenant != "" {
			return true
		}
	}
	return false
}

// disk returns the largest disk that somebody waits with.
func (f *flight) disk() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := int64(0)
	for w := range f.waiters {
		n = max(n, w.disk)
	}
	return n
}

// report tells all who wait.
func (f *flight) report(p Progress) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for w := range f.waiters {
		if w.progress != nil {
			w.progress(p)
		}
	}
}
