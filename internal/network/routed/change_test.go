//go:build net

package routed_test

import (
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/network/routed"
)

// With the last link all is as it was before the first, and what is others' was
// never touched.
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
		c := routed.Config{Dir: t.TempDir(), Uplink: "up0", Pool: netip.MustParsePrefix("45.0.0.64/27"), Log: slog.New(slog.DiscardHandler)}
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
