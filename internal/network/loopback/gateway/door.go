package gateway

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/network"
)

const (
	dnsPort  = 53
	dhcpPort = 67

	// retryAccept is the pause after an accept that failed, mostly because
	// the process has no more files.
	retryAccept = 50 * time.Millisecond
)

// open makes a port answer on the public address.
func (g *Gateway) open(ctx context.Context, p network.Port) (io.Closer, error) {
	at := netip.AddrPortFrom(g.public, p.Number)
	var config net.ListenConfig
	if p.Protocol == "udp" {
		conn, err := config.ListenPacket(ctx, "udp4", at.String())
		if err != nil {
			return nil, refused(err, p, at)
		}
		return g.datagrams.open(ctx, conn.(*net.UDPConn), p.Number), nil
	}
	ln, err := config.Listen(ctx, "tcp4", at.String())
	if err != nil {
		return nil, refused(err, p, at)
	}
	go g.accept(ctx, ln.(*net.TCPListener), p.Number)
	return ln, nil
}

// refused says in the operator's words why the host doesn't give a port.
func refused(err error, p network.Port, at netip.AddrPort) error {
	switch {
	case errors.Is(err, os.ErrPermission):
		return fault.Newf(fault.Unavailable,
			"port %d needs net.ipv4.ip_unprivileged_port_start ≤ %d: run sysctl -w net.ipv4.ip_unprivileged_port_start=0",
			p.Number, p.Number)
	case errors.Is(err, syscall.EADDRINUSE):
		return fault.Newf(fault.Unavailable,
			"%v/%s is used by another program; one that listens on 0.0.0.0:%d has that port of every address, so give it one of its own",
			at, p.Protocol, p.Number)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fault.Newf(fault.Unavailable, "%v is not an address of this host", at.Addr())
	default:
		return err
	}
}

// accept lets clients of an open TCP port in until the port is closed.
func (g *Gateway) accept(ctx context.Context, ln *net.TCPListener, port uint16) {
	for {
		conn, err := ln.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			pause(ctx, retryAccept)
			continue
		}
		if !g.tcpIn.take() {
			hostSide{conn}.abort()
			continue
		}
		go func() {
			defer g.tcpIn.give()
			g.letIn(ctx, conn, port)
		}()
	}
}

func (g *Gateway) letIn(ctx context.Context, conn *net.TCPConn, port uint16) {
	dialing, done := context.WithTimeout(ctx, connectTime)
	stay := whenGone(conn, func() { time.AfterFunc(goneFor, done) })
	guest, err := g.dialGuest(dialing, port)
	if reset := stay(); reset && err == nil {
		guest.abort()
		err = syscall.ECONNRESET
	}
	done()
	if err != nil {
		hostSide{conn}.abort()
		return
	}
	g.join(guest, hostSide{conn}, port)
}

// goneFor is how long a guest is still dialled for a client that has ended its
// side without a word: one that only wants to listen does so, too.
const goneFor = 250 * time.Millisecond

// whenGone calls fn once a client has left that has sent nothing, and returns
// what ends the watch and tells whether the client has reset the connection, of
// which nobody will read any more. Without it a guest that boots is greeted by everyone who
// has asked for it in the last seconds and is long gone, all at once, and turns
// away whoever comes then: an SSH server takes a few strangers at a time.
func whenGone(conn *net.TCPConn, fn func()) (stop func() (reset bool)) {
	watched := make(chan struct{})
	reset := false
	go func() {
		defer close(watched)
		raw, err := conn.SyscallConn()
		if err != nil {
			return
		}
		gone := false
		look := make([]byte, 1)
		err = raw.Read(func(fd uintptr) bool {
			n, _, err := syscall.Recvfrom(int(fd), look, syscall.MSG_PEEK) //nolint:gosec // a descriptor is small
			if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EINTR) {
				return false
			}
			reset = err != nil
			gone = n <= 0
			return true
		})
		if err == nil && gone {
			fn()
		}
	}()
	return func() bool {
		_ = conn.SetReadDeadline(time.Unix(1, 0)) // ends the watch
		<-watched
		_ = conn.SetReadDeadline(time.Time{})
		return reset
	}
}

// destination says where a connection of the VM to a:port goes, and makes d
// refuse what is not for VMs. At the gateway itself there are name servers only.
func (g *Gateway) destination(d *net.Dialer, a netip.Addr, port uint16) (netip.AddrPort, bool) {
	if a == Address {
		if port != dnsPort {
			return netip.AddrPort{}, false
		}
		return g.names.server()
	}
	d.Control = g.out.control
	return netip.AddrPortFrom(a, port), true
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
