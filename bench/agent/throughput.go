package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cpucloud/cpucloud/bench/internal/report"
)

// The ports of a guest at which it takes all that comes, and gives without end.
const (
	sinkPort   = 5001
	sourcePort = 5002
)

// serving is the command that has a guest do so until it ends, without a
// connection of SSH that waits for it.
var serving = fmt.Sprintf("for what in '%d >/dev/null' '%d </dev/zero'; do setsid sh -c \"while :; do nc -l -p $what; done\" </dev/null >/dev/null 2>&1 & done", sinkPort, sourcePort)

const warmStream = time.Second // before bytes are counted

// benchThroughput measures streams between a guest and a client beyond the
// server's uplink, in turns with a guest behind a tap without rules. Both guests
// run all the time.
func benchThroughput(ctx context.Context, s *site, o options) (err error) {
	if _, ok := s.ground.(*far); !ok {
		report.Progress("throughput: needs taps, -network routed; it is left out")
		return nil
	}
	report.Progress("throughput: two guests")
	g, err := s.Guest(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Delete(context.WithoutCancel(ctx), g.ID)) }()
	if err := s.open(ctx, g.ID, sinkPort, sourcePort); err != nil {
		return err
	}
	b, stop, err := s.bareGuest(ctx)
	if err != nil {
		return err
	}
	defer stop()
	guests := []netip.AddrPort{g.SSH, b}
	for _, one := range guests {
		if _, err := s.Key.Run(ctx, s.Image.Username, one, serving); err != nil {
			return fmt.Errorf("have a guest send and receive: %w", err)
		}
	}
	for _, way := range []struct {
		name string
		port uint16
		move func(context.Context, netip.AddrPort, time.Duration) (float64, error)
	}{{"in", sinkPort, send}, {"out", sourcePort, receive}} {
		var value, floor []float64
		for i := range o.streams {
			rates := [2]float64{}
			for k := range 2 {
				one := (i + k) % 2 // they take turns at being first
				at := netip.AddrPortFrom(guests[one].Addr(), way.port)
				if rates[one], err = way.move(ctx, at, o.transfer); err != nil {
					return fmt.Errorf("%s: %w", at, err)
				}
			}
			value, floor = append(value, rates[0]), append(floor, rates[1])
			report.Progress("throughput.%s: round %d of %d: %.0f Mbit/s, without rules %.0f, ratio %.2f", way.name, i+1, o.streams, rates[0], rates[1], rates[0]/rates[1])
		}
		err := report.Print(
			report.Figure{Name: "throughput." + way.name, Value: report.Median(value), Unit: "Mbit/s", Floor: report.Median(floor), Bar: ">=0.9"},
			report.Figure{Name: "throughput." + way.name + ".rounds", Value: report.Median(report.Ratios(value, floor)), Unit: "ratio"},
		)
		if err != nil {
			return err
		}
	}
	return nil
}

// receive reads from an address and returns the rate in Mbit/s.
func receive(ctx context.Context, at netip.AddrPort, window time.Duration) (float64, error) {
	return stream(ctx, at, window, func(conn net.Conn, b []byte) (int, error) { return conn.Read(b) },
		func(done int64, _ *net.TCPConn) (int64, error) { return done, nil })
}

// send writes to an address and returns the rate in Mbit/s of what was taken.
func send(ctx context.Context, at netip.AddrPort, window time.Duration) (float64, error) {
	return stream(ctx, at, window, func(conn net.Conn, b []byte) (int, error) { return conn.Write(b) },
		func(_ int64, conn *net.TCPConn) (int64, error) { return acked(conn) })
}

// stream moves bytes for as long as window says, after some that are not counted.
// moved returns how many have arrived by now.
func stream(ctx context.Context, at netip.AddrPort, window time.Duration, move func(net.Conn, []byte) (int, error), moved func(int64, *net.TCPConn) (int64, error)) (float64, error) {
	raw, err := dial(ctx, at)
	if err != nil {
		return 0, err
	}
	conn := raw.(*net.TCPConn)
	defer conn.Close() //nolint:errcheck // what it carried is of no use
	var done, before int64
	var begin time.Time
	b := make([]byte, 128<<10)
	for start := report.Now(); ctx.Err() == nil; {
		if err := conn.SetDeadline(report.Now().Add(openedIn)); err != nil {
			return 0, err
		}
		n, err := move(conn, b)
		if err != nil {
			return 0, err
		}
		done += int64(n)
		now := report.Now()
		if begin.IsZero() && now.Sub(start) < warmStream || !begin.IsZero() && now.Sub(begin) < window {
			continue
		}
		sum, err := moved(done, conn)
		if err != nil {
			return 0, err
		}
		if !begin.IsZero() {
			return float64(sum-before) * 8 / 1e6 / now.Sub(begin).Seconds(), nil
		}
		begin, before = now, sum
	}
	return 0, ctx.Err()
}

// dial connects to a guest that may just be about to listen again.
func dial(ctx context.Context, at netip.AddrPort) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, openedIn)
	defer cancel()
	for {
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", at.String())
		if err == nil {
			return conn, nil
		}
		if report.Pause(ctx, lookEvery) != nil {
			return nil, err
		}
	}
}

// acked returns how many bytes of a connection the other end has taken.
func acked(conn *net.TCPConn) (n int64, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		var info *unix.TCPInfo
		if info, failed = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); failed == nil {
			n = int64(info.Bytes_acked) //nolint:gosec // less than 2⁶³
		}
	})
	return n, errors.Join(err, failed)
}
