// Package fake is a network that exists in memory only: for tests of what uses
// a driver.
package fake

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/network"
)

// Host is what drivers work on; it outlives them, as a real host does.
type Host struct {
	mu    sync.Mutex
	links map[string]network.Link
	plugs map[string]*os.File // the host's ends
	cuts  map[string]int
	flown map[string]network.Traffic
	fail  func(do, id string) error
}

// NewHost returns a host without links.
func NewHost() *Host {
	return &Host{links: make(map[string]network.Link), plugs: make(map[string]*os.File), cuts: make(map[string]int), flown: make(map[string]network.Traffic)}
}

// Fail has f asked before every change: "ensure", "plug", "cut", "destroy" of the link
// id; and before "traffic" of all, with no id. Its error is returned instead of the change. Nil lets all succeed again.
func (h *Host) Fail(f func(do, id string) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fail = f
}

// Crash takes all links away, as a reboot does.
func (h *Host) Crash() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var err error
	for id := range h.links {
		err = errors.Join(err, h.remove(id))
	}
	return err
}

// Carry counts t as carried by a link, if there is one.
func (h *Host) Carry(id string, t network.Traffic) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.links[id]; !ok {
		return
	}
	sum := h.flown[id]
	h.flown[id] = network.Traffic{
		BytesIn: sum.BytesIn + t.BytesIn, BytesOut: sum.BytesOut + t.BytesOut,
		PacketsIn: sum.PacketsIn + t.PacketsIn, PacketsOut: sum.PacketsOut + t.PacketsOut,
	}
}

// Cuts returns how often the connections of a link were cut.
func (h *Host) Cuts(id string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.cuts[id]
}

// Plugged reports whether somebody holds the VM's end of a link: it was given
// out and is not closed.
func (h *Host) Plugged(id string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	end := h.plugs[id]
	if end == nil {
		return false
	}
	var b [1]byte
	_, _, err := syscall.Recvfrom(int(end.Fd()), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	return errors.Is(err, syscall.EAGAIN)
}

func (h *Host) ask(do, id string) error {
	if h.fail == nil {
		return nil
	}
	return h.fail(do, id)
}

func (h *Host) remove(id string) error {
	delete(h.links, id)
	delete(h.flown, id)
	end := h.plugs[id]
	delete(h.plugs, id)
	if end == nil {
		return nil
	}
	return end.Close()
}

// Driver is a [network.Driver] over a Host.
type Driver struct{ host *Host }

var _ network.Driver = (*Driver)(nil)

// New returns a driver over h.
func New(h *Host) *Driver { return &Driver{h} }

// Ensure implements [network.Driver].
func (d *Driver) Ensure(_ context.Context, l network.Link) error {
	if err := l.Check(); err != nil {
		return err
	}
	h := d.host
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.ask("ensure", l.ID); err != nil {
		return err
	}
	for id, other := range h.links {
		if id != l.ID && other.Address == l.Address {
			return fault.Newf(fault.Unavailable, "%v is the address of another VM, %s", l.Address, id)
		}
	}
	h.links[l.ID] = l.Sorted()
	return nil
}

// Plug implements [network.Driver]. Nobody answers at the other end.
func (d *Driver) Plug(_ context.Context, id string) (network.Plug, error) {
	h := d.host
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.ask("plug", id); err != nil {
		return network.Plug{}, err
	}
	if _, ok := h.links[id]; !ok {
		return network.Plug{}, fault.Newf(fault.NotFound, "no link %.70q", id)
	}
	ends, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return network.Plug{}, err
	}
	if old := h.plugs[id]; old != nil {
		err = old.Close()
	}
	h.plugs[id] = os.NewFile(uintptr(ends[0]), "cable")
	return network.Plug{Kind: "stream", File: os.NewFile(uintptr(ends[1]), "plug")}, err
}

// Cut implements [network.Driver].
func (d *Driver) Cut(_ context.Context, id string) error {
	h := d.host
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.ask("cut", id); err != nil {
		return err
	}
	if _, ok := h.links[id]; !ok {
		return fault.Newf(fault.NotFound, "no link %.70q", id)
	}
	h.cuts[id]++
	return nil
}

// Guest implements [network.Driver].
func (d *Driver) Guest(network.Link) network.Guest {
	gateway := netip.AddrFrom4([4]byte{192, 168, 127, 1})
	return network.Guest{
		DHCP:    true,
		Address: netip.PrefixFrom(gateway.Next(), 24),
		Gateway: gateway,
		DNS:     []netip.Addr{gateway},
	}
}

// List implements [network.Driver].
func (d *Driver) List(context.Context) ([]network.Link, error) {
	h := d.host
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.SortedFunc(maps.Values(h.links), func(a, b network.Link) int { return cmp.Compare(a.ID, b.ID) }), nil
}

// Traffic implements [network.Driver].
func (d *Driver) Traffic(context.Context) (map[string]network.Traffic, error) {
	h := d.host
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.ask("traffic", ""); err != nil {
		return nil, err
	}
	all := make(map[string]network.Traffic, len(h.links))
	for id := range h.links {
		all[id] = h.flown[id]
	}
	return all, nil
}

// Destroy implements [network.Driver].
func (d *Driver) Destroy(_ context.Context, id string) error {
	h := d.host
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.ask("destroy", id); err != nil {
		return err
	}
	return h.remove(id)
}
