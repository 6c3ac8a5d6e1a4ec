package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"

	"github.com/cpucloud/cpucloud/internal/network"
	"github.com/cpucloud/cpucloud/internal/network/loopback/gateway"
	"github.com/cpucloud/cpucloud/internal/network/loopback/gateway/gatewaytest"
)

const mac = "52:54:00:00:02:01"

var addresses atomic.Uint32

// address returns one of 127.0.0.0/8 that no other test uses.
func address() netip.Addr {
	pid, n := os.Getpid(), addresses.Add(1)
	return netip.AddrFrom4([4]byte{127, byte(200 + pid%50), byte(pid / 50), byte(n)})
}

func tcp(n uint16) network.Port { return network.Port{Number: n, Protocol: "tcp"} }
func udp(n uint16) network.Port { return network.Port{Number: n, Protocol: "udp"} }

// newGateway returns a gateway whose host asks the name servers.
func newGateway(t *testing.T, c gateway.Config) *gateway.Gateway {
	t.Helper()
	hardware, err := net.ParseMAC(mac)
	if err != nil {
		t.Fatal(err)
	}
	c.MAC, c.Now = hardware, time.Now
	if !c.Public.IsValid() {
		c.Public = address()
	}
	if c.Names == nil {
		c.Names = gateway.NewNames("/dev/null", 53)
	}
	g, err := gateway.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return g
}

// plug returns the VM's end of a new cable.
func plug(t *testing.T, g *gateway.Gateway) *os.File {
	t.Helper()
	ends, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	g.Plug(t.Context(), gatewaytest.Conn(t, os.NewFile(uintptr(ends[0]), "cable")))
	return os.NewFile(uintptr(ends[1]), "plug")
}

func boot(t *testing.T, g *gateway.Gateway) *gatewaytest.VM {
	t.Helper()
	return bootOn(t, plug(t, g))
}

func bootOn(t *testing.T, cable *os.File, first ...func(*gatewaytest.VM)) *gatewaytest.VM {
	t.Helper()
	return gatewaytest.Boot(t, cable, mac, netip.PrefixFrom(gateway.Guest, gateway.Subnet.Bits()), gateway.Address, first...)
}

func setPorts(t *testing.T, g *gateway.Gateway, ports ...network.Port) {
	t.Helper()
	if err := g.SetPorts(t.Context(), ports); err != nil {
		t.Fatal(err)
	}
}

func dial(t *testing.T, protocol string, to netip.Addr, port uint16) net.Conn {
	t.Helper()
	conn, err := net.Dial(protocol, netip.AddrPortFrom(to, port).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn
}

// readOne connects and reads a byte. A reset may come before either is done.
func readOne(to netip.Addr, port uint16) error {
	conn, err := net.Dial("tcp", netip.AddrPortFrom(to, port).String())
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // a test's connection
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	_, err = conn.Read(make([]byte, 1))
	return err
}

// echo serves TCP and UDP on one port of this host.
func echo(t *testing.T, a netip.Addr) netip.AddrPort {
	t.Helper()
	ln, err := net.Listen("tcp", netip.AddrPortFrom(a, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(conn, conn)
				_ = conn.Close()
			}()
		}
	}()
	pc, err := net.ListenPacket("udp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pc.Close() })
	go func() {
		b := make([]byte, 64<<10)
		for {
			n, from, err := pc.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = pc.WriteTo(b[:n], from)
		}
	}()
	return netip.MustParseAddrPort(ln.Addr().String())
}

// ownAddresses returns the host's IPv4 addresses besides loopback, if it has any.
func ownAddresses(t *testing.T) (own []netip.Addr) {
	t.Helper()
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range all {
		a, _ := netip.AddrFromSlice(o.(*net.IPNet).IP)
		if a = a.Unmap(); a.Is4() && !a.IsLoopback() {
			own = append(own, a)
		}
	}
	return own
}

func TestVMReachesNothingNearTheHost(t *testing.T) {
	t.Parallel()
	open := address()
	other := newGateway(t, gateway.Config{Public: open})
	boot(t, other).Echo(8022, "")
	setPorts(t, other, tcp(8022), udp(8022))

	local := echo(t, netip.MustParseAddr("127.0.0.1"))
	targets := map[string]netip.AddrPort{
		"host's loopback":          local,
		"host by the gateway":      netip.AddrPortFrom(gateway.Address, local.Port()),
		"another VM's open port":   netip.AddrPortFrom(open, 8022),
		"cloud metadata":           netip.MustParseAddrPort("169.254.169.254:80"),
		"private network":          netip.MustParseAddrPort("10.0.0.1:80"),
		"provider's NAT":           netip.MustParseAddrPort("100.64.0.1:80"),
		"any address":              netip.MustParseAddrPort("0.0.0.0:80"),
		"reserved":                 netip.MustParseAddrPort("240.0.0.1:80"),
		"gateway without a server": netip.AddrPortFrom(gateway.Address, 53),
		"neighbour in the subnet":  netip.MustParseAddrPort("192.168.127.3:80"),
	}
	for _, a := range ownAddresses(t) {
		targets["host's "+a.String()] = echo(t, a)
	}
	vm := boot(t, newGateway(t, gateway.Config{}))
	for name, to := range targets {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			if conn, err := vm.DialTCP(ctx, to); err == nil {
				_ = conn.Close()
				t.Errorf("TCP to %v connects, want it refused", to)
			}
			conn, err := vm.DialUDP(to)
			if err != nil {
				return // the VM's own stack knows no way: refused as well
			}
			defer conn.Close() //nolint:errcheck // a test's connection
			_ = conn.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
			_, _ = conn.Write([]byte("hello"))
			if n, err := conn.Read(make([]byte, 10)); err == nil {
				t.Errorf("UDP to %v is answered with %d bytes, want nothing", to, n)
			}
		})
	}
}

