package gateway_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"github.com/cpucloud/cpucloud/internal/network/loopback/gateway"
	"github.com/cpucloud/cpucloud/internal/network/loopback/gateway/gatewaytest"
)

func hardware(t *testing.T, text string) net.HardwareAddr {
	t.Helper()
	m, err := net.ParseMAC(text)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func ethernet(src net.HardwareAddr, kind tcpip.NetworkProtocolNumber, payload []byte) []byte {
	frame := make([]byte, header.EthernetMinimumSize, header.EthernetMinimumSize+len(payload))
	header.Ethernet(frame).Encode(&header.EthernetFields{SrcAddr: tcpip.LinkAddress(src), DstAddr: header.EthernetBroadcastAddress, Type: kind})
	return append(frame, payload...)
}

func ipv4(src, dst string, protocol tcpip.TransportProtocolNumber, payload []byte) []byte {
	packet := make([]byte, header.IPv4MinimumSize, header.IPv4MinimumSize+len(payload))
	h := header.IPv4(packet)
	h.Encode(&header.IPv4Fields{
		TotalLength: uint16(header.IPv4MinimumSize + len(payload)), TTL: 64, Protocol: uint8(protocol),
		SrcAddr: tcpip.AddrFromSlice(net.ParseIP(src).To4()), DstAddr: tcpip.AddrFromSlice(net.ParseIP(dst).To4()),
	})
	h.SetChecksum(^h.CalculateChecksum())
	return append(packet, payload...)
}

func datagram(from, to uint16, payload []byte) []byte {
	d := make([]byte, header.UDPMinimumSize, header.UDPMinimumSize+len(payload))
	header.UDP(d).Encode(&header.UDPFields{SrcPort: from, DstPort: to, Length: uint16(cap(d))})
	return append(d, payload...)
}

func arpRequest(mac net.HardwareAddr, src, target string) []byte {
	packet := make([]byte, header.ARPSize)
	h := header.ARP(packet)
	h.SetIPv4OverEthernet()
	h.SetOp(header.ARPRequest)
	copy(h.HardwareAddressSender(), mac)
	copy(h.ProtocolAddressSender(), net.ParseIP(src).To4())
	copy(h.ProtocolAddressTarget(), net.ParseIP(target).To4())
	return packet
}

func ping() []byte {
	b := make([]byte, header.ICMPv4MinimumSize)
	h := header.ICMPv4(b)
	h.SetType(header.ICMPv4Echo)
	h.SetChecksum(^checksum.Checksum(b, 0))
	return b
}

func TestOnlyHonestFramesAreAnswered(t *testing.T) {
	t.Parallel()
	own, foreign := hardware(t, mac), hardware(t, "52:54:00:00:02:99")
	const guest, gate, world = "192.168.127.2", "192.168.127.1", "93.184.216.34"
	for name, test := range map[string]struct {
		frame    []byte
		answered bool
	}{
		"ARP for the gateway":          {ethernet(own, header.ARPProtocolNumber, arpRequest(own, guest, gate)), true},
		"ARP before the address":       {ethernet(own, header.ARPProtocolNumber, arpRequest(own, "0.0.0.0", gate)), true},
		"ARP for the own address":      {ethernet(own, header.ARPProtocolNumber, arpRequest(own, "0.0.0.0", guest)), false},
		"ARP for the world":            {ethernet(own, header.ARPProtocolNumber, arpRequest(own, guest, world)), false},
		"ARP with another MAC inside":  {ethernet(own, header.ARPProtocolNumber, arpRequest(foreign, guest, gate)), false},
		"ARP of another address":       {ethernet(own, header.ARPProtocolNumber, arpRequest(own, "192.168.127.9", gate)), false},
		"ARP from another MAC":         {ethernet(foreign, header.ARPProtocolNumber, arpRequest(own, guest, gate)), false},
		"ping of the gateway":          {ethernet(own, header.IPv4ProtocolNumber, ipv4(guest, gate, header.ICMPv4ProtocolNumber, ping())), true},
		"ping of the world":            {ethernet(own, header.IPv4ProtocolNumber, ipv4(guest, world, header.ICMPv4ProtocolNumber, ping())), false},
		"ping of another address":      {ethernet(own, header.IPv4ProtocolNumber, ipv4("192.168.127.9", gate, header.ICMPv4ProtocolNumber, ping())), false},
		"ping from loopback":           {ethernet(own, header.IPv4ProtocolNumber, ipv4("127.0.0.1", gate, header.ICMPv4ProtocolNumber, ping())), false},
		"ping from another MAC":        {ethernet(foreign, header.IPv4ProtocolNumber, ipv4(guest, gate, header.ICMPv4ProtocolNumber, ping())), false},
		"datagram to a closed network": {ethernet(own, header.IPv4ProtocolNumber, ipv4(guest, "10.0.0.1", header.UDPProtocolNumber, datagram(4000, 5000, nil))), true}, // as unreachable
		"IPv6":                         {ethernet(own, header.IPv6ProtocolNumber, make([]byte, 60)), false},
		"a short frame":                {own, false},
		"an empty frame":               {nil, false},
		"a cut off packet":             {ethernet(own, header.IPv4ProtocolNumber, []byte{0x45}), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := gatewaytest.Conn(t, plug(t, newGateway(t, gateway.Config{})))
			if err := gatewaytest.WriteFrame(conn, test.frame); err != nil {
				t.Fatal(err)
			}
			// What is asked last is answered in any case: the first answer tells.
			last := ethernet(own, header.ARPProtocolNumber, arpRequest(own, guest, gate))
			for range 2 {
				if err := gatewaytest.WriteFrame(conn, last); err != nil {
					t.Fatal(err)
				}
			}
			_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
			answers := 0
			for range 2 {
				if _, err := gatewaytest.ReadFrame(conn); err != nil {
					t.Fatal(err)
				}
				answers++
			}
			_ = conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
			_, err := gatewaytest.ReadFrame(conn)
			if answered := err == nil; answered != test.answered {
				t.Errorf("answered = %v, want %v", answered, test.answered)
			}
		})
	}
}

