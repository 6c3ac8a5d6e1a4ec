//go:build net

package routed_test

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/cpucloud/cpucloud/internal/network"
	"github.com/cpucloud/cpucloud/internal/network/routed"
)

// space is a network of its own, like that of another machine.
type space struct {
	testing.TB
	file *os.File
}

// newSpace makes a network with nothing but loopback; it ends with the test.
func newSpace(tb testing.TB) space {
	tb.Helper()
	var file *os.File
	var err error
	alone(func() {
		if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			file, err = os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
		}
	})
	if err != nil {
		tb.Fatalf("make a network namespace (these tests have to run as root): %v", err)
	}
	tb.Cleanup(func() { _ = file.Close() })
	s := space{tb, file}
	s.run("ip link set lo up")
	return s
}

// alone runs fn on a thread that nobody else gets.
func alone(fn func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked
		fn()
	}()
	<-done
}

// in runs fn inside. Sockets that it makes stay inside; goroutines that it
// starts are not.
func (s space) in(fn func()) {
	s.Helper()
	alone(func() {
		if err := unix.Setns(int(s.file.Fd()), unix.CLONE_NEWNET); err != nil {
			s.Errorf("enter namespace: %v", err)
			return
		}
		fn()
	})
}

// output runs a command inside, its words parted by spaces.
func (s space) output(command string) string {
	s.Helper()
	words := strings.Fields(command)
	var out []byte
	var err error
	s.in(func() { out, err = exec.Command(words[0], words[1:]...).CombinedOutput() })
	if err != nil {
		s.Fatalf("%s: %v: %s", command, err, out)
	}
	return string(out)
}

func (s space) run(commands ...string) {
	s.Helper()
	for _, c := range commands {
		s.output(c)
	}
}

// wire joins two networks by a cable.
func (s space) wire(name string, other space, otherName string) {
	s.Helper()
	var out []byte
	var err error
	s.in(func() {
		cmd := exec.Command("ip", "link", "add", name, "type", "veth", "peer", "name", otherName, "netns", fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), other.file.Fd()))
		out, err = cmd.CombinedOutput()
	})
	if err != nil {
		s.Fatalf("join namespaces: %v: %s", err, out)
	}
	// Nothing waits for duplicate address detection in a test.
	s.write("/proc/sys/net/ipv6/conf/"+name+"/accept_dad", "0")
	other.write("/proc/sys/net/ipv6/conf/"+otherName+"/accept_dad", "0")
	s.run("ip link set " + name + " up")
	other.run("ip link set " + otherName + " up")
}

func (s space) write(path, value string) {
	s.Helper()
	var err error
	s.in(func() { err = os.WriteFile(path, []byte(value), 0) })
	if err != nil {
		s.Fatal(err)
	}
}

func (s space) read(path string) string {
	s.Helper()
	var text []byte
	var err error
	s.in(func() { text, err = os.ReadFile(path) })
	if err != nil {
		s.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// short is how long a test waits for what must not come.
const short = 250 * time.Millisecond

// dial opens a connection from inside.
func (s space) dial(protocol string, to netip.AddrPort, patience time.Duration) (conn net.Conn, err error) {
	s.in(func() {
		d := net.Dialer{Timeout: patience}
		conn, err = d.DialContext(s.Context(), protocol, to.String())
	})
	return conn, err
}

// serve answers every connection and datagram inside with what it is sent.
func (s space) serve(protocol string, at netip.AddrPort) {
	s.Helper()
	if protocol == "udp" {
		conn := s.packets(at)
		go echoPackets(conn)
		return
	}
	var ln net.Listener
	var err error
	s.in(func() { ln, err = (&net.ListenConfig{}).Listen(s.Context(), protocol, at.String()) })
	if err != nil {
		s.Fatalf("listen: %v", err)
	}
	s.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close() //nolint:errcheck // the test looks at its own end
				b := make([]byte, 1500)
				for {
					n, err := conn.Read(b)
					if err != nil {
						return
					}
					if _, err := conn.Write(b[:n]); err != nil {
						return
					}
				}
			}()
		}
	}()
}

func (s space) packets(at netip.AddrPort) net.PacketConn {
	s.Helper()
	var conn net.PacketConn
	var err error
	s.in(func() { conn, err = (&net.ListenConfig{}).ListenPacket(s.Context(), "udp", at.String()) })
	if err != nil {
		s.Fatalf("listen: %v", err)
	}
	s.Cleanup(func() { _ = conn.Close() })
	return conn
}

func echoPackets(conn net.PacketConn) {
	b := make([]byte, 1500)
	for {
		n, from, err := conn.ReadFrom(b)
		if err != nil {
			return
		}
		_, _ = conn.WriteTo(b[:n], from)
	}
}

// reaches reports whether something inside is answered at an address.
func (s space) reaches(protocol string, to netip.AddrPort) bool {
	s.Helper()
	patience := 5 * time.Second
	conn, err := s.dial(protocol, to, patience)
	if err != nil {
		return false
	}
	defer conn.Close() //nolint:errcheck // it was only asked
	return says(conn, "hello", patience)
}

// misses reports that nothing answers within a short time.
func (s space) misses(protocol string, to netip.AddrPort) bool {
	s.Helper()
	conn, err := s.dial(protocol, to, short)
	if err != nil {
		return true
	}
	defer conn.Close() //nolint:errcheck // it was only asked
	return !says(conn, "hello", short)
}

// says sends a word and reports whether it comes back. A datagram is sent again
// now and then.
func says(conn net.Conn, word string, patience time.Duration) bool {
	end := time.Now().Add(patience)
	b := make([]byte, 1500)
	for time.Now().Before(end) {
		if _, err := conn.Write([]byte(word)); err != nil {
			return false
		}
		step := end
		if conn.LocalAddr().Network() == "udp" {
			step = time.Now().Add(min(patience/4, 100*time.Millisecond))
		}
		_ = conn.SetReadDeadline(step)
		if n, err := conn.Read(b); err == nil && string(b[:n]) == word {
			return true
		}
		if conn.LocalAddr().Network() != "udp" {
			return false
		}
	}
	return false
}

func at(a string, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(a), port)
}

func tcp(n uint16) network.Port { return network.Port{Number: n, Protocol: "tcp"} }
func udp(n uint16) network.Port { return network.Port{Number: n, Protocol: "udp"} }

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
		Namespace: w.host.file, Log: slog.New(slog.DiscardHandler),
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

func newWorldLog() *slog.Logger { return slog.New(slog.DiscardHandler) }

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

var changing = regexp.MustCompile(`LOWER_UP|NO-CARRIER,|UNKNOWN|linkdown|\s(UP|DOWN)\s|index \d+|# handle \d+`)

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