func TestVMReachesWhatIsAllowed(t *testing.T) {
	t.Parallel()
	for _, a := range ownAddresses(t) { // of loopback a VM's own stack would make nothing
		g := newGateway(t, gateway.Config{})
		vm := boot(t, g)
		to := echo(t, a)
		if conn, err := vm.DialTCP(t.Context(), to); err == nil {
			_ = conn.Close()
			t.Fatal("connects before it is allowed")
		}
		g.Allow([]netip.Prefix{netip.PrefixFrom(a, 32)})
		stream, err := vm.DialTCP(t.Context(), to)
		if err != nil {
			t.Fatal(err)
		}
		datagrams, err := vm.DialUDP(to)
		if err != nil {
			t.Fatal(err)
		}
		for name, conn := range map[string]net.Conn{"tcp": stream, "udp": datagrams} {
			_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
			for _, text := range []string{"hello", strings.Repeat("long", 2000)} {
				got := make([]byte, len(text))
				if _, err := io.WriteString(conn, text); err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(conn, got); err != nil || string(got) != text {
					t.Errorf("%s: said %d bytes, got %.20q, %v", name, len(text), got, err)
				}
			}
		}
	}
}

func TestFilter(t *testing.T) {
	t.Parallel()
	g := newGateway(t, gateway.Config{})
	g.Allow([]netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("127.0.0.9/32")})
	addresses := map[string]bool{
		"93.184.216.34": true, "8.8.8.8": true, "1.1.1.1": true, "100.63.255.255": true, "100.128.0.0": true,
		"172.15.255.255": true, "172.32.0.0": true, "192.169.0.0": true, "223.255.255.255": true,
		"10.1.2.3": true, "127.0.0.9": true, // allowed
		"0.0.0.0": false, "0.1.2.3": false, "10.0.0.1": false, "10.2.0.0": false, "100.64.0.1": false, "100.127.255.255": false,
		"127.0.0.1": false, "127.77.0.5": false, "127.255.255.255": false, "169.254.169.254": false, "169.254.0.1": false,
		"172.16.0.1": false, "172.31.255.255": false, "192.168.1.1": false, "192.168.127.3": false, "192.0.0.170": false,
		"198.18.0.1": false, "224.0.0.1": false, "239.255.255.250": false, "240.0.0.1": false, "255.255.255.255": false,
		"::1": false, "fe80::1": false, "fd00::1": false, "64:ff9b::7f00:1": false, "::ffff:127.0.0.1": false, "2606:4700::1": false,
	}
	for _, a := range ownAddresses(t) {
		addresses[a.String()] = false
	}
	for text, want := range addresses {
		if err := g.MayReach(netip.MustParseAddr(text)); (err == nil) != want {
			t.Errorf("may reach %s: %v, want %v", text, err, want)
		}
	}
}

func TestEndOfOneDirectionIsPassedOn(t *testing.T) {
	t.Parallel()
	public := address()
	g := newGateway(t, gateway.Config{Public: public})
	boot(t, g).ServeTCP(8022, func(c *gonet.TCPConn) {
		all, _ := io.ReadAll(c) // until the client has ended
		_, _ = fmt.Fprintf(c, "%d bytes", len(all))
	})
	setPorts(t, g, tcp(8022))
	conn := dial(t, "tcp", public, 8022)
	if _, err := conn.Write(make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); err != nil || string(got) != "1048576 bytes" {
		t.Errorf("got %q, %v, want %q", got, err, "1048576 bytes")
	}
}

