package loopback_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/network"
	"github.com/cpucloud/cpucloud/internal/network/loopback"
	"github.com/cpucloud/cpucloud/internal/network/loopback/gateway/gatewaytest"
)

// Words that make the test binary something else.
const (
	switchWord = "network-switch"
	agentWord  = "make-one-link"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == switchWord {
		log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
		if err := loopback.Serve(context.Background(), time.Now, log); err != nil {
			log.Error("switch", "error", err)
			os.Exit(1)
		}
		return
	}
	if len(os.Args) == 4 && os.Args[1] == agentWord {
		makeOneLink(os.Args[2], os.Args[3])
		return
	}
	os.Exit(m.Run())
}

// makeOneLink is an agent that makes the link that text says, and hangs.
func makeOneLink(dir, text string) {
	d, err := loopback.New(config(dir))
	if err != nil {
		panic(err)
	}
	var l network.Link
	if err := json.Unmarshal([]byte(text), &l); err != nil {
		panic(err)
	}
	if err := d.Ensure(context.Background(), l); err != nil {
		panic(err)
	}
	fmt.Println("ready")
	select {}
}

func config(dir string) loopback.Config {
	program, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return loopback.Config{
		Dir:     dir,
		Command: []string{program, switchWord},
		Pool:    netip.MustParsePrefix("127.0.0.0/8"),
		Idle:    time.Second,
		Now:     time.Now,
		Log:     slog.New(slog.DiscardHandler),
	}
}

// host is a folder for drivers and some addresses.
type host struct {
	loopback.Config
	base netip.Addr
}

var hosts atomic.Uint32

// newHost returns a host whose addresses no other test uses, also not one of
// another process that tests at the same time. Its folder has a path that is
// too long for a unix socket.
func newHost(tb testing.TB) *host {
	tb.Helper()
	pid, n := os.Getpid(), hosts.Add(1)
	h := &host{
		Config: config(filepath.Join(tb.TempDir(), strings.Repeat("deep", 40))),
		base:   netip.AddrFrom4([4]byte{127, byte(80 + pid%100), byte(pid / 100 % 100), byte(n * 32)}),
	}
	if n > 7 {
		h.base = netip.AddrFrom4([4]byte{127, byte(80 + pid%100), byte(100 + n/8 + uint32(pid)/100%10*15), byte(n % 8 * 32)})
	}
	tb.Cleanup(func() {
		ctx := context.WithoutCancel(tb.Context())
		d := h.driver(tb)
		links, err := d.List(ctx)
		if err != nil {
			tb.Errorf("List: %v", err)
		}
		for _, l := range links {
			if err := d.Destroy(ctx, l.ID); err != nil {
				tb.Errorf("Destroy: %v", err)
			}
		}
	})
	return h
}

func (h *host) driver(tb testing.TB) *loopback.Driver {
	tb.Helper()
	d, err := loopback.New(h.Config)
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

func (h *host) address(n int) netip.Addr {
	a := h.base.As4()
	a[3] += byte(n)
	return netip.AddrFrom4(a)
}

func (h *host) link(n int, ports ...network.Port) network.Link {
	return network.Link{ID: fmt.Sprintf("vm-%d", n), Address: h.address(n), MAC: fmt.Sprintf("52:54:00:00:01:%02x", n), Ports: ports}
}

// pid returns the process id of the switch that was started last.
func (h *host) pid(tb testing.TB) int {
	tb.Helper()
	var pid int
	eventually(tb, "the switch's log has its pid", func() bool {
		f, err := os.Open(filepath.Join(h.Dir, "switch.log"))
		if err != nil {
			return false
		}
		defer f.Close() //nolint:errcheck // it was only read
		line, _ := bufio.NewReader(f).ReadBytes('\n')
		var v struct{ Pid int }
		if json.Unmarshal(line, &v) == nil {
			pid = v.Pid
		}
		return pid != 0
	})
	return pid
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

// eventually waits for a condition.
func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatalf("not after 20 seconds: %s", what)
		}
	}
}

func tcp(n uint16) network.Port { return network.Port{Number: n, Protocol: "tcp"} }
func udp(n uint16) network.Port { return network.Port{Number: n, Protocol: "udp"} }

func ensure(tb testing.TB, d *loopback.Driver, l network.Link) {
	tb.Helper()
	if err := d.Ensure(tb.Context(), l); err != nil {
		tb.Fatalf("Ensure(%+v): %v", l, err)
	}
}

// boot makes the link and a VM at its other end.
func boot(tb testing.TB, d *loopback.Driver, l network.Link) *gatewaytest.VM {
	tb.Helper()
	ensure(tb, d, l)
	p, err := d.Plug(tb.Context(), l.ID)
	if err != nil {
		tb.Fatal(err)
	}
	g := d.Guest(l)
	return gatewaytest.Boot(tb, p.File, l.MAC, g.Address, g.Gateway)
}

// dial connects to a port of a link from this host.
func dial(tb testing.TB, l network.Link, p network.Port) net.Conn {
	tb.Helper()
	conn, err := net.Dial(p.Protocol, netip.AddrPortFrom(l.Address, p.Number).String())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		tb.Fatal(err)
	}
	return conn
}

// say sends text and checks what comes back.
func say(t *testing.T, conn net.Conn, text, want string) {
	t.Helper()
	if _, err := conn.Write([]byte(text)); err != nil {
		t.Fatalf("write: %v", err)
	}
	b := make([]byte, 4096)
	n := 0
	for n < len(want) {
		m, err := conn.Read(b[n:])
		n += m
		if err != nil {
			t.Fatalf("read after %q: %v", b[:n], err)
		}
	}
	if got := string(b[:n]); got != want {
		t.Errorf("said %q, got %q, want %q", text, got, want)
	}
}
