package gateway

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

const (
	udpIdle = 60 * time.Second
	dnsIdle = 5 * time.Second // a client asks again after as long

	firstClientPort = 32768 // clients of open ports look to the VM like the gateway at ports from here
)

// datagrams passes UDP on, both ways. It keeps no buffer for a flow, and a
// goroutine only for flows that the VM began.
type datagrams struct {
	g     *Gateway
	quota *Quota

	mu      sync.Mutex
	out     map[outKey]*outFlow
	in      map[inKey]*inFlow
	clients map[uint16]*inFlow // by the gateway's port
	next    uint16             // the gateway's port to try for the next client
}

// outKey tells flows apart that the VM began.
type outKey struct {
	port uint16 // the VM's
	to   netip.AddrPort
}

type outFlow struct {
	conn     *net.UDPConn
	idle     time.Duration
	used     atomic.Int64 // nanoseconds since 1970
	answered atomic.Bool
}

// inKey tells flows apart that clients of an open port began.
type inKey struct {
	door   *udpDoor
	client netip.AddrPort
}

type inFlow struct {
	inKey
	port uint16 // the gateway's, which stands for the client
	used int64
}

func newDatagrams(g *Gateway, q *Quota) *datagrams {
	return &datagrams{
		g: g, quota: q, next: firstClientPort,
		out: make(map[outKey]*outFlow), in: make(map[inKey]*inFlow), clients: make(map[uint16]*inFlow),
	}
}

// fromGuest takes a datagram that the VM sent. It returns false to have it
// answered as unreachable.
func (d *datagrams) fromGuest(ctx context.Context, id stack.TransportEndpointID, p *stack.PacketBuffer) bool {
	to := netip.AddrPortFrom(fromTCPIP(id.LocalAddress), id.LocalPort)
	udp := header.UDP(p.TransportHeader().Slice())
	payload := p.Data().AsRange().ToSlice()
	length := int(udp.Length()) - header.UDPMinimumSize
	if length < 0 || length > len(payload) {
		return true
	}
	payload = payload[:length]
	switch {
	case to.Port() == dhcpPort && (to.Addr() == Address || to.Addr() == broadcast):
		d.g.lease(payload)
		return true
	case fromTCPIP(id.RemoteAddress) != Guest:
		return true
	case to.Addr() == Address && to.Port() != dnsPort:
		return d.reply(id.RemotePort, to.Port(), payload)
	default:
		return d.sendOut(ctx, outKey{id.RemotePort, to}, payload)
	}
}

func (d *datagrams) sendOut(ctx context.Context, k outKey, payload []byte) bool {
	d.mu.Lock()
	defer d.mu.Unlock()

	f := d.out[k]
	if f == nil {
		if f = d.begin(ctx, k); f == nil {
			return false
		}
	}
	d.touch(f)
	_, _ = f.conn.Write(payload) // lost, as datagrams may be
	return true
}

// begin makes a flow to the outside, nil when the VM may not have it.
func (d *datagrams) begin(ctx context.Context, k outKey) *outFlow {
	dialer := net.Dialer{Timeout: connectTime}
	to, ok := d.g.destination(&dialer, k.to.Addr(), k.to.Port())
	if !ok {
		return nil
	}
	if len(d.out) >= maxUDP {
		d.endOldestOut()
	}
	if !d.quota.take() {
		return nil
	}
	conn, err := dialer.DialContext(ctx, "udp", to.String())
	if err != nil {
		d.quota.give()
		return nil
	}
	f := &outFlow{conn: conn.(*net.UDPConn), idle: udpIdle}
	if k.to.Port() == dnsPort {
		f.idle = dnsIdle
	}
	d.out[k] = f
	go func() {
		defer d.quota.give()
		d.answers(k, f)
	}()
	return f
}

// answers brings the VM what comes back, until nothing did for a while.
func (d *datagrams) answers(k outKey, f *outFlow) {
	_ = readDatagrams(f.conn, func(_ netip.AddrPort, payload []byte) {
		f.answered.Store(true)
		d.touch(f)
		d.g.toGuest(k.to, Guest, k.port, payload)
	}) // ends with the flow: idle, closed, or refused by the other side
	_ = f.conn.Close()
	if k.to.Addr() == Address && !f.answered.Load() {
		d.g.names.passOver()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.out[k] == f {
		delete(d.out, k)
	}
}

func (d *datagrams) touch(f *outFlow) {
	now := d.g.now()
	f.used.Store(now.UnixNano())
	_ = f.conn.SetReadDeadline(now.Add(f.idle)) // fails only when it is closed
}

func (d *datagrams) endOldestOut() {
	var oldest outKey
	var f *outFlow
	for k, v := range d.out {
		if f == nil || v.used.Load() < f.used.Load() {
			oldest, f = k, v
		}
	}
	delete(d.out, oldest)
	_ = f.conn.Close()
}

// cut ends all flows.
func (d *datagrams) cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range d.out {
		_ = f.conn.Close()
	}
	clear(d.out)
	clear(d.in)
	clear(d.clients)
}