func TestStreamOutOfStepIsClosed(t *testing.T) {
	t.Parallel()
	conn := gatewaytest.Conn(t, plug(t, newGateway(t, gateway.Config{})))
	if _, err := conn.Write([]byte{0xff, 0xff, 0xff, 0xff}); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := gatewaytest.ReadFrame(conn); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("a frame of 4 GiB is waited for, want the plug closed")
	}
}

func TestDHCPGivesTheOneAddress(t *testing.T) {
	t.Parallel()
	own := hardware(t, mac)
	conn := gatewaytest.Conn(t, plug(t, newGateway(t, gateway.Config{})))
	ask := func(m *dhcpv4.DHCPv4, err error) *dhcpv4.DHCPv4 {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		packet := ipv4("0.0.0.0", "255.255.255.255", header.UDPProtocolNumber, datagram(68, 67, m.ToBytes()))
		if err := gatewaytest.WriteFrame(conn, ethernet(own, header.IPv4ProtocolNumber, packet)); err != nil {
			t.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		frame, err := gatewaytest.ReadFrame(conn)
		if err != nil {
			t.Fatal(err)
		}
		to := header.Ethernet(frame).DestinationAddress()
		if to != tcpip.LinkAddress(own) && to != header.EthernetBroadcastAddress {
			t.Errorf("the answer goes to %v", to)
		}
		answer, err := dhcpv4.FromBytes(frame[header.EthernetMinimumSize+header.IPv4MinimumSize+header.UDPMinimumSize:])
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	offer := ask(dhcpv4.NewDiscovery(own))
	ack := ask(dhcpv4.NewRequestFromOffer(offer))
	if offer.MessageType() != dhcpv4.MessageTypeOffer || ack.MessageType() != dhcpv4.MessageTypeAck {
		t.Errorf("got %v and %v, want an offer and an acknowledgement", offer.MessageType(), ack.MessageType())
	}
	for _, m := range []*dhcpv4.DHCPv4{offer, ack} {
		if m.YourIPAddr.String() != "192.168.127.2" || m.SubnetMask().String() != "ffffff00" ||
			m.Router()[0].String() != "192.168.127.1" || m.DNS()[0].String() != "192.168.127.1" {
			t.Errorf("got %s", m.Summary())
		}
	}
	other := ask(dhcpv4.NewDiscovery(own, dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest),
		dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.IPv4(10, 0, 2, 15)))))
	if other.MessageType() != dhcpv4.MessageTypeNak {
		t.Errorf("a request for another address got %v, want a refusal", other.MessageType())
	}
}

