package control

import "sync"

// bells wakes those who wait for a thing to change: a hint to look again, never
// the news itself. The zero value is ready to use.
type bells struct {
	heard   func(things ...string) // told of all that is rung; nil for nobody
	mu      sync.Mutex
	waiting map[string]map[chan struct{}]bool
}

// listen returns a channel that receives after thing was rung, and a function
// that ends the listening. Listen first, then look.
func (b *bells) listen(thing string) (rung <-chan struct{}, cancel func()) {
	c := make(chan struct{}, 1)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.waiting == nil {
		b.waiting = map[string]map[chan struct{}]bool{}
	}
	if b.waiting[thing] == nil {
		b.waiting[thing] = map[chan struct{}]bool{}
	}
	b.waiting[thing][c] = true
	return c, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.waiting[thing], c)
		if len(b.waiting[thing]) == 0 {
			delete(b.waiting, thing)
		}
	}
}

// awaited reports whether somebody listens to thing.
func (b *bells) awaited(thing string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.waiting[thing]) > 0
}

// ring wakes all who listen to one of the things.
func (b *bells) ring(things ...string) {
	if b.heard != nil && len(things) > 0 {
		b.heard(things...)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, thing := range things {
		for c := range b.waiting[thing] {
			select {
			case c <- struct{}{}:
			default: // it is awake already
			}
		}
	}
}
