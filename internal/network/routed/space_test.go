//go:build net

package routed_test

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/network"
	"github.com/cpucloud/cpucloud/internal/network/netns"
)

// space is a network of its own, like that of another machine.
type space struct {
	testing.TB
	netns.Namespace
}

// newSpace makes a network with nothing but loopback; it ends with the test.
func newSpace(tb testing.TB) space {
	tb.Helper()
	n, err := netns.New()
	if err != nil {
		tb.Fatalf("these tests have to run as root: %v", err)
	}
	tb.Cleanup(func() { _ = n.Close() })
	s := space{tb, n}
	s.run("ip link set lo up")
	return s
}

// in runs fn inside, see [netns.Namespace.Do].
func (s space) in(fn func()) {
	s.Helper()
	if err := s.Do(func() error { fn(); return nil }); err != nil {
		s.Error(err)
	}
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
		cmd := exec.Command("ip", "link", "add", name, "type", "veth", "peer", "name", otherName, "netns", other.Path())
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
