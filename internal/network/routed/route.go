package routed

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/network"
)

// routeProtocol marks routes as the driver's: `ip route show proto 86`.
const routeProtocol = 86

// lastPriority is behind that of all routes that somebody else may have made.
const lastPriority = 1 << 30

// findLink returns the interface of that name, nil if there is none.
func findLink(name string) (netlink.Link, error) {
	link, err := netlink.LinkByName(name)
	if _, none := errors.AsType[netlink.LinkNotFoundError](err); none {
		return nil, nil //nolint:nilnil // none is an answer
	}
	return link, err
}

// lookRoutes reads the routes that are ours and the addresses that the uplink
// answers for.
func (h *host) lookRoutes() error {
	h.routes, h.proxies = map[netip.Addr]int{}, map[netip.Addr]bool{}
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Protocol: routeProtocol}, netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return fmt.Errorf("list routes: %w", err)
	}
	for _, r := range routes {
		if p, ok := prefixOf(r.Dst); ok && p.IsSingleIP() && r.Type == unix.RTN_UNICAST {
			h.routes[p.Addr()] = r.LinkIndex
		}
	}
	if h.uplink == nil {
		return nil
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		list, err := netlink.NeighProxyList(h.uplink.Attrs().Index, family)
		if err != nil {
			return fmt.Errorf("list proxies: %w", err)
		}
		for _, n := range list {
			if a, ok := netip.AddrFromSlice(n.IP); ok && n.LinkIndex == h.uplink.Attrs().Index {
				h.proxies[a.Unmap()] = true
			}
		}
	}
	return nil
}

// route makes the VM's addresses known to the host and, by proxy, to the uplink.
func (h *host) route(tap netlink.Link, l network.Link) error {
	mac, err := net.ParseMAC(l.MAC)
	if err != nil {
		return err
	}
	for gateway, on := range map[netip.Addr]bool{gateway4: true, gateway6: h.Pool6.IsValid()} {
		if on {
			if err := h.own(tap, gateway); err != nil {
				return err
			}
		}
	}
	for _, a := range h.addresses(l) {
		// The VM is never asked where it is, so it can't lie about it.
		neigh := &netlink.Neigh{LinkIndex: tap.Attrs().Index, IP: a.AsSlice(), HardwareAddr: mac, State: netlink.NUD_PERMANENT}
		if err := netlink.NeighSet(neigh); err != nil {
			return fmt.Errorf("say where %v is: %w", a, err)
		}
		if err := h.addRoute(tap, a); err != nil {
			return err
		}
		if h.Announce == Proxy && !h.proxies[a] {
			proxy := &netlink.Neigh{LinkIndex: h.uplink.Attrs().Index, IP: a.AsSlice(), Flags: netlink.NTF_PROXY}
			if err := netlink.NeighSet(proxy); err != nil {
				return fmt.Errorf("answer for %v on %s: %w", a, h.Uplink, err)
			}
		}
	}
	return nil
}

// own gives the host its address on a tap.
func (h *host) own(tap netlink.Link, gateway netip.Addr) error {
	bits := 32
	a := &netlink.Addr{Scope: unix.RT_SCOPE_LINK}
	if gateway.Is6() {
		bits, a.Flags = 64, unix.IFA_F_NODAD // nobody else can be there
	}
	a.IPNet = &net.IPNet{IP: gateway.AsSlice(), Mask: net.CIDRMask(bits, gateway.BitLen())}
	if err := netlink.AddrReplace(tap, a); err != nil {
		return fmt.Errorf("take %v on %s: %w", gateway, tap.Attrs().Name, err)
	}
	return nil
}

func (h *host) addRoute(tap netlink.Link, a netip.Addr) error {
	switch h.routes[a] {
	case tap.Attrs().Index:
		return nil
	case 0:
	default:
		if err := h.dropRoute(a); err != nil {
			return err
		}
	}
	r := single(a)
	r.LinkIndex = tap.Attrs().Index
	err := netlink.RouteAdd(r)
	if errors.Is(err, unix.EEXIST) {
		return fault.Newf(fault.Unavailable, "there is another route to %v: remove it with ip route delete %[1]v, or take the address out of the pool", a)
	}
	if err != nil {
		return fmt.Errorf("route to %v: %w", a, err)
	}
	return nil
}

func single(a netip.Addr) *netlink.Route {
	r := &netlink.Route{Dst: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}, Protocol: routeProtocol}
	if a.Is4() { // of IPv6 all routes have the same scope
		r.Scope = netlink.SCOPE_LINK
	}
	return r
}

func (h *host) dropRoute(a netip.Addr) error {
	r := single(a)
	r.LinkIndex = h.routes[a]
	if err := netlink.RouteDel(r); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("remove route to %v: %w", a, err)
	}
	delete(h.routes, a)
	return nil
}

// leave makes the addresses of a link nobody's: they are not routed, not
// answered for, and no connection of theirs is remembered.
func (h *host) leave(l network.Link) error {
	for _, a := range h.addresses(l) {
		if h.routes[a] != 0 {
			if err := h.dropRoute(a); err != nil {
				return err
			}
		}
		if tap := h.taps[l.ID]; tap != nil {
			neigh := &netlink.Neigh{LinkIndex: tap.Attrs().Index, IP: a.AsSlice(), State: netlink.NUD_PERMANENT}
			if err := netlink.NeighDel(neigh); err != nil && !gone(err) {
				return fmt.Errorf("forget where %v is: %w", a, err)
			}
		}
		if h.proxies[a] {
			proxy := &netlink.Neigh{LinkIndex: h.uplink.Attrs().Index, IP: a.AsSlice(), Flags: netlink.NTF_PROXY}
			if err := netlink.NeighDel(proxy); err != nil && !gone(err) {
				return fmt.Errorf("no longer answer for %v: %w", a, err)
			}
		}
		if err := forgetConnections(a); err != nil {
			return err
		}
	}
	return nil
}

func gone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENODEV)
}

// holes are the routes that keep packets to addresses that no VM has from going
// back to the router that sent them.
func (h *host) holes() []*netlink.Route {
	var routes []*netlink.Route
	for _, p := range []netip.Prefix{h.Pool, h.Pool6} {
		if h.Announce == Route && p.IsValid() {
			routes = append(routes, &netlink.Route{
				Dst:  &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())},
				Type: unix.RTN_UNREACHABLE, Protocol: routeProtocol, Priority: lastPriority,
			})
		}
	}
	return routes
}

func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	bits, size := n.Mask.Size()
	a = a.Unmap()
	if !ok || size != a.BitLen() {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, bits), true
}
