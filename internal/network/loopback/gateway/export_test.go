package gateway

import "net/netip"

// MayReach returns an error unless the VM may connect to a.
func (g *Gateway) MayReach(a netip.Addr) error { return g.out.check(a) }
