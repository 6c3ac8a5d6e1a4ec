package gateway_test

import (
	"io"
	"sync/atomic"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"

	"github.com/cpucloud/cpucloud/internal/network/loopback/gateway"
	"github.com/cpucloud/cpucloud/internal/network/loopback/gateway/gatewaytest"
)

// A guest that boots is greeted by the client that waits for it, and by none of
// those who have left meanwhile.
func TestClientsThatLeftAreForgotten(t *testing.T) {
	t.Parallel()
	public := address()
	g := newGateway(t, gateway.Config{Public: public})
	setPorts(t, g, tcp(8022))
	cable := plug(t, g) // a machine without a network so far
	stays := dial(t, "tcp", public, 8022)
	for range 8 {
		_ = dial(t, "tcp", public, 8022).Close()
	}
	await(t, func() bool { return g.TCPIn() == 1 })

	var greeted atomic.Int64
	bootOn(t, cable, func(vm *gatewaytest.VM) { // a guest without its server would refuse
		vm.ServeTCP(8022, func(c *gonet.TCPConn) {
			greeted.Add(1)
			_, _ = c.Write([]byte("hello"))
		})
	})
	if _, err := io.ReadFull(stays, make([]byte, 5)); err != nil {
		t.Fatalf("the client that waits: %v", err)
	}
	if n := greeted.Load(); n != 1 {
		t.Errorf("the guest was greeted %d times, want once", n)
	}
}

// One that ends its side at once and only listens is served by a guest that is there.
func TestClientThatOnlyListens(t *testing.T) {
	t.Parallel()
	public := address()
	g := newGateway(t, gateway.Config{Public: public})
	boot(t, g).ServeTCP(8022, func(c *gonet.TCPConn) { _, _ = c.Write([]byte("hello")) })
	setPorts(t, g, tcp(8022))
	for range 20 {
		conn := dial(t, "tcp", public, 8022)
		if err := conn.(closeWriter).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(conn); err != nil || string(got) != "hello" {
			t.Fatalf("got %q, %v, want hello", got, err)
		}
	}
}

type closeWriter interface{ CloseWrite() error }

// await waits until what is looked for comes to pass, ten seconds at most.
func await(t *testing.T, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range 2000 {
		if holds() {
			return
		}
		<-tick.C
	}
	t.Fatal("it doesn't come to pass")
}
