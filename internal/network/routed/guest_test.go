//go:build net

package routed_test

import (
	"errors"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cpucloud/cpucloud/internal/network"
	"github.com/cpucloud/cpucloud/internal/network/routed"
)

// headerLen is that of virtio's header before each frame.
const headerLen = 10

// guest is a VM without a machine: a Linux network whose card is joined to the
// VM's end of a tap, and which frames can be sent beside.
type guest struct {
	space
	link network.Link
	plug *os.File
	card *os.File

	mu    sync.Mutex
	watch func(frame []byte) // sees what arrives
}

// boot makes the link and a guest at its other end, configured as it is told.
func (w *world) boot(tb testing.TB, d *routed.Driver, l network.Link) *guest {
	tb.Helper()
	ensure(tb, d, l)
	return w.plugIn(tb, d, l)
}

func (w *world) plugIn(tb testing.TB, d *routed.Driver, l network.Link) *guest {
	tb.Helper()
	p, err := d.Plug(tb.Context(), l.ID)
	if err != nil {
		tb.Fatal(err)
	}
	g := &guest{space: newSpace(tb), link: l, plug: p.File}
	g.in(func() { g.card, err = openCard() })
	if err != nil {
		tb.Fatalf("make a card: %v", err)
	}
	tb.Cleanup(func() { _ = g.plug.Close(); _ = g.card.Close() })
	how := d.Guest(l)
	g.run("ip link set eth0 address "+l.MAC, "sysctl -qw net.ipv6.conf.eth0.accept_dad=0", "ip link set eth0 up",
		"ip addr add "+how.Address.String()+" dev eth0", "ip route add "+how.Gateway.String()+" dev eth0",
		"ip route add default via "+how.Gateway.String()+" dev eth0")
	if how.Address6.IsValid() {
		g.run("ip addr add "+how.Address6.String()+" dev eth0 nodad", "ip route add default via "+how.Gateway6.String()+" dev eth0")
	}
	go g.copy(g.plug, g.card, nil)
	go g.copy(g.card, g.plug, g.look)
	for _, a := range []netip.Prefix{how.Address, how.Address6} {
		refuses := func() bool {
			_, err := w.host.dial("tcp", netip.AddrPortFrom(a.Addr(), 9), short)
			return errors.Is(err, syscall.ECONNREFUSED)
		}
		if a.IsValid() && !within(linking, refuses) {
			tb.Fatalf("the guest doesn't come up with %v", a)
		}
	}
	return g
}

// linking is how long the kernel may take to use a cable that was plugged in; it
// looks once a second.
const linking = 10 * time.Second

// linked waits until what goes through the tap is no longer lost.
func (w *world) linked(g *guest) {
	g.Helper()
	up := func() bool {
		for line := range strings.Lines(w.host.output("ip -oneline link show type tun")) {
			if strings.Contains(line, g.link.ID) {
				return strings.Contains(line, "state UP")
			}
		}
		return false
	}
	if !within(linking, up) {
		g.Fatal("the tap doesn't come up")
	}
}

// bare makes the link and takes the VM's end of it, where nothing is but the
// test: it sends what it is told to send, and no more.
func (w *world) bare(tb testing.TB, d *routed.Driver, l network.Link) *guest {
	tb.Helper()
	ensure(tb, d, l)
	p, err := d.Plug(tb.Context(), l.ID)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = p.File.Close() })
	g := &guest{space: space{TB: tb}, link: l, plug: p.File}
	nowhere, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = nowhere.Close() })
	go g.copy(nowhere, g.plug, g.look)
	w.linked(g)
	return g
}

func (g *guest) look(frame []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.watch != nil {
		g.watch(frame)
	}
}

func openCard() (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	request, err := unix.NewIfreq("eth0")
	if err != nil {
		return nil, err
	}
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "card"), nil
}

// copy brings frames from one end to the other until one is closed. A frame
// that the other doesn't take is lost, as on a cable.
func (g *guest) copy(to, from *os.File, look func([]byte)) {
	b := make([]byte, headerLen+65536)
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		if look != nil && n > headerLen {
			look(b[headerLen:n])
		}
		_, _ = to.Write(b[:n])
	}
}

// send puts a frame on the tap as a machine could, whatever its kernel thinks.
func (g *guest) send(frame []byte) {
	g.Helper()
	if _, err := g.plug.Write(append(make([]byte, headerLen), frame...)); err != nil {
		g.Fatalf("send frame: %v", err)
	}
}

// sees returns a function that waits until a frame that fits has come to the
// guest, and says whether one did in time.
func (g *guest) sees(fits func(frame []byte) bool) func(time.Duration) bool {
	seen := make(chan struct{}, 1)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.watch = func(frame []byte) {
		if fits(frame) {
			select {
			case seen <- struct{}{}:
			default:
			}
		}
	}
	return func(patience time.Duration) bool {
		select {
		case <-seen:
			return true
		case <-time.After(patience):
			return false
		}
	}
}

func (g *guest) addr() netip.Addr { return g.link.Address }
