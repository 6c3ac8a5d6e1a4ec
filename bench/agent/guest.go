package main

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/cpucloud/cpucloud/bench/internal/report"
)

// bareGuest starts a bare QEMU and logs in. It ends when stop is called.
func (s *site) bareGuest(ctx context.Context) (at netip.AddrPort, stop func(), err error) {
	m := s.bare[0]
	if err := m.Prepare(ctx); err != nil {
		return at, nil, err
	}
	card, err := s.card(ctx, 0)
	if err != nil {
		return at, nil, err
	}
	at = card.SSH
	begin := report.Now()
	if stop, err = m.Start(ctx, card); err != nil {
		return at, nil, err
	}
	if err := s.Key.Login(ctx, s.Image.Username, at, begin); err != nil {
		stop()
		return at, nil, fmt.Errorf("bare QEMU: %w: %s", err, m.Said())
	}
	return at, stop, nil
}
