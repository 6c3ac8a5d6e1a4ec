package gateway

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"net"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

const (
	readAhead = 32 << 10 // bytes of frames read at once
	batch     = 32 << 10 // bytes of frames written at once
	maxFrame  = 64 << 10 // a longer one is not a frame: the stream is out of step
)

// plug is the connection to one run of the VM.
type plug struct {
	conn   net.Conn
	cancel context.CancelFunc
}

func (p *plug) pull() {
	p.cancel()
	_ = p.conn.Close() // only ends the loops that use it
}

// Plug puts the VM at the other end of conn on the cable, in the place of one
// that was there; the connections of that one are cut. Frames on conn are as
// QEMU's stream network sends them: behind their length, 32 bits big endian.
func (g *Gateway) Plug(ctx context.Context, conn net.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	p := &plug{conn: conn, cancel: cancel}
	g.mu.Lock()
	old := g.plug
	g.plug = p
	g.mu.Unlock()
	if old != nil {
		old.pull()
		g.cut()
	}
	g.cable.Drain()
	go func() {
		g.send(ctx, conn)
		p.pull()
	}()
	go func() {
		g.receive(conn)
		g.gone(p)
	}()
}

// gone cuts the connections of a VM that has ended, unless another has taken
// its place already.
func (g *Gateway) gone(p *plug) {
	p.pull()
	g.mu.Lock()
	current := g.plug == p
	if current {
		g.plug = nil
	}
	g.mu.Unlock()
	if current {
		g.cut()
		g.cable.Drain()
	}
}

// send writes frames to the VM, as many at once as are there.
func (g *Gateway) send(ctx context.Context, conn net.Conn) {
	frames := make([]byte, 0, batch+maxFrame)
	for {
		p := g.cable.ReadContext(ctx)
		if p == nil {
			return
		}
		frames = frames[:0]
		for p != nil {
			g.meter.in.add(p.Size())
			frames = binary.BigEndian.AppendUint32(frames, uint32(p.Size()))
			for _, s := range p.AsSlices() {
				frames = append(frames, s...)
			}
			p.DecRef()
			if len(frames) >= batch {
				break
			}
			p = g.cable.Read()
		}
		if _, err := conn.Write(frames); err != nil {
			return
		}
	}
}

// receive reads frames from the VM until its end closes or stops making sense.
func (g *Gateway) receive(conn net.Conn) {
	r := bufio.NewReaderSize(conn, readAhead)
	var length [4]byte
	for {
		if _, err := io.ReadFull(r, length[:]); err != nil {
			return
		}
		n := binary.BigEndian.Uint32(length[:])
		if n > maxFrame {
			return
		}
		frame := buffer.NewViewSize(int(n))
		if _, err := io.ReadFull(r, frame.AsSlice()); err != nil {
			frame.Release()
			return
		}
		g.meter.out.add(int(n))
		if !g.honest(frame.AsSlice()) {
			frame.Release()
			continue
		}
		p := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithView(frame)})
		g.cable.InjectInbound(0, p) // the protocol is in the Ethernet header
		p.DecRef()
	}
}

// honest reports whether a frame may come from this VM: IPv4 or ARP, sent from
// the MAC and the address that it was given. Everything else is dropped.
func (g *Gateway) honest(frame []byte) bool {
	if len(frame) < header.EthernetMinimumSize {
		return false
	}
	eth := header.Ethernet(frame)
	if string(eth.SourceAddress()) != string(g.mac) {
		return false
	}
	switch eth.Type() {
	case header.IPv4ProtocolNumber:
		return honestIPv4(frame[header.EthernetMinimumSize:])
	case header.ARPProtocolNumber:
		return honestARP(frame[header.EthernetMinimumSize:], g.mac)
	default:
		return false
	}
}

func honestIPv4(packet []byte) bool {
	if len(packet) < header.IPv4MinimumSize {
		return false
	}
	ip := header.IPv4(packet)
	src, dst := fromTCPIP(ip.SourceAddress()), fromTCPIP(ip.DestinationAddress())
	if src.IsUnspecified() { // it may ask for an address before it has one
		return dst == broadcast && ip.TransportProtocol() == header.UDPProtocolNumber
	}
	if src != Guest {
		return false
	}
	// The stack would answer pings for the whole world, as if all of it were here.
	return ip.TransportProtocol() != header.ICMPv4ProtocolNumber || dst == Address
}

// honestARP lets through only questions for the gateway: the stack would
// answer for every address, also when the VM asks whether its own is free.
func honestARP(packet []byte, mac net.HardwareAddr) bool {
	arp := header.ARP(packet)
	return arp.IsValid() &&
		string(arp.HardwareAddressSender()) == string(mac) &&
		(string(arp.ProtocolAddressSender()) == string(Guest.AsSlice()) || string(arp.ProtocolAddressSender()) == "\x00\x00\x00\x00") &&
		string(arp.ProtocolAddressTarget()) == string(Address.AsSlice())
}
