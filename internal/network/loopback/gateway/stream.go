package gateway

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

const (
	connectTime = 10 * time.Second // to make a connection, either way
	probeAfter  = time.Minute      // of silence: a VM that was reset answers with a reset
	copyBytes   = 32 << 10
)

// copies are the buffers that streams copy through.
var copies = sync.Pool{New: func() any { b := make([]byte, copyBytes); return &b }}

// side is one end of a stream.
type side interface {
	io.ReadWriter
	CloseWrite() error
	Close() error
	abort() // ends it with a reset
}

type hostSide struct{ *net.TCPConn }

func (h hostSide) abort() {
	_ = h.SetLinger(0) // fails only when it is closed already, as Close does
	_ = h.Close()
}

type guestSide struct {
	*gonet.TCPConn
	end tcpip.Endpoint
}

func newGuestSide(wq *waiter.Queue, end tcpip.Endpoint) guestSide {
	end.SocketOptions().SetKeepAlive(true)
	idle := tcpip.KeepaliveIdleOption(probeAfter)
	_ = end.SetSockOpt(&idle) // known to every TCP endpoint
	return guestSide{gonet.NewTCPConn(wq, end), end}
}

func (g guestSide) abort() {
	g.end.Abort()
	g.end.Close()
}

// stream is a connection between the VM and somebody.
type stream struct {
	guest, host side
	door        uint16 // the open port that it came in through; 0 for one that the VM began
}

func (s *stream) abort() {
	s.guest.abort()
	s.host.abort()
}

// join copies between both sides until each has ended. The end of one
// direction is passed on while the other still flows; an error is passed on as
// a reset.
func (g *Gateway) join(guest, host side, door uint16) {
	s := &stream{guest: guest, host: host, door: door}
	g.mu.Lock()
	if g.plug == nil { // the VM went while the connection was made
		g.mu.Unlock()
		s.abort()
		return
	}
	g.streams[s] = struct{}{}
	g.mu.Unlock()

	done := make(chan struct{})
	go func() {
		defer close(done)
		s.pump(guest, host)
	}()
	s.pump(host, guest)
	<-done

	g.mu.Lock()
	delete(g.streams, s)
	g.mu.Unlock()
	_ = guest.Close() // both directions have ended
	_ = host.Close()
}

func (s *stream) pump(to, from side) {
	b := copies.Get().(*[]byte)
	defer copies.Put(b)
	// Without their own ReadFrom and WriteTo, which bring a buffer of their own.
	_, err := io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, *b)
	if err == nil {
		err = to.CloseWrite()
	}
	if err != nil {
		s.abort()
	}
}

// dialGuest connects to a port of the VM, as the gateway.
func (g *Gateway) dialGuest(ctx context.Context, port uint16) (guestSide, error) {
	if !g.plugged() {
		return guestSide{}, errors.New("no VM is plugged in")
	}
	var wq waiter.Queue
	end, terr := g.stack.NewEndpoint(tcp.ProtocolNumber, ipv4.ProtocolNumber, &wq)
	if terr != nil {
		return guestSide{}, errors.New(terr.String())
	}
	entry, ready := waiter.NewChannelEntry(waiter.WritableEvents | waiter.EventErr | waiter.EventHUp)
	wq.EventRegister(&entry)
	defer wq.EventUnregister(&entry)

	terr = end.Connect(tcpip.FullAddress{NIC: nic, Addr: toTCPIP(Guest), Port: port})
	if _, started := terr.(*tcpip.ErrConnectStarted); started {
		select {
		case <-ctx.Done():
			end.Close()
			return guestSide{}, ctx.Err()
		case <-ready:
		}
		terr = end.LastError()
	}
	if terr != nil {
		end.Close()
		return guestSide{}, errors.New(terr.String())
	}
	return newGuestSide(&wq, end), nil
}

// letOut makes an outgoing connection of the VM, or refuses it.
func (g *Gateway) letOut(ctx context.Context, r *tcp.ForwarderRequest) {
	if !g.tcpOut.take() {
		r.Complete(true)
		return
	}
	defer g.tcpOut.give()
	host, err := g.dialHost(ctx, r)
	if err != nil {
		r.Complete(true)
		return
	}
	var wq waiter.Queue
	end, terr := r.CreateEndpoint(&wq)
	r.Complete(false)
	if terr != nil {
		hostSide{host}.abort()
		return
	}
	g.join(newGuestSide(&wq, end), hostSide{host}, 0)
}

func (g *Gateway) dialHost(ctx context.Context, r *tcp.ForwarderRequest) (*net.TCPConn, error) {
	d := net.Dialer{Timeout: connectTime}
	to, ok := g.destination(&d, fromTCPIP(r.ID().LocalAddress), r.ID().LocalPort)
	if !ok {
		return nil, errors.New("the gateway has no such service")
	}
	conn, err := d.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}