// arrivals tells "tcp" and "udp" of what comes to a port of this host.
func arrivals(t *testing.T, a netip.Addr) (netip.AddrPort, <-chan string) {
	t.Helper()
	ln, err := net.Listen("tcp", netip.AddrPortFrom(a, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	pc, err := net.ListenPacket("udp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pc.Close() })
	came := make(chan string, 2)
	go func() {
		if conn, err := ln.Accept(); err == nil {
			came <- "tcp"
			_ = conn.Close()
		}
	}()
	go func() {
		if _, _, err := pc.ReadFrom(make([]byte, 10)); err == nil {
			came <- "udp"
		}
	}()
	return netip.MustParseAddrPort(ln.Addr().String()), came
}

// knocks are the frames by which a VM opens a connection and sends a datagram,
// whatever its own TCP/IP thinks of the address.
func knocks(from net.HardwareAddr, to netip.AddrPort) [][]byte {
	syn := make([]byte, header.TCPMinimumSize)
	header.TCP(syn).Encode(&header.TCPFields{
		SrcPort: 4000, DstPort: to.Port(), SeqNum: 1, DataOffset: header.TCPMinimumSize, Flags: header.TCPFlagSyn, WindowSize: 65535,
	})
	var frames [][]byte
	for protocol, payload := range map[tcpip.TransportProtocolNumber][]byte{
		header.TCPProtocolNumber: syn, header.UDPProtocolNumber: datagram(4000, to.Port(), []byte("hello")),
	} {
		frame := ethernet(from, header.IPv4ProtocolNumber, ipv4("192.168.127.2", to.Addr().String(), protocol, payload))
		copy(frame, "\x02\x63\x70\x75\x00\x01") // to the gateway
		frames = append(frames, frame)
	}
	return frames
}

// Frames of a VM whose system has no scruples reach no address of its host. Those
// that are allowed do, so they are well made.
func TestFramesReachNothingOfTheHost(t *testing.T) {
	t.Parallel()
	for _, a := range append(ownAddresses(t), netip.MustParseAddr("127.0.0.1"), address(), gateway.Address) {
		t.Run(a.String(), func(t *testing.T) {
			t.Parallel()
			g := newGateway(t, gateway.Config{})
			conn := gatewaytest.Conn(t, plug(t, g))
			at := a
			if a == gateway.Address { // the gateway's is not the host's own: it could be taken for its loopback
				at = netip.MustParseAddr("127.0.0.1")
			}
			to, came := arrivals(t, at)
			knock := func() {
				for _, frame := range knocks(hardware(t, mac), netip.AddrPortFrom(a, to.Port())) {
					if err := gatewaytest.WriteFrame(conn, frame); err != nil {
						t.Fatal(err)
					}
				}
			}
			knock()
			select {
			case what := <-came:
				t.Errorf("%s of a VM comes to %v of its host", what, to)
			case <-time.After(300 * time.Millisecond):
			}
			if a.IsLoopback() || a == gateway.Address { // no setting opens them to frames
				return
			}
			g.Allow([]netip.Prefix{netip.PrefixFrom(a, a.BitLen())})
			knock()
			for range 2 {
				select {
				case <-came:
				case <-time.After(20 * time.Second):
					t.Fatal("what is allowed doesn't come")
				}
			}
		})
	}
}
