//go:build net

package routed_test

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/cpucloud/cpucloud/internal/network/routed"
)

// six returns the IPv6 address of a guest.
func six(d *routed.Driver, g *guest) netip.Addr { return d.Guest(g.link).Address6.Addr() }

func TestOpenPortsAnswerAndOthersDont(t *testing.T) {
	t.Parallel()
	for _, announce := range []routed.Announce{routed.Proxy, routed.Route} {
		t.Run(string(announce), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(c *routed.Config) { c.Announce = announce })
			if announce == routed.Route {
				w.router.run("ip route add "+pool4+" via "+host4, "ip route del 2a00:1:0:64::/64 dev lan0", "ip route add 2a00:1:0:64::/64 via "+host6)
			}
			d := w.driver(t)
			vm := w.boot(t, d, w.link(1, tcp(22), udp(53)))
			for _, a := range []netip.Addr{vm.addr(), six(d, vm)} {
				for _, port := range []uint16{22, 23} {
					vm.serve("tcp", netip.AddrPortFrom(a, port))
				}
				for _, port := range []uint16{53, 54} {
					vm.serve("udp", netip.AddrPortFrom(a, port))
				}
				if !w.client.reaches("tcp", netip.AddrPortFrom(a, 22)) || !w.client.reaches("udp", netip.AddrPortFrom(a, 53)) {
					t.Errorf("open ports of %v don't answer", a)
				}
				if !w.client.misses("tcp", netip.AddrPortFrom(a, 23)) || !w.client.misses("udp", netip.AddrPortFrom(a, 54)) {
					t.Errorf("closed ports of %v answer", a)
				}
			}
		})
	}
}

// A VM reaches the internet and nothing near its host.
func TestGuestReaches(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.host.wire("lan1", newSpace(t), "x")
	w.host.run("ip addr add 11.22.33.1/24 dev lan1") // another network of the host, which is not private by its number
	d := w.driver(t)
	vm := w.boot(t, d, w.link(1, tcp(22)))
	other := w.boot(t, d, w.link(2, tcp(22)))
	ours, others := six(d, vm), six(d, other)

	open := []netip.AddrPort{at(client4, 80), at(client6, 80), netip.AddrPortFrom(other.addr(), 22), netip.AddrPortFrom(others, 22)}
	closed := []netip.AddrPort{
		at(host4, 22), at(host6, 22), at("169.254.1.1", 22), at("11.22.33.1", 22), // the host
		at(neighbour4, 22), at(router4, 22), at(router6, 22), at(private4, 22), at(private6, 22), // its neighbours
		at(metadata4, 80),
		netip.AddrPortFrom(other.addr(), 23), netip.AddrPortFrom(others, 23), // another tenant's closed port
		at(client4, 25), at(client6, 25), // mail
	}
	for _, to := range open[:2] {
		w.client.serve("tcp", to)
	}
	for _, to := range open[2:] {
		other.serve("tcp", to)
	}
	for _, to := range closed {
		where := w.router
		switch {
		case to.Port() == 25:
			where = w.client
		case to.Addr() == other.addr() || to.Addr() == others:
			where = other.space
		case to.Addr() == netip.MustParseAddr(host4) || to.Addr() == netip.MustParseAddr(host6) ||
			to.Addr().String() == "169.254.1.1" || to.Addr().String() == "11.22.33.1":
			where = w.host
		}
		where.serve("tcp", to)
	}
	w.host.serve("tcp", at("0.0.0.0", 10250))
	closed = append(closed, at(host4, 10250))

	for _, to := range open {
		if !vm.reaches("tcp", to) {
			t.Errorf("the VM doesn't reach %v, want it to", to)
		}
	}
	for _, to := range closed {
		if !vm.misses("tcp", to) {
			t.Errorf("the VM %v reaches %v, want it closed", ours, to)
		}
	}
}

