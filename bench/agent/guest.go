package main

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/cpucloud/cpucloud/bench/internal/report"
)

// guest is one that answers.
type guest struct {
	id  string // of the VM, "" for a bare one
	ssh netip.AddrPort
}

// guest deploys a VM and logs in.
func (s *site) guest(ctx context.Context) (guest, error) {
	begin := report.Now()
	ids, err := s.deploy(ctx, 1)
	if err != nil {
		return guest{}, err
	}
	v, err := s.Active(ctx, ids[0])
	if err != nil {
		return guest{}, err
	}
	address, err := netip.ParseAddr(v.Address())
	if err != nil {
		return guest{}, fmt.Errorf("vm %s: %w", v.ID, err)
	}
	g := guest{v.ID, netip.AddrPortFrom(address, sshPort)}
	return g, s.key.Login(ctx, s.image.Username, g.ssh, begin)
}

// bareGuest starts a bare QEMU and logs in. It ends when stop is called.
func (s *site) bareGuest(ctx context.Context) (g guest, stop func(), err error) {
	m := s.bare[0]
	if err := m.Prepare(ctx); err != nil {
		return g, nil, err
	}
	card, err := s.card(ctx, 0)
	if err != nil {
		return g, nil, err
	}
	g.ssh = card.SSH
	begin := report.Now()
	if stop, err = m.Start(ctx, card); err != nil {
		return g, nil, err
	}
	if err := s.key.Login(ctx, s.image.Username, g.ssh, begin); err != nil {
		stop()
		return g, nil, fmt.Errorf("bare QEMU: %w: %s", err, m.Said())
	}
	return g, stop, nil
}
