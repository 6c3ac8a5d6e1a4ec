package gateway

import (
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

const (
	// leaseTime is long: the address never changes.
	leaseTime = 24 * time.Hour

	dhcpClientPort = 68
)

// lease answers a DHCP request of the VM, whatever it asks for, with the one
// address that it can have.
func (g *Gateway) lease(request []byte) {
	q, err := dhcpv4.FromBytes(request)
	if err != nil || q.OpCode != dhcpv4.OpcodeBootRequest || q.ClientHWAddr.String() != g.mac.String() {
		return
	}
	kind, ok := answerTo(q)
	if !ok {
		return
	}
	a, err := dhcpv4.NewReplyFromRequest(q, dhcpv4.WithMessageType(kind), dhcpv4.WithServerIP(net.IPv4zero),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(Address.AsSlice())))
	if err != nil {
		return
	}
	to := Guest
	if kind == dhcpv4.MessageTypeNak || q.IsBroadcast() {
		to = broadcast
	}
	if kind != dhcpv4.MessageTypeNak {
		a.YourIPAddr = Guest.AsSlice()
		a.UpdateOption(dhcpv4.OptIPAddressLeaseTime(leaseTime))
		a.UpdateOption(dhcpv4.OptSubnetMask(net.CIDRMask(Subnet.Bits(), 32)))
		a.UpdateOption(dhcpv4.OptRouter(Address.AsSlice()))
		a.UpdateOption(dhcpv4.OptDNS(Address.AsSlice()))
	}
	g.toGuest(netip.AddrPortFrom(Address, dhcpPort), to, dhcpClientPort, a.ToBytes())
}

// answerTo returns the kind of answer to q; some questions get none.
func answerTo(q *dhcpv4.DHCPv4) (kind dhcpv4.MessageType, ok bool) {
	server := q.ServerIdentifier()
	switch kind := q.MessageType(); {
	case kind == dhcpv4.MessageTypeDiscover:
		return dhcpv4.MessageTypeOffer, true
	case kind != dhcpv4.MessageTypeRequest:
		return 0, false
	case server != nil && !server.Equal(Address.AsSlice()):
		return 0, false // it took the offer of another server
	case asksForOther(q):
		return dhcpv4.MessageTypeNak, true
	default:
		return dhcpv4.MessageTypeAck, true
	}
}

// asksForOther reports whether a VM wants to keep an address of another life:
// its disk may have run elsewhere.
func asksForOther(q *dhcpv4.DHCPv4) bool {
	if ip := q.RequestedIPAddress(); ip != nil && !ip.IsUnspecified() {
		return !ip.Equal(Guest.AsSlice())
	}
	return !q.ClientIPAddr.IsUnspecified() && !q.ClientIPAddr.Equal(Guest.AsSlice())
}
