//go:build net

package routed_test

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/network"
	"github.com/cpucloud/cpucloud/internal/network/routed"
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

// Nothing may pass before the rules are in, and with them removed nothing does.
func TestDestroyLeavesNothing(t *testing.T) {
	t.Parallel()
	for _, announce := range []routed.Announce{routed.Proxy, routed.Route} {
		t.Run(string(announce), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(c *routed.Config) { c.Announce, c.Rate = announce, 1e9 })
			// What is others' stays as it is, whatever it is called like.
			w.host.run("nft add table inet others", "nft add chain inet others c { type filter hook forward priority 0 ; }", "nft add table ip cpucloud",
				"ip tuntap add mode tap name cpuc-others", "ip route add 46.0.0.0/8 via "+router4, "ip neigh add proxy 45.0.0.200 dev up0")
			before := w.snapshot()
			d := w.driver(t)
			for n := range 20 {
				l := w.link(1+n%3, tcp(22), udp(uint16(100+n)))
				ensure(t, d, l)
				if n%3 == 2 {
					for i := range 3 {
						if err := d.Destroy(t.Context(), w.link(1+i).ID); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
			for i := range 3 {
				if err := d.Destroy(t.Context(), w.link(1+i).ID); err != nil {
					t.Fatal(err)
				}
			}
			if after := w.snapshot(); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
			left, err := filepath.Glob(filepath.Join(w.config.Dir, "*", "*"))
			if err != nil || len(left) > 0 {
				t.Errorf("the folder has %v, %v, want nothing", left, err)
			}
		})
	}
}

// snapshot is all of the host's network that a driver may change.
func (w *world) snapshot() string {
	var b strings.Builder
	for _, c := range []string{
		"ip -br link", "ip -br addr", "ip route show table all", "ip -6 route show table all", "ip neigh show proxy", "ip -6 neigh show proxy", "nft list ruleset", "tc qdisc show",
		"sysctl -a --pattern net.ipv4.conf.(all|up0)", "sysctl -a --pattern net.ipv6.conf.(all|up0)", "sysctl -a --pattern net.*neigh.up0",
	} {
		b.WriteString(w.host.output(c))
	}
	return b.String()
}

// The next one to have an address inherits no connection of the one before.
func TestAddressIsForgotten(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	d := w.driver(t)
	first := w.boot(t, d, w.link(1, udp(53), tcp(80)))
	var held []net.Conn
	for _, a := range []netip.Addr{first.addr(), six(d, first)} {
		first.serve("udp", netip.AddrPortFrom(a, 53))
		held = append(held, w.client.hold("udp", netip.AddrPortFrom(a, 53)))
	}
	_ = first.plug.Close()
	if err := d.Destroy(t.Context(), first.link.ID); err != nil {
		t.Fatal(err)
	}
	if w.tracks(first.addr()) {
		t.Error("the host remembers connections of an address that nobody has")
	}
	next := w.link(2)
	next.Address = first.addr()
	second := w.boot(t, d, next)
	for _, c := range held {
		second.serve("udp", netip.MustParseAddrPort(c.RemoteAddr().String()))
		if says(c, "next", short) {
			t.Errorf("%v: a connection of the VM before goes on to the next, whose ports are closed", c.RemoteAddr())
		}
	}
}

// What a host has lost is not listed, and comes back the same.
func TestEverythingIsMadeAgain(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(w *world, tap string){
		"a reboot":              func(w *world, tap string) { w.host.run("ip link del "+tap, "nft flush ruleset") },
		"the tap":               func(w *world, tap string) { w.host.run("ip link del " + tap) },
		"the rules":             func(w *world, _ string) { w.host.run("nft flush ruleset") },
		"one element":           func(w *world, _ string) { w.host.run("nft flush set inet cpucloud open4") },
		"the route":             func(w *world, tap string) { w.host.run("ip route del " + w.address(1).String() + " dev " + tap) },
		"the proxy":             func(w *world, _ string) { w.host.run("ip neigh del proxy " + w.address(1).String() + " dev up0") },
		"the tap's chain":       func(w *world, tap string) { w.host.run("nft delete chain netdev cpucloud " + tap) },
		"the tap being up":      func(w *world, tap string) { w.host.run("ip link set " + tap + " down") },
		"the tables half":       func(w *world, _ string) { w.host.run("nft delete table netdev cpucloud") },
		"a rule of the agent's": func(w *world, _ string) { w.host.run("nft delete table inet cpucloud") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			d := w.driver(t)
			l := w.link(1, tcp(22)).Sorted()
			ensure(t, d, l)
			tap := strings.Fields(w.host.output("ip -br link show type tun"))[0]
			before := w.snapshot()
			lose(w, tap)
			links, err := d.List(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if len(links) > 0 && !strings.HasPrefix(name, "the tables") && !strings.HasPrefix(name, "a rule") && name != "the rules" {
				t.Errorf("List = %v, want none without %s", links, name)
			}
			ensure(t, d, l)
			again := w.plugIn(t, d, l)
			again.serve("tcp", netip.AddrPortFrom(l.Address, 22))
			if !w.client.reaches("tcp", netip.AddrPortFrom(l.Address, 22)) {
				t.Error("the VM doesn't answer after it was made again")
			}
			_ = again.plug.Close()
			if gone, come := differ(before, w.snapshot()); len(gone)+len(come) > 0 {
				t.Errorf("not as before: %q are gone, %q have come", gone, come)
			}
		})
	}
}

// An operator finds the VM in what the tools show.
func TestOperatorsFindTheVM(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	d := w.driver(t)
	l := w.link(7, tcp(22))
	ensure(t, d, l)
	for _, c := range []string{"nft list table inet cpucloud", "nft list table netdev cpucloud", "ip link show type tun"} {
		if out := w.host.output(c); !strings.Contains(out, l.ID) {
			t.Errorf("%s doesn't show %s: %s", c, l.ID, out)
		}
	}
	if out := w.host.output("ip route show proto 86"); !strings.Contains(out, l.Address.String()) {
		t.Errorf("the route has not the driver's protocol: %s", out)
	}
}

// Only root takes the VM's place at its tap.
func TestTapIsOwned(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	d := w.driver(t)
	ensure(t, d, w.link(1))
	if out := w.host.output("ip -d link show type tun"); !strings.Contains(out, "persist on user root") && !strings.Contains(out, "user 0") {
		t.Errorf("the tap is %s, want it persistent and owned by root", out)
	}
	p, err := d.Plug(t.Context(), w.link(1).ID)
	if err != nil {
		t.Fatal(err)
	}
	defer p.File.Close() //nolint:errcheck // the test ends
	if _, err := d.Plug(t.Context(), w.link(1).ID); !fault.Is(err, fault.Unavailable) {
		t.Errorf("Plug of a tap in use = %v, want %v", err, fault.Unavailable)
	}
}

func TestConfigThatCantWork(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*routed.Config){
		"no uplink":            func(c *routed.Config) { c.Uplink = "" },
		"a loopback pool":      func(c *routed.Config) { c.Pool = netip.MustParsePrefix("127.77.0.0/16") },
		"a pool of one":        func(c *routed.Config) { c.Pool = netip.MustParsePrefix("45.0.0.64/32") },
		"an IPv6 pool as IPv4": func(c *routed.Config) { c.Pool = netip.MustParsePrefix("2a00::/64") },
		"a small IPv6 pool":    func(c *routed.Config) { c.Pool6 = netip.MustParsePrefix("2a00::/124") },
		"an unknown announce":  func(c *routed.Config) { c.Announce = "bgp" },
		"a tiny bandwidth":     func(c *routed.Config) { c.Rate = 1000 },
	} {
		c := routed.Config{Dir: t.TempDir(), Uplink: "up0", Pool: netip.MustParsePrefix("45.0.0.64/27"), Log: newWorldLog()}
		change(&c)
		if _, err := routed.New(c); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: New = %v, want %v", name, err, fault.Invalid)
		}
	}
	w := newWorld(t, nil)
	d := w.driver(t)
	for _, a := range []string{"45.0.0.64", "45.0.0.95", "45.0.0.2", "8.8.8.8"} {
		l := w.link(1)
		l.Address = netip.MustParseAddr(a)
		if err := d.Ensure(t.Context(), l); !fault.Is(err, fault.Invalid) {
			t.Errorf("Ensure(%s) = %v, want %v", a, err, fault.Invalid)
		}
	}
	w.host.run("ip addr add " + w.address(3).String() + "/32 dev lo")
	if err := d.Ensure(t.Context(), w.link(3)); !fault.Is(err, fault.Unavailable) {
		t.Errorf("Ensure with the host's own address = %v, want %v", err, fault.Unavailable)
	}
	if _, err := os.Stat(filepath.Join(w.config.Dir, "settings.json")); err == nil {
		t.Error("a refused link has changed the host")
	}
}
