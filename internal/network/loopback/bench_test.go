package loopback_test

import (
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"

	"github.com/cpucloud/cpucloud/internal/network"
)

// memory returns the KiB that only the process pid has in memory, which leaves
// out the parts of the program that it shares with the agent.
func memory(tb testing.TB, pid int) int {
	tb.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		tb.Fatal(err)
	}
	kib, err := strconv.Atoi(strings.TrimSuffix(field(string(text), "RssAnon"), " kB"))
	if err != nil {
		tb.Fatal(err)
	}
	return kib
}

func TestIdleVMsAreSmall(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	d := h.driver(t)
	vm := func(n int) {
		l := h.link(n, tcp(8022), tcp(8080), udp(8053))
		boot(t, d, l).Echo(8022, "")
		say(t, dial(t, l, tcp(8022)), "hello", "hello")
	}
	const more = 20
	vm(0)
	pid := h.pid(t)
	before := memory(t, pid)
	for n := range more {
		vm(n + 1)
	}
	after := memory(t, pid)
	each := (after - before) / more
	t.Logf("switch: %d KiB with 1 VM, %d KiB with %d, %d KiB each", before, after, 1+more, each)
	limit := 1024
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		limit *= 4 // the race detector's own memory
	}
	if each > limit {
		t.Errorf("a VM takes %d KiB, want at most %d", each, limit)
	}
}

func TestDestroyedLinksAreGivenBack(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	d := h.driver(t)
	ensure(t, d, h.link(0))
	cycles := func(n int) {
		for range n {
			l := h.link(1, tcp(8022), udp(8053))
			boot(t, d, l).Echo(8022, "")
			say(t, dial(t, l, tcp(8022)), "hello", "hello")
			if err := d.Destroy(t.Context(), l.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	cycles(50)
	pid := h.pid(t)
	before := memory(t, pid)
	cycles(200)
	if grown := memory(t, pid) - before; grown > 10<<10 { // 50 MiB if nothing were given back
		t.Errorf("200 links that were made and destroyed left %d KiB, want next to nothing", grown)
	}
}

func BenchmarkEnsure(b *testing.B) {
	h := newHost(b)
	d := h.driver(b)
	keep := h.link(0)
	if err := d.Ensure(b.Context(), keep); err != nil {
		b.Fatal(err)
	}
	b.Run("a new link", func(b *testing.B) {
		l := h.link(1, tcp(8022))
		for b.Loop() {
			if err := d.Ensure(b.Context(), l); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			if err := d.Destroy(b.Context(), l.ID); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	})
	b.Run("another port", func(b *testing.B) {
		l := h.link(2, tcp(8022))
		for i := 0; b.Loop(); i++ {
			l.Ports = []network.Port{tcp(8022), tcp(uint16(9000 + i%2))}
			if err := d.Ensure(b.Context(), l); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("nothing new", func(b *testing.B) {
		l := h.link(2, tcp(8022))
		for b.Loop() {
			if err := d.Ensure(b.Context(), l); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkThroughput(b *testing.B) {
	h := newHost(b)
	l := h.link(1, tcp(8022), tcp(8023))
	vm := boot(b, h.driver(b), l)
	vm.ServeTCP(8022, func(c *gonet.TCPConn) { _, _ = io.Copy(io.Discard, c) })
	vm.ServeTCP(8023, func(c *gonet.TCPConn) {
		chunk := make([]byte, 1<<16)
		for err := error(nil); err == nil; {
			_, err = c.Write(chunk)
		}
	})
	chunk := make([]byte, 1<<20)
	b.Run("into the VM", func(b *testing.B) {
		b.SetBytes(int64(len(chunk)))
		conn := dial(b, l, tcp(8022))
		for b.Loop() {
			if _, err := conn.Write(chunk); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("out of the VM", func(b *testing.B) {
		b.SetBytes(int64(len(chunk)))
		conn := dial(b, l, tcp(8023))
		for b.Loop() {
			if _, err := io.ReadFull(conn, chunk); err != nil {
				b.Fatal(err)
			}
		}
	})
}
