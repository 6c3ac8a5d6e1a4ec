package gateway

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

// udpDoor is an open UDP port.
type udpDoor struct {
	d    *datagrams
	conn *net.UDPConn
	port uint16
}

func (d *datagrams) open(ctx context.Context, conn *net.UDPConn, port uint16) *udpDoor {
	door := &udpDoor{d: d, conn: conn, port: port}
	go func() {
		for !errors.Is(readDatagrams(conn, door.letIn), net.ErrClosed) {
			pause(ctx, retryAccept)
		}
	}()
	return door
}

// Close closes the port and forgets its clients.
func (u *udpDoor) Close() error {
	u.d.mu.Lock()
	defer u.d.mu.Unlock()
	for _, f := range u.d.clients {
		if f.door == u {
			u.d.forget(f)
		}
	}
	return u.conn.Close()
}

// letIn brings the VM a datagram of a client.
func (u *udpDoor) letIn(client netip.AddrPort, payload []byte) {
	if !u.d.g.plugged() {
		return
	}
	from := netip.AddrPortFrom(Address, u.d.clientPort(inKey{u, client}))
	u.d.g.toGuest(from, Guest, u.port, payload)
}

// clientPort returns the port of the gateway that stands for a client.
func (d *datagrams) clientPort(k inKey) uint16 {
	d.mu.Lock()
	defer d.mu.Unlock()

	now := d.g.now().UnixNano()
	if f := d.in[k]; f != nil {
		f.used = now
		return f.port
	}
	if len(d.in) >= maxUDP {
		d.forgetOldestIn()
	}
	for d.clients[d.next] != nil || d.next < firstClientPort {
		d.next++
	}
	f := &inFlow{inKey: k, port: d.next, used: now}
	d.next++
	d.in[k], d.clients[f.port] = f, f
	return f.port
}

// reply brings a client what the VM answers from its port. It reports whether
// there is such a client.
func (d *datagrams) reply(from, to uint16, payload []byte) bool {
	d.mu.Lock()
	defer d.mu.Unlock()

	f := d.clients[to]
	if f == nil || f.door.port != from {
		return false
	}
	now := d.g.now().UnixNano()
	if now-f.used > int64(udpIdle) {
		d.forget(f)
		return false
	}
	f.used = now
	_, _ = f.door.conn.WriteToUDPAddrPort(payload, f.client) // lost, as datagrams may be
	return true
}

func (d *datagrams) forgetOldestIn() {
	var oldest *inFlow
	for _, f := range d.in {
		if oldest == nil || f.used < oldest.used {
			oldest = f
		}
	}
	d.forget(oldest)
}

func (d *datagrams) forget(f *inFlow) {
	delete(d.in, f.inKey)
	delete(d.clients, f.port)
}

// toGuest sends the VM a datagram that seems to come from from.
func (g *Gateway) toGuest(from netip.AddrPort, to netip.Addr, port uint16, payload []byte) {
	r, err := g.stack.FindRoute(nic, toTCPIP(from.Addr()), toTCPIP(to), ipv4.ProtocolNumber, false)
	if err != nil {
		return // lost, as datagrams may be: the stack is closing
	}
	defer r.Release()
	p := stack.NewPacketBuffer(stack.PacketBufferOptions{
		ReserveHeaderBytes: header.UDPMinimumSize + int(r.MaxHeaderLength()),
		Payload:            buffer.MakeWithData(payload),
	})
	defer p.DecRef()
	p.TransportProtocolNumber = udp.ProtocolNumber
	h := header.UDP(p.TransportHeader().Push(header.UDPMinimumSize))
	length := uint16(p.Size())
	h.Encode(&header.UDPFields{SrcPort: from.Port(), DstPort: port, Length: length})
	sum := checksum.Combine(r.PseudoHeaderChecksum(udp.ProtocolNumber, length), p.Data().Checksum())
	h.SetChecksum(^h.CalculateChecksum(sum))
	_ = r.WritePacket(stack.NetworkHeaderParams{Protocol: udp.ProtocolNumber, TTL: r.DefaultTTL()}, p)
}

// scratch are the buffers that datagrams pass through on their way in.
var scratch = sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }}

// readDatagrams delivers what arrives on conn until reading fails. It takes a
// buffer only when there is something to read, so that a silent flow costs none.
func readDatagrams(conn *net.UDPConn, deliver func(from netip.AddrPort, payload []byte)) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	for {
		var failed error
		err := raw.Read(func(fd uintptr) bool {
			b := scratch.Get().(*[]byte)
			defer scratch.Put(b)
			n, from, err := unix.Recvfrom(int(fd), *b, 0)
			for err == unix.EINTR {
				n, from, err = unix.Recvfrom(int(fd), *b, 0)
			}
			if err == unix.EAGAIN {
				return false
			}
			if err != nil {
				failed = err
				return true
			}
			deliver(sender(from), (*b)[:n])
			return true
		})
		if err = errors.Join(err, failed); err != nil {
			return err
		}
	}
}

// sender is invalid for a connected socket: its sender is known.
func sender(a unix.Sockaddr) netip.AddrPort {
	if v4, ok := a.(*unix.SockaddrInet4); ok {
		return netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), uint16(v4.Port))
	}
	return netip.AddrPort{}
}