// What a provider opens is open, and no more.
func TestGuestReachesWhatIsAllowed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *routed.Config) {
		c.SMTP = true
		c.Allow = []netip.Prefix{netip.MustParsePrefix("10.9.9.0/24"), netip.MustParsePrefix("fd00::/64"), netip.MustParsePrefix(host4 + "/32")}
	})
	d := w.driver(t)
	vm := w.boot(t, d, w.link(1))
	for _, to := range []netip.AddrPort{at(private4, 22), at(private6, 22)} {
		w.router.serve("tcp", to)
		if !vm.reaches("tcp", to) {
			t.Errorf("the VM doesn't reach %v, which is allowed", to)
		}
	}
	w.client.serve("tcp", at(client4, 25))
	if !vm.reaches("tcp", at(client4, 25)) {
		t.Error("the VM can't send mail, which is allowed")
	}
	w.host.serve("tcp", at(host4, 22))
	w.router.serve("tcp", at(neighbour4, 22))
	for _, to := range []netip.AddrPort{at(host4, 22), at(neighbour4, 22)} {
		if !vm.misses("tcp", to) {
			t.Errorf("the VM reaches %v, want the host itself and its neighbours closed", to)
		}
	}
}

// A network that the host gets later is closed: at first since it is not behind
// the uplink, and from the next look on by its number.
func TestLaterNetworkIsClosed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	d := w.driver(t)
	vm := w.boot(t, d, w.link(1))
	later := newSpace(t)
	w.host.wire("lan2", later, "eth0")
	later.run("ip addr add 46.0.0.2/24 dev eth0", "ip route add default via 46.0.0.1")
	w.host.run("ip addr add 46.0.0.1/24 dev lan2")
	w.host.write("/proc/sys/net/ipv4/conf/lan2/forwarding", "1")
	later.serve("tcp", at("46.0.0.2", 22))
	if !vm.misses("tcp", at("46.0.0.2", 22)) {
		t.Error("the VM reaches a network that is not behind the uplink")
	}
	if links, err := d.List(t.Context()); err != nil || len(links) != 1 {
		t.Fatalf("List = %v, %v, want the link", links, err)
	}
	if !vm.misses("tcp", at("46.0.0.2", 22)) {
		t.Error("the VM reaches a network that the host has got since")
	}
	if got := w.host.output("nft list set inet cpucloud closed4"); !strings.Contains(got, "46.0.0.0/24") {
		t.Errorf("closed networks are %s, want 46.0.0.0/24 among them", got)
	}
}

// A host that was no router before is none because of its VMs.
func TestUplinkIsNoRouter(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	d := w.driver(t)
	w.boot(t, d, w.link(1, tcp(22)))
	inner := newSpace(t)
	w.host.wire("lan1", inner, "eth0")
	w.host.run("ip addr add 46.0.0.1/24 dev lan1", "ip addr add 2a00:46::1/64 dev lan1 nodad")
	inner.run("ip addr add 46.0.0.2/24 dev eth0", "ip route add default via 46.0.0.1",
		"ip addr add 2a00:46::2/64 dev eth0 nodad", "ip route add default via 2a00:46::1")
	w.host.write("/proc/sys/net/ipv4/conf/lan1/forwarding", "1")
	w.host.write("/proc/sys/net/ipv6/conf/lan1/forwarding", "1")
	if _, err := os.Stat("/proc/sys/net/ipv6/conf/lo/force_forwarding"); err == nil { // since Linux 6.17
		w.host.write("/proc/sys/net/ipv6/conf/lan1/force_forwarding", "1")
	}
	w.router.run("ip route add 46.0.0.0/24 via "+host4, "ip route add 2a00:46::/64 via "+host6)
	for _, to := range []netip.AddrPort{at("46.0.0.2", 22), at("2a00:46::2", 22)} {
		inner.serve("tcp", to)
		if !w.host.reaches("tcp", to) || !w.client.misses("tcp", to) {
			t.Errorf("the internet reaches %v, behind the host", to)
		}
	}
	if got := w.host.read("/proc/sys/net/ipv4/ip_forward"); got != "0" {
		t.Errorf("ip_forward = %s, want it left alone", got)
	}
}
