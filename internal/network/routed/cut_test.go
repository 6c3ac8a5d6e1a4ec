//go:build net

package routed_test

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/network"
)

func (s space) hold(protocol string, to netip.AddrPort) net.Conn {
	s.Helper()
	conn, err := s.dial(protocol, to, 5*time.Second)
	if err != nil {
		s.Fatalf("dial %v: %v", to, err)
	}
	s.Cleanup(func() { _ = conn.Close() })
	if !says(conn, "before", 5*time.Second) {
		s.Fatalf("%s %v doesn't answer", protocol, to)
	}
	return conn
}

// A change of ports cuts no connection; asked to, the driver cuts those through
// closed ports, and neither side brings them back.
func TestCut(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	d := w.driver(t)
	l := w.link(1, tcp(22), tcp(80), udp(53), udp(54))
	vm := w.boot(t, d, l)
	addresses := []netip.Addr{vm.addr(), six(d, vm)}
	type held struct {
		net.Conn
		to    netip.AddrPort
		stays bool
	}
	var all []held
	for _, a := range addresses {
		for _, p := range l.Ports {
			to := netip.AddrPortFrom(a, p.Number)
			vm.serve(p.Protocol, to)
			all = append(all, held{w.client.hold(p.Protocol, to), to, p.Number == 22 || p.Number == 53})
		}
	}
	l.Ports = []network.Port{tcp(22), udp(53)}
	ensure(t, d, l)
	for _, c := range all {
		if !says(c, "after", 5*time.Second) {
			t.Errorf("%s %v was cut by a change of ports", c.LocalAddr().Network(), c.to)
		}
	}
	if err := d.Cut(t.Context(), l.ID); err != nil {
		t.Fatalf("Cut: %v", err)
	}
	for _, c := range all {
		patience := short
		if c.stays {
			patience = 5 * time.Second
		}
		if got := says(c, "cut", patience); got != c.stays {
			t.Errorf("%s %v goes on: %v, want %v", c.LocalAddr().Network(), c.to, got, c.stays)
		}
	}

	// Opened again, the ports answer; a client of UDP is heard at its old port.
	l.Ports = []network.Port{tcp(22), tcp(80), udp(53), udp(54)}
	ensure(t, d, l)
	for _, c := range all {
		if c.stays {
			continue
		}
		if !w.client.reaches(c.LocalAddr().Network(), c.to) {
			t.Errorf("%v doesn't answer after it was opened again", c.to)
		}
		if c.LocalAddr().Network() == "udp" {
			if !says(c, "again", 5*time.Second) {
				t.Errorf("udp %v isn't heard from the port from which it was cut", c.to)
			}
			continue
		}
		_, _ = c.Write([]byte("again"))
		_ = c.SetReadDeadline(time.Now().Add(5 * short))
		if n, err := c.Read(make([]byte, 100)); err == nil {
			t.Errorf("tcp %v: what was cut goes on, with %d bytes", c.to, n)
		}
	}
}

// Neither side is heard over a connection that was cut.
func TestCutIsBothWays(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	d := w.driver(t)
	l := w.link(1, udp(53))
	vm := w.boot(t, d, l)
	for _, to := range []netip.AddrPort{netip.AddrPortFrom(vm.addr(), 53), netip.AddrPortFrom(six(d, vm), 53)} {
		ensure(t, d, l)
		inside := vm.packets(to)
		outside, err := w.client.dial("udp", to, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer outside.Close() //nolint:errcheck // the test ends
		send := func(text string) {
			_, _ = outside.Write([]byte("to the VM " + text))
			_, _ = inside.WriteTo([]byte("from the VM "+text), outside.LocalAddr())
		}
		b := make([]byte, 100)
		send("before")
		_ = inside.SetReadDeadline(time.Now().Add(5 * time.Second))
		_ = outside.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, _, err := inside.ReadFrom(b); err != nil {
			t.Fatalf("before, to the VM: %v", err)
		}
		if _, err := outside.Read(b); err != nil {
			t.Fatalf("before, from the VM: %v", err)
		}
		closed := l
		closed.Ports = nil
		ensure(t, d, closed)
		if err := d.Cut(t.Context(), l.ID); err != nil {
			t.Fatal(err)
		}
		send("after")
		_ = inside.SetReadDeadline(time.Now().Add(short))
		if n, _, err := inside.ReadFrom(b); err == nil {
			t.Errorf("%v hears %q", to, b[:n])
		}
		_ = outside.SetReadDeadline(time.Now().Add(short))
		if n, err := outside.Read(b); err == nil {
			t.Errorf("the client of %v hears %q", to, b[:n])
		}
	}
}

// A VM's own packets don't bring back a connection that the host has forgotten.
func TestForgottenConnectionsStayClosed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	d := w.driver(t)
	l := w.link(1, tcp(80))
	vm := w.boot(t, d, l)
	accepted := make(chan net.Conn, 1)
	vm.in(func() {
		ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", netip.AddrPortFrom(vm.addr(), 80).String())
		if err != nil {
			t.Error(err)
			return
		}
		go func() {
			conn, _ := ln.Accept()
			accepted <- conn
			_ = ln.Close()
		}()
	})
	conn, err := w.client.dial("tcp", netip.AddrPortFrom(vm.addr(), 80), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // the test ends
	inside := <-accepted
	defer inside.Close() //nolint:errcheck // the test ends
	if _, err := inside.Write([]byte("a")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 10)
	if _, err := conn.Read(b); err != nil {
		t.Fatalf("before: %v", err)
	}
	l.Ports = nil
	ensure(t, d, l)
	w.forget(vm.addr())
	if _, err := inside.Write([]byte("b")); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(2 * short))
	if n, err := conn.Read(b); err == nil {
		t.Errorf("the client hears %q over a connection that was forgotten", b[:n])
	}
}