func TestRefusalsAndResetsArePassedOn(t *testing.T) {
	t.Parallel()
	public := address()
	g := newGateway(t, gateway.Config{Public: public})
	setPorts(t, g, tcp(8022), tcp(8023))
	reset := func(what string, port uint16) {
		t.Helper()
		if err := readOne(public, port); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: read = %v, want %v", what, err, syscall.ECONNRESET)
		}
	}
	reset("without a VM", 8022)
	vm := boot(t, g)
	reset("a port on which the VM doesn't listen", 8022)

	ended := make(chan error, 1)
	vm.ServeTCP(8023, func(c *gonet.TCPConn) {
		_, err := c.Read(make([]byte, 1))
		ended <- err
	})
	conn := dial(t, "tcp", public, 8023).(*net.TCPConn)
	_ = conn.SetLinger(0)
	_ = conn.Close()
	if err := <-ended; err == nil || errors.Is(err, io.EOF) {
		t.Errorf("the VM reads %v from a client that resets, want a reset", err)
	}
}

func TestConnectionsEndWithTheVM(t *testing.T) {
	t.Parallel()
	public := address()
	g := newGateway(t, gateway.Config{Public: public})
	setPorts(t, g, tcp(8022))
	for _, end := range []string{"new plug", "closed plug", "closed gateway"} {
		f := plug(t, g)
		conn := gatewaytest.Conn(t, f)
		dup, err := conn.(*net.UnixConn).File()
		if err != nil {
			t.Fatal(err)
		}
		gatewaytest.Boot(t, dup, mac, netip.PrefixFrom(gateway.Guest, 24), gateway.Address).Echo(8022, "hello")
		client := dial(t, "tcp", public, 8022)
		if _, err := io.ReadFull(client, make([]byte, 5)); err != nil {
			t.Fatal(err)
		}
		switch end {
		case "new plug":
			_ = plug(t, g).Close()
		case "closed plug":
			_ = syscall.Shutdown(fd(t, conn), syscall.SHUT_RDWR)
		case "closed gateway":
			g.Close()
		}
		if _, err := client.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: the client reads %v, want %v", end, err, syscall.ECONNRESET)
		}
	}
}

func fd(t *testing.T, conn net.Conn) (n int) {
	t.Helper()
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { n = int(fd) })
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestQuotaBoundsConnections(t *testing.T) {
	t.Parallel()
	public := address()
	quota := gateway.NewQuota(2, nil)
	g := newGateway(t, gateway.Config{Public: public, Quota: quota})
	boot(t, g).Echo(8022, "!")
	setPorts(t, g, tcp(8022))
	for range 2 {
		if _, err := dial(t, "tcp", public, 8022).Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := readOne(public, 8022); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the third connection of two: %v, want %v", err, syscall.ECONNRESET)
	}
	g.Close()
	again := newGateway(t, gateway.Config{Public: public, Quota: quota})
	boot(t, again).Echo(8022, "!")
	setPorts(t, again, tcp(8022))
	for deadline := time.Now().Add(20 * time.Second); readOne(public, 8022) != nil; {
		if time.Now().After(deadline) {
			t.Fatal("the quota isn't given back")
		}
	}
}

func TestNameServersOfTheHostAnswer(t *testing.T) {
	t.Parallel()
	dead, server := address(), address()
	at := echo(t, server) // an echo does for an answer
	conf := filepath.Join(t.TempDir(), "resolv.conf")
	text := fmt.Sprintf("# comment\nsearch example.org\nnameserver %v\nnameserver %v\noptions edns0\n", dead, server)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	vm := boot(t, newGateway(t, gateway.Config{Names: gateway.NewNames(conf, at.Port())}))
	ask := func(conn net.Conn) error {
		defer conn.Close() //nolint:errcheck // a test's connection
		_ = conn.SetDeadline(time.Now().Add(time.Second))
		if _, err := conn.Write([]byte("who?")); err != nil {
			return err
		}
		_, err := io.ReadFull(conn, make([]byte, 4))
		return err
	}
	gate := netip.AddrPortFrom(gateway.Address, 53)
	for deadline := time.Now().Add(20 * time.Second); ; { // the first one is silent
		conn, err := vm.DialUDP(gate)
		if err != nil {
			t.Fatal(err)
		}
		if err = ask(conn); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	conn, err := vm.DialTCP(t.Context(), gate)
	if err != nil {
		t.Fatal(err)
	}
	if err := ask(conn); err != nil {
		t.Error(err)
	}
}
