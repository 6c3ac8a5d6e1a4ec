package control

import (
	"sync"
	"time"
)

// refusals remembers what was told in this hour. The zero value is ready to use.
type refusals struct {
	mu   sync.Mutex
	hour time.Time
	told map[string]bool
}

// first reports whether a thing is told for the first time in an hour.
func (r *refusals) first(thing string, hour time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !hour.Equal(r.hour) || r.told == nil {
		r.hour, r.told = hour, map[string]bool{}
	}
	if r.told[thing] {
		return false
	}
	r.told[thing] = true
	return true
}
