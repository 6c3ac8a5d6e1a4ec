package network

import (
	"cmp"
	"net"
	"regexp"
	"slices"

	"github.com/cpucloud/cpucloud/internal/fault"
)

// maxPorts bounds one link; customers are held to fewer by the agent's orders.
const maxPorts = 1024

var idPattern = regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`)

// ValidID reports whether a link may have this id.
func ValidID(id string) bool { return idPattern.MatchString(id) }

// Check returns an Invalid fault when l is not a link that any driver could
// make: a bad id, address, MAC, port or protocol, or a port that is there twice.
func (l Link) Check() error {
	if !ValidID(l.ID) {
		return fault.Newf(fault.Invalid, "%.70q is not an id of a link", l.ID)
	}
	if a := l.Address; !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.Zone() != "" || a.Is4In6() {
		return fault.Newf(fault.Invalid, "%v is not an address for a VM", l.Address)
	}
	// The lowest bit of the first byte marks a group: no card has such a MAC.
	if mac, err := net.ParseMAC(l.MAC); err != nil || len(mac) != 6 || mac[0]&1 != 0 {
		return fault.Newf(fault.Invalid, "%.40q is not the MAC of a card", l.MAC)
	}
	if len(l.Ports) > maxPorts {
		return fault.Newf(fault.Invalid, "a link has at most %d open ports", maxPorts)
	}
	seen := make(map[Port]bool, len(l.Ports))
	for _, p := range l.Ports {
		if p.Number == 0 || (p.Protocol != "tcp" && p.Protocol != "udp") {
			return fault.Newf(fault.Invalid, "%d/%.10s is not a port", p.Number, p.Protocol)
		}
		if seen[p] {
			return fault.Newf(fault.Invalid, "port %d/%s is there twice", p.Number, p.Protocol)
		}
		seen[p] = true
	}
	return nil
}

// Sorted returns a copy of l with its ports by number, then protocol: the
// order in which drivers list them.
func (l Link) Sorted() Link {
	l.Ports = slices.Clone(l.Ports)
	slices.SortFunc(l.Ports, func(a, b Port) int {
		return cmp.Or(cmp.Compare(a.Number, b.Number), cmp.Compare(a.Protocol, b.Protocol))
	})
	return l
}
