package routed

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// base is what the tables have to be besides the VMs: it depends on the
// driver's configuration and on the host's own networks.
type base struct {
	Generation     string
	Uplink         string
	SMTP           bool
	Rate           int64
	Fence4, Fence6 bool // the uplink was no router before: nothing but VMs is reached through it
	Allow, Closed  []netip.Prefix

	own map[netip.Addr]bool // the host's addresses
}

// closedNets are no places on the internet, or this host's and its neighbours':
// RFC 6890, with cloud metadata in 169.254.0.0/16. Of IPv6 only 2000::/3 is
// global; within it 6to4 and Teredo lead back to IPv4.
var closedNets = []string{
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
	"192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15",
	"198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3",
	"::/3", "2001::/32", "2001:db8::/32", "2002::/16", "3fff::/20", "4000::/2", "8000::/1",
}

// wantedBase returns what the tables have to be now.
func (h *host) wantedBase() (base, error) {
	b := base{Generation: generation, Uplink: h.Uplink, SMTP: h.SMTP, Rate: h.Rate, own: map[netip.Addr]bool{}}
	was := func(path string) bool { return h.saved[path] == "0" }
	b.Fence4 = was("ipv4/conf/" + h.Uplink + "/forwarding")
	b.Fence6 = was("ipv6/conf/all/forwarding") || was("ipv6/conf/"+h.Uplink+"/"+forcing) && read("ipv6/conf/all/forwarding") == "0"
	for _, p := range h.Allow {
		b.Allow = append(b.Allow, p.Masked())
	}
	for _, s := range closedNets {
		b.Closed = append(b.Closed, netip.MustParsePrefix(s))
	}
	taps := map[int]bool{}
	for _, t := range h.taps {
		taps[t.Attrs().Index] = true
	}
	addresses, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return b, fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addresses {
		if p, ok := prefixOf(a.IPNet); ok && !taps[a.LinkIndex] {
			b.own[p.Addr()] = true
		}
	}
	routes, err := netlink.RouteList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return b, fmt.Errorf("list routes: %w", err)
	}
	for _, r := range routes {
		p, ok := prefixOf(r.Dst)
		if ok && p.Bits() > 0 && r.Gw == nil && len(r.MultiPath) == 0 && r.Type == unix.RTN_UNICAST && r.Protocol != routeProtocol && !taps[r.LinkIndex] {
			b.Closed = append(b.Closed, p.Masked()) // the provider's own network
		}
	}
	b.Allow, b.Closed = outermost(b.Allow), outermost(b.Closed)
	return b, nil
}

// outermost returns the prefixes that are within no other one, in order.
func outermost(all []netip.Prefix) []netip.Prefix {
	slices.SortFunc(all, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	var kept []netip.Prefix
	for _, p := range all {
		if len(kept) == 0 || !kept[len(kept)-1].Overlaps(p) {
			kept = append(kept, p)
		}
	}
	return kept
}

// mark is the name of an empty chain by which tables are known to be as b says.
func (b base) mark() string {
	text, _ := json.Marshal(b) // plain values: it can't fail
	sum := sha256.Sum256(text)
	return "version-" + hex.EncodeToString(sum[:8])
}

// prefixes returns what is in a set of networks, nothing for another set.
func (b base) prefixes(set string) []netip.Prefix {
	var list []netip.Prefix
	switch {
	case strings.HasPrefix(set, "allow"):
		list = b.Allow
	case strings.HasPrefix(set, "closed"):
		list = b.Closed
	}
	return slices.DeleteFunc(slices.Clone(list), func(p netip.Prefix) bool { return p.Addr().Is4() != strings.HasSuffix(set, "4") })
}

// intervals returns prefixes as elements: the first address of each, and the
// first one behind it.
func intervals(prefixes []netip.Prefix) []nftables.SetElement {
	var elements []nftables.SetElement
	for _, p := range prefixes {
		elements = append(elements, nftables.SetElement{Key: p.Masked().Addr().AsSlice()})
		if end := lastOf(p).Next(); end.IsValid() {
			elements = append(elements, nftables.SetElement{Key: end.AsSlice(), IntervalEnd: true})
		}
	}
	return elements
}

func lastOf(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
