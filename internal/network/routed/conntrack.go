package routed

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/cpucloud/cpucloud/internal/network"
)

// cutMark is the bit of a connection's mark that says it was cut. The kernel
// keeps such a connection until both sides have given up; every packet of it is
// dropped, and so neither side can bring it back, not even by UDP. To delete it
// would not be enough: the VM's next packet would begin it anew, as its own.
const cutMark = 1 << 27

// connections returns what the host remembers of connections that came to a.
func connections(a netip.Addr) ([]*netlink.ConntrackFlow, error) {
	all, err := tracked(a)
	if err != nil {
		return nil, err
	}
	var found []*netlink.ConntrackFlow
	for _, f := range all {
		if to, ok := netip.AddrFromSlice(f.Forward.DstIP); ok && to.Unmap() == a {
			found = append(found, f)
		}
	}
	return found, nil
}

func tracked(a netip.Addr) ([]*netlink.ConntrackFlow, error) {
	all, err := netlink.ConntrackTableList(netlink.ConntrackTable, family(a))
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("list connections: %w", err)
	}
	return all, nil
}

func family(a netip.Addr) netlink.InetFamily {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func portOf(f *netlink.ConntrackFlow) network.Port {
	p := network.Port{Number: f.Forward.DstPort}
	switch f.Forward.Protocol {
	case unix.IPPROTO_TCP:
		p.Protocol = "tcp"
	case unix.IPPROTO_UDP:
		p.Protocol = "udp"
	}
	return p
}

// cut ends the connections that came in through ports which are closed.
func (h *host) cut(l network.Link) error {
	open := make(map[network.Port]bool, len(l.Ports))
	for _, p := range l.Ports {
		open[p] = true
	}
	for _, a := range h.addresses(l) {
		list, err := connections(a)
		if err != nil {
			return err
		}
		for _, f := range list {
			p := portOf(f)
			if p.Protocol == "" || open[p] || f.Mark&cutMark != 0 {
				continue
			}
			f.Mark |= cutMark
			f.ProtoInfo = nil // stays as it is
			if err := netlink.ConntrackUpdate(netlink.ConntrackTable, family(a), f); err != nil && !gone(err) {
				return fmt.Errorf("cut a connection to port %d: %w", p.Number, err)
			}
		}
	}
	return nil
}

// forget lets new connections come to ports that were opened again, also from
// where one was cut.
func (h *host) forget(l network.Link, opened map[network.Port]bool) error {
	for _, a := range h.addresses(l) {
		_, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, family(a), flows(func(f *netlink.ConntrackFlow) bool {
			to, ok := netip.AddrFromSlice(f.Forward.DstIP)
			return ok && to.Unmap() == a && f.Mark&cutMark != 0 && opened[portOf(f)]
		}))
		if err != nil {
			return fmt.Errorf("forget connections of %v: %w", a, err)
		}
	}
	return nil
}

// forgetConnections removes all that is remembered of an address, so that who
// has it next inherits nothing.
func forgetConnections(a netip.Addr) error {
	_, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, family(a), flows(func(f *netlink.ConntrackFlow) bool {
		from, _ := netip.AddrFromSlice(f.Forward.SrcIP)
		to, _ := netip.AddrFromSlice(f.Forward.DstIP)
		back, _ := netip.AddrFromSlice(f.Reverse.SrcIP)
		return from.Unmap() == a || to.Unmap() == a || back.Unmap() == a
	}))
	if err != nil {
		return fmt.Errorf("forget connections of %v: %w", a, err)
	}
	return nil
}

// flows chooses connections.
type flows func(*netlink.ConntrackFlow) bool

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (f flows) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool { return f(flow) }
