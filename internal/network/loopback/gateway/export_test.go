package gateway

import "net/netip"

// MayReach returns an error unless the VM may connect to a.
func (g *Gateway) MayReach(a netip.Addr) error { return g.out.check(a) }

// TCPIn returns how many connections of clients are made or open.
func (g *Gateway) TCPIn() int64 { return g.tcpIn.held.Load() }
