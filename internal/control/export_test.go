package control

import (
	"context"

	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// Waiting returns how many orders wait while a group is stored; busy is false
// when none is.
func (s *Service) Waiting() (n int, busy bool) {
	s.placer.mu.Lock()
	defer s.placer.mu.Unlock()
	return len(s.placer.waiting), s.placer.busy
}

// Shelf returns the index, to be spoilt.
func (s *Service) Shelf() *market.Index { return s.shelf.Index }

// DueDrains is the first half of EndDrains, so that something may happen between
// the two.
func (s *Service) DueDrains(ctx context.Context) ([]string, error) { return s.dueDrains(ctx) }

// StepDrain is one of the transactions of the second half.
func (s *Service) StepDrain(ctx context.Context, serverID string) (more bool, err error) {
	return s.stepDrain(ctx, serverID)
}

// FsckWithin is Fsck of what a transaction sees that is not stored.
func (s *Service) FsckWithin(ctx context.Context, tx *store.Tx) (Soundness, error) {
	return check(ctx, tx)
}

// Changed is what keepFresh does each second.
func (s *Service) Changed(ctx context.Context) { s.changed(ctx) }

// Lookout returns the accounts whose funds Warn looks at next.
func (s *Service) Lookout(ctx context.Context, tx *store.Tx) ([]string, error) {
	l, err := s.look(ctx, tx)
	return l.accounts, err
}

// PortList is how ports are told.
func PortList(ports []vm.Port) string { return portList(ports) }

// Hold is hold, for what holds storage beside a disk.
func (s *Service) Hold(ctx context.Context, tx *store.Tx, v *vm.VM, gib int64) error {
	return s.hold(ctx, tx, v, gib)
}
