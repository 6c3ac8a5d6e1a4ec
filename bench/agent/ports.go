package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/cpucloud/cpucloud/bench/internal/report"
	"github.com/cpucloud/cpucloud/client"
)

const (
	sshPort    = 22
	firstPort  = 20_000 // of those that are opened; nobody listens there
	coldPorts  = 2
	knockEvery = 5 * time.Millisecond
	openedIn   = 30 * time.Second
)

// benchPorts times what passes from the answer to PATCH until a guest is reached
// at the port that was opened. The guest refuses the connection, which it can't
// before it has come to it.
func benchPorts(ctx context.Context, s *site, o options) (err error) {
	report.Progress("ports: %d changes, one at a time", o.patches)
	g, err := s.Guest(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Delete(context.WithoutCancel(ctx), g.ID)) }()
	var took, near []float64
	for i := range coldPorts + o.patches {
		at := netip.AddrPortFrom(g.SSH.Addr(), uint16(firstPort+i)) //nolint:gosec // some hundred at most
		if err := s.open(ctx, g.ID, at.Port()); err != nil {
			return err
		}
		begin := report.Now()
		if err := reached(ctx, at); err != nil {
			return fmt.Errorf("port %d is not opened: %w", at.Port(), err)
		}
		opened := report.Now()
		if err := reached(ctx, at); err != nil { // once more, now that it is open
			return err
		}
		if i >= coldPorts {
			took = append(took, milliseconds(opened.Sub(begin)))
			near = append(near, milliseconds(report.Now().Sub(opened)))
		}
	}
	return report.Print(
		report.Figure{Name: "ports.p50", Value: report.Median(took), Unit: "ms", Bar: "<=300"},
		report.Figure{Name: "ports.p90", Value: report.Quantile(took, 0.9), Unit: "ms"},
		report.Figure{Name: "ports.open", Value: report.Median(near), Unit: "ms"},
	)
}

// open opens ports of a VM besides SSH's, and closes all others.
func (s *site) open(ctx context.Context, id string, ports ...uint16) error {
	all := []client.Port{{Port: sshPort, Protocol: "tcp"}}
	for _, p := range ports {
		all = append(all, client.Port{Port: int(p), Protocol: "tcp"})
	}
	return s.UpdateVMs(ctx, client.Update{ID: id, Ports: all})
}

// reached returns once somebody at an address has answered, by taking a connection
// or by refusing it. It asks anew all the time: what is dropped is not repeated
// within a second.
func reached(ctx context.Context, at netip.AddrPort) error {
	ctx, cancel := context.WithTimeout(ctx, openedIn)
	defer cancel()
	answered := make(chan struct{}, 1)
	for {
		go func() {
			conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", at.String())
			if err == nil {
				_ = conn.Close() // that it is there is enough
			} else if !errors.Is(err, syscall.ECONNREFUSED) {
				return
			}
			select {
			case answered <- struct{}{}:
			default:
			}
		}()
		pause := time.NewTimer(knockEvery)
		select {
		case <-answered:
			pause.Stop()
			return nil
		case <-pause.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
