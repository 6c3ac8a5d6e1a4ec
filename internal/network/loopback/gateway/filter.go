package gateway

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"syscall"
)

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// closed are the networks that no VM reaches: this host (loopback, and with it
// the public addresses of the other VMs), its neighbours, cloud metadata, and
// what is not a place on the internet. See RFC 6890.
var closed = prefixes(
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
	"192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15",
	"198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3",
)

func prefixes(texts ...string) []netip.Prefix {
	ps := make([]netip.Prefix, len(texts))
	for i, t := range texts {
		ps[i] = netip.MustParsePrefix(t)
	}
	return ps
}

// filter decides where a VM may connect to. It is asked when the socket
// connects, with the address that the kernel will use.
type filter struct {
	allowed atomic.Pointer[[]netip.Prefix]
}

func newFilter() *filter {
	f := &filter{}
	f.allow(nil)
	return f
}

func (f *filter) allow(nets []netip.Prefix) {
	nets = slices.Clone(nets)
	f.allowed.Store(&nets)
}

// control is for net.Dialer.
func (f *filter) control(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("destination: %w", err)
	}
	return f.check(ap.Addr())
}

// check returns an error unless a VM may connect to a. The guest has IPv4
// only, so that an IPv6 address can only be a mistake.
func (f *filter) check(a netip.Addr) error {
	within := func(p netip.Prefix) bool { return p.Contains(a) }
	switch {
	case slices.ContainsFunc(*f.allowed.Load(), within):
		return nil
	case !a.Is4(), slices.ContainsFunc(closed, within):
		return fmt.Errorf("%v is not a public address", a)
	}
	// The host's addresses may have changed since the last connection.
	own, err := net.InterfaceAddrs()
	if err != nil {
		return fmt.Errorf("addresses of this host: %w", err)
	}
	for _, o := range own {
		if n, ok := o.(*net.IPNet); ok && n.IP.Equal(a.AsSlice()) {
			return fmt.Errorf("%v is this host", a)
		}
	}
	return nil
}
