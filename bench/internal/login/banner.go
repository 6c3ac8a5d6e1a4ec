package login

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/cpucloud/cpucloud/bench/internal/report"
)

const (
	// Connections that wait for a banner, begun one after another. Dropbear turns
	// away more than five.
	askers   = 4
	askEvery = 80 * time.Millisecond
	askFor   = askers * askEvery // QEMU's forwarding accepts long before the guest answers
)

// Banner returns once a machine that was ordered at begin greets by SSH.
func Banner(ctx context.Context, address netip.AddrPort, begin time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	conn, err := greeting(ctx, address, begin)
	if err != nil {
		return fmt.Errorf("wait for a banner of %s: %w", address, err)
	}
	return conn.Close()
}

// greeted is a connection of which the start was read ahead.
type greeted struct {
	net.Conn
	ahead *bufio.Reader
}

func (g greeted) Read(p []byte) (int, error) { return g.ahead.Read(p) }

// greeting returns the first connection at which an SSH server greets.
func greeting(ctx context.Context, address netip.AddrPort, begin time.Time) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	first := make(chan net.Conn)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	for i := range askers {
		asking.Go(func() {
			for wait := askEvery * time.Duration(i); report.Pause(ctx, wait) == nil; wait = askEvery / askers {
				// A machine that is slow to boot is slow to answer as well.
				conn, err := ask(ctx, address, max(askFor, report.Now().Sub(begin)/8))
				if err != nil {
					continue
				}
				select {
				case first <- conn:
				case <-ctx.Done():
					_ = conn.Close() // another was first
				}
			}
		})
	}
	select {
	case conn := <-first:
		return conn, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// ask connects and waits so long for a banner.
func ask(ctx context.Context, address netip.AddrPort, patience time.Duration) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: patience}).DialContext(ctx, "tcp", address.String())
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	g := greeted{conn, bufio.NewReader(conn)}
	err = conn.SetDeadline(report.Now().Add(patience))
	if err == nil {
		_, err = g.ahead.Peek(len("SSH-"))
	}
	if !stop() && err == nil {
		err = ctx.Err() // it is closed, or about to be
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return g, nil
}
