package gateway

import (
	"context"
	"errors"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/link/ethernet"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

const (
	nic       = tcpip.NICID(1)
	mtu       = 1500
	queued    = 512 // frames that wait for the VM; more are dropped, as by a real card
	dialing   = 256 // outgoing connections of the VM that are being made
	tcpBuffer = 256 << 10
	timeWait  = 5 * time.Second
)

// hardware is the gateway's MAC, locally administered. It can be the same for
// all VMs: they never share a cable.
const hardware = tcpip.LinkAddress("\x02\x63\x70\x75\x00\x01")

// buildStack makes the TCP/IP stack: one card with the gateway's address that
// takes packets for every address (promiscuous) and answers as every address
// (spoofing), because it stands for the whole world.
func (g *Gateway) buildStack(ctx context.Context) error {
	s := stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, arp.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4},
	})
	cable := channel.New(queued, mtu+header.EthernetMinimumSize, hardware)
	// What the VM sends comes through memory: nothing can have damaged it.
	cable.LinkEPCapabilities = stack.CapabilityRXChecksumOffload
	guest := toTCPIP(Guest)
	subnet := tcpip.AddressWithPrefix{Address: toTCPIP(Address), PrefixLen: Subnet.Bits()}
	for _, step := range []func() tcpip.Error{
		func() tcpip.Error { return limitTCP(s) },
		func() tcpip.Error { return s.CreateNIC(nic, ethernet.New(cable)) },
		func() tcpip.Error {
			return s.AddProtocolAddress(nic, tcpip.ProtocolAddress{Protocol: ipv4.ProtocolNumber, AddressWithPrefix: subnet}, stack.AddressProperties{})
		},
		func() tcpip.Error { return s.SetPromiscuousMode(nic, true) },
		func() tcpip.Error { return s.SetSpoofing(nic, true) },
		func() tcpip.Error {
			// Where the VM is doesn't have to be asked, so it can't be lied about.
			return s.AddStaticNeighbor(nic, ipv4.ProtocolNumber, guest, tcpip.LinkAddress(g.mac))
		},
	} {
		if err := step(); err != nil {
			s.Close()
			return errors.New(err.String())
		}
	}
	s.SetRouteTable([]tcpip.Route{{Destination: subnet.Subnet(), NIC: nic}})
	out := tcp.NewForwarder(s, 0, dialing, func(r *tcp.ForwarderRequest) { g.letOut(ctx, r) })
	s.SetTransportProtocolHandler(tcp.ProtocolNumber, out.HandlePacket)
	s.SetTransportProtocolHandler(udp.ProtocolNumber, func(id stack.TransportEndpointID, p *stack.PacketBuffer) bool {
		return g.datagrams.fromGuest(ctx, id, p)
	})
	g.stack, g.cable = s, cable
	return nil
}

// limitTCP bounds what one connection can make the host hold. The VM is
// microseconds away, so that short buffers don't cost throughput.
func limitTCP(s *stack.Stack) tcpip.Error {
	receive := tcpip.TCPReceiveBufferSizeRangeOption{Min: 4 << 10, Default: 64 << 10, Max: tcpBuffer}
	send := tcpip.TCPSendBufferSizeRangeOption{Min: 4 << 10, Default: 64 << 10, Max: tcpBuffer}
	wait := tcpip.TCPTimeWaitTimeoutOption(timeWait)
	sack := tcpip.TCPSACKEnabled(true)
	for _, o := range []tcpip.SettableTransportProtocolOption{&receive, &send, &wait, &sack} {
		if err := s.SetTransportProtocolOption(tcp.ProtocolNumber, o); err != nil {
			return err
		}
	}
	return nil
}
