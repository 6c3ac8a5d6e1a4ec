// Package gatewaytest has the smallest possible VM for tests of networks: a
// TCP/IP stack and no computer around it.
package gatewaytest

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/link/ethernet"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

const nic = tcpip.NICID(1)

// VM is a VM without a computer.
type VM struct {
	tb    testing.TB
	stack *stack.Stack
}

// Conn opens the VM's end of a cable, which it takes over, as a connection.
func Conn(tb testing.TB, plug *os.File) net.Conn {
	tb.Helper()
	conn, err := net.FileConn(plug)
	if err != nil {
		tb.Fatal(err)
	}
	if err := plug.Close(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close() })
	return conn
}

// Boot plugs a VM in whose card has the MAC mac and the address a, with a
// default route to the gateway. What it does first is done before anybody reaches
// it. It is switched off at the end of the test.
func Boot(tb testing.TB, plug *os.File, mac string, a netip.Prefix, gateway netip.Addr, first ...func(*VM)) *VM {
	tb.Helper()
	hardware, err := net.ParseMAC(mac)
	if err != nil {
		tb.Fatal(err)
	}
	s := stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, arp.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4},
	})
	cable := channel.New(4096, 1514, tcpip.LinkAddress(hardware))
	if err := s.CreateNIC(nic, ethernet.New(cable)); err != nil {
		tb.Fatal(err)
	}
	address := tcpip.ProtocolAddress{
		Protocol:          ipv4.ProtocolNumber,
		AddressWithPrefix: tcpip.AddressWithPrefix{Address: tcpip.AddrFromSlice(a.Addr().AsSlice()), PrefixLen: a.Bits()},
	}
	if err := s.AddProtocolAddress(nic, address, stack.AddressProperties{}); err != nil {
		tb.Fatal(err)
	}
	s.SetRouteTable([]tcpip.Route{
		{Destination: address.AddressWithPrefix.Subnet(), NIC: nic},
		{Destination: tcpip.AddressWithPrefix{Address: tcpip.AddrFrom4([4]byte{})}.Subnet(), Gateway: tcpip.AddrFromSlice(gateway.AsSlice()), NIC: nic},
	})
	vm := &VM{tb: tb, stack: s}
	for _, do := range first {
		do(vm)
	}
	conn := Conn(tb, plug)
	go send(tb.Context(), cable, conn)
	go receive(cable, conn)
	tb.Cleanup(func() {
		_ = conn.Close()
		s.Close()
	})
	return vm
}

func send(ctx context.Context, cable *channel.Endpoint, conn net.Conn) {
	for p := cable.ReadContext(ctx); p != nil; p = cable.ReadContext(ctx) {
		frame := binary.BigEndian.AppendUint32(nil, uint32(p.Size()))
		for _, s := range p.AsSlices() {
			frame = append(frame, s...)
		}
		p.DecRef()
		if _, err := conn.Write(frame); err != nil {
			return
		}
	}
}

func receive(cable *channel.Endpoint, conn net.Conn) {
	r := bufio.NewReaderSize(conn, 64<<10)
	for {
		frame, err := ReadFrame(r)
		if err != nil {
			return
		}
		p := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(frame)})
		cable.InjectInbound(0, p)
		p.DecRef()
	}
}

// ReadFrame reads one frame of a cable.
func ReadFrame(r io.Reader) ([]byte, error) {
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	frame := make([]byte, binary.BigEndian.Uint32(length[:]))
	_, err := io.ReadFull(r, frame)
	return frame, err
}

// WriteFrame writes one frame to a cable.
func WriteFrame(w io.Writer, frame []byte) error {
	_, err := w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...))
	return err
}

// ServeTCP has serve called for every connection to a port of the VM, and
// closes the connection after it.
func (v *VM) ServeTCP(port uint16, serve func(*gonet.TCPConn)) {
	v.tb.Helper()
	ln, err := gonet.ListenTCP(v.stack, tcpip.FullAddress{NIC: nic, Port: port}, ipv4.ProtocolNumber)
	if err != nil {
		v.tb.Fatal(err)
	}
	v.tb.Cleanup(ln.Shutdown)
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				serve(conn.(*gonet.TCPConn))
				_ = conn.Close()
			}()
		}
	}()
}

// Echo sends back everything on a TCP and UDP port of the VM, after name.
func (v *VM) Echo(port uint16, name string) {
	v.tb.Helper()
	v.ServeTCP(port, func(c *gonet.TCPConn) {
		_, _ = io.WriteString(c, name)
		_, _ = io.Copy(c, c)
	})
	conn, err := gonet.DialUDP(v.stack, &tcpip.FullAddress{NIC: nic, Port: port}, nil, ipv4.ProtocolNumber)
	if err != nil {
		v.tb.Fatal(err)
	}
	v.tb.Cleanup(func() { _ = conn.Close() })
	go func() {
		b := make([]byte, 64<<10)
		for {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = conn.WriteTo(append([]byte(name), b[:n]...), from)
		}
	}()
}

// DialTCP connects from the VM.
func (v *VM) DialTCP(ctx context.Context, to netip.AddrPort) (*gonet.TCPConn, error) {
	return gonet.DialContextTCP(ctx, v.stack, full(to), ipv4.ProtocolNumber)
}

// DialUDP returns a UDP connection from the VM.
func (v *VM) DialUDP(to netip.AddrPort) (*gonet.UDPConn, error) {
	remote := full(to)
	return gonet.DialUDP(v.stack, nil, &remote, ipv4.ProtocolNumber)
}

func full(a netip.AddrPort) tcpip.FullAddress {
	return tcpip.FullAddress{NIC: nic, Addr: tcpip.AddrFromSlice(a.Addr().AsSlice()), Port: a.Port()}
}
