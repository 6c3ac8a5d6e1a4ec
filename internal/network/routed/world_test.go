//go:build net

package routed_test

import (
	"fmt"
	"log/slog"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/cpucloud/cpucloud/internal/network"
	"github.com/cpucloud/cpucloud/internal/network/routed"
)

// The addresses of the test's world. Documentation's own are closed to VMs, so
// that the internet is elsewhere.
const (
	host4, host6       = "45.0.0.2", "2a00:1::2"
	router4, router6   = "45.0.0.1", "2a00:1::1"
	neighbour4         = "45.0.0.9" // in the provider's own network
	client4, client6   = "80.0.0.80", "2a00:2::80"
	private4, private6 = "10.9.9.9", "fd00::9"
	metadata4          = "169.254.169.254"
	pool4, pool6       = "45.0.0.64/27", "2a00:1:0:64::/64"
)

// world is a server of a provider with its uplink, a router, and a client
// somewhere in the internet. The provider's other machines are at the router.
type world struct {
	host, router, client space
	config               routed.Config
}

// newWorld makes a world whose host has a driver of this configuration.
func newWorld(tb testing.TB, change func(*routed.Config)) *world {
	tb.Helper()
	w := &world{host: newSpace(tb), router: newSpace(tb), client: newSpace(tb)}
	w.host.wire("up0", w.router, "lan0")
	w.router.wire("wan0", w.client, "eth0")
	w.host.run("ip addr add "+host4+"/24 dev up0", "ip addr add "+host6+"/64 dev up0 nodad",
		"ip route add default via "+router4, "ip route add default via "+router6)
	w.router.run("ip addr add "+router4+"/24 dev lan0", "ip addr add "+router6+"/64 dev lan0 nodad", "ip addr add "+neighbour4+"/24 dev lan0",
		"ip addr add 80.0.0.1/24 dev wan0", "ip addr add 2a00:2::1/64 dev wan0 nodad",
		"ip addr add "+private4+"/32 dev lo", "ip addr add "+private6+"/128 dev lo", "ip addr add "+metadata4+"/32 dev lo")
	w.router.write("/proc/sys/net/ipv4/ip_forward", "1")
	w.router.write("/proc/sys/net/ipv6/conf/all/forwarding", "1")
	w.router.run("ip route add 2a00:1:0:64::/64 dev lan0") // what is announced is found by asking
	w.client.run("ip addr add "+client4+"/24 dev eth0", "ip addr add "+client6+"/64 dev eth0 nodad",
		"ip route add default via 80.0.0.1", "ip route add default via 2a00:2::1")
	w.config = routed.Config{
		Dir: tb.TempDir(), Uplink: "up0", Pool: netip.MustParsePrefix(pool4), Pool6: netip.MustParsePrefix(pool6),
		Namespace: w.host.Namespace, Log: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&w.config)
	}
	return w
}

func (w *world) driver(tb testing.TB) *routed.Driver {
	tb.Helper()
	d, err := routed.New(w.config)
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

func (w *world) address(n int) netip.Addr {
	b := w.config.Pool.Masked().Addr().As4()
	b[3] += byte(n)
	return netip.AddrFrom4(b)
}

func (w *world) link(n int, ports ...network.Port) network.Link {
	return network.Link{ID: fmt.Sprintf("0x%040d", n), Address: w.address(n), MAC: fmt.Sprintf("52:54:00:00:00:%02x", n), Ports: ports}
}

func ensure(tb testing.TB, d *routed.Driver, l network.Link) {
	tb.Helper()
	if err := d.Ensure(tb.Context(), l); err != nil {
		tb.Fatalf("Ensure(%+v): %v", l, err)
	}
}

// tracks reports whether the host remembers a connection of an address.
func (w *world) tracks(a netip.Addr) bool {
	return strings.Contains(w.host.read("/proc/thread-self/net/nf_conntrack"), "="+a.String()+" ")
}

// forget has the host forget the connections that came to an address, as
// conntrack -D does.
func (w *world) forget(a netip.Addr) {
	w.host.Helper()
	w.host.in(func() {
		_, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, to(a))
		if err != nil {
			w.host.Error(err)
		}
	})
}

type to netip.Addr

func (a to) MatchConntrackFlow(f *netlink.ConntrackFlow) bool {
	return f.Forward.DstIP.Equal(netip.Addr(a).AsSlice())
}

var changing = regexp.MustCompile(`,LOWER_UP|NO-CARRIER,|UNKNOWN|linkdown|\s(UP|DOWN)\s|index \d+|# handle \d+`)

// lines returns the lines of a snapshot in order, without what differs from one
// making to the next, and whether a cable is in.
func lines(snapshot string) []string {
	var kept []string
	for line := range strings.Lines(changing.ReplaceAllString(snapshot, "")) {
		if !strings.Contains(line, "counter packets") && !strings.Contains(line, "fe80::") && !strings.Contains(line, "multicast") && !strings.Contains(line, "qdisc") {
			kept = append(kept, strings.Join(strings.Fields(line), " "))
		}
	}
	slices.Sort(kept)
	return kept
}

// differ returns the lines that only one of two snapshots has.
func differ(before, after string) (gone, come []string) {
	b, a := lines(before), lines(after)
	minus := func(x, y []string) []string {
		return slices.DeleteFunc(slices.Clone(x), func(s string) bool { return slices.Contains(y, s) })
	}
	return minus(b, a), minus(a, b)
}
