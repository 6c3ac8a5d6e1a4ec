// Package gateway is the network of one VM, in user space: the router at the
// other end of the VM's cable. It answers DHCP, lets the VM reach the public
// internet and nothing near the host, and lets the world reach the VM through
// its open ports.
//
// Every VM has a gateway with a TCP/IP stack of its own, so no frame of one VM
// can ever come to another. It is built on gVisor's stack directly and not on
// the ready-made virtual network of gvisor-tap-vsock: that one has no place to
// check outgoing connections, doesn't bound what a guest can make it hold
// (frame length, flows, lookups), and logs what guests send.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/cpucloud/cpucloud/internal/network"
)

// The network inside is the same for every VM.
var (
	// Subnet is where the VM and its gateway are.
	Subnet = netip.MustParsePrefix("192.168.127.0/24")
	// Address is the gateway's: router, DHCP and DNS server of the VM.
	Address = netip.MustParseAddr("192.168.127.1")
	// Guest is the VM's own.
	Guest = netip.MustParseAddr("192.168.127.2")
)

// What one VM may hold open at the same time.
const (
	maxTCPIn  = 512
	maxTCPOut = 512
	maxUDP    = 256 // each way; the flow that was silent longest makes room
)

// Config says what a gateway is for.
type Config struct {
	Public netip.Addr       // where the open ports answer
	MAC    net.HardwareAddr // of the VM's card; other senders are ignored
	Quota  *Quota           // what all gateways of the process may hold open
	Names  *Names           // the host's name servers
	Now    func() time.Time
}

// Gateway is one VM's network. Its methods may be called at the same time.
type Gateway struct {
	public netip.Addr
	mac    net.HardwareAddr
	names  *Names
	now    func() time.Time

	stack     *stack.Stack
	cable     *channel.Endpoint // frames on their way to the VM
	out       *filter
	tcpIn     *Quota
	tcpOut    *Quota
	datagrams *datagrams
	meter     meter

	mu      sync.Mutex
	doors   map[network.Port]io.Closer
	streams map[*stream]struct{}
	plug    *plug // nil while no VM is plugged in
}

// New returns a gateway without open ports and without a VM. It ends with
// Close; ctx cuts its outgoing connections before that.
func New(ctx context.Context, c Config) (*Gateway, error) {
	g := &Gateway{
		public:  c.Public,
		mac:     c.MAC,
		names:   c.Names,
		now:     c.Now,
		out:     newFilter(),
		tcpIn:   NewQuota(maxTCPIn, c.Quota),
		tcpOut:  NewQuota(maxTCPOut, c.Quota),
		doors:   make(map[network.Port]io.Closer),
		streams: make(map[*stream]struct{}),
	}
	g.datagrams = newDatagrams(g, c.Quota)
	if err := g.buildStack(ctx); err != nil {
		return nil, fmt.Errorf("network stack: %w", err)
	}
	return g, nil
}

// Allow sets the networks that the VM may reach although they are private.
// Connections that exist stay.
func (g *Gateway) Allow(nets []netip.Prefix) { g.out.allow(nets) }

// SetPorts makes exactly these ports open, until they are closed; when ctx is
// done they let nobody in. Connections through ports that stay
// open, and TCP connections through ports that are closed, are left alone.
// When a port can't be opened nothing changes.
func (g *Gateway) SetPorts(ctx context.Context, ports []network.Port) error {
	g.mu.Lock()
	defer g.mu.Unlock()

	wanted := make(map[network.Port]bool, len(ports))
	opened := make(map[network.Port]io.Closer)
	for _, p := range ports {
		wanted[p] = true
		if _, ok := g.doors[p]; ok {
			continue
		}
		door, err := g.open(ctx, p)
		if err != nil {
			for _, d := range opened {
				err = errors.Join(err, d.Close())
			}
			return err
		}
		opened[p] = door
	}
	var err error
	for p, d := range g.doors {
		if !wanted[p] {
			err = errors.Join(err, d.Close())
			delete(g.doors, p)
		}
	}
	maps.Copy(g.doors, opened)
	return err
}

// Close closes the ports, cuts all connections and ends the VM's cable.
func (g *Gateway) Close() {
	g.mu.Lock()
	for p, d := range g.doors {
		_ = d.Close() // a listener: there is nothing to lose
		delete(g.doors, p)
	}
	if g.plug != nil {
		g.plug.pull()
		g.plug = nil
	}
	g.mu.Unlock()

	g.cut()
	g.cable.Close()
	g.stack.Close()
}

// Cut ends the TCP connections that came in through ports which are closed by
// now. Clients of a UDP port are forgotten when it is closed.
func (g *Gateway) Cut() {
	g.mu.Lock()
	var closed []*stream
	for s := range g.streams {
		if s.door != 0 && g.doors[network.Port{Number: s.door, Protocol: "tcp"}] == nil {
			closed = append(closed, s)
			delete(g.streams, s)
		}
	}
	g.mu.Unlock()

	for _, s := range closed {
		s.abort()
	}
}

// cut ends all connections, as when the VM at their end has gone.
func (g *Gateway) cut() {
	g.mu.Lock()
	streams := g.streams
	g.streams = make(map[*stream]struct{})
	g.mu.Unlock()

	for s := range streams {
		s.abort()
	}
	g.datagrams.cut()
}

func (g *Gateway) plugged() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.plug != nil
}

func toTCPIP(a netip.Addr) tcpip.Address { return tcpip.AddrFromSlice(a.AsSlice()) }

func fromTCPIP(a tcpip.Address) netip.Addr {
	addr, _ := netip.AddrFromSlice(a.AsSlice()) // invalid for an empty one, which no check lets pass
	return addr
}
