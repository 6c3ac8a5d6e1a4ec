package control

import "github.com/cpucloud/cpucloud/internal/market"

// Waiting returns how many orders wait while a group is stored; busy is false
// when none is.
func (s *Service) Waiting() (n int, busy bool) {
	s.placer.mu.Lock()
	defer s.placer.mu.Unlock()
	return len(s.placer.waiting), s.placer.busy
}

// Shelf returns the index, to be spoilt.
func (s *Service) Shelf() *market.Index { return s.shelf.Index }
