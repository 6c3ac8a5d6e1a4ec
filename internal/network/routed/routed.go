// Package routed is the network driver of a server whose VMs have public
// addresses: one tap for each VM, its address as a /32 (and a /128) behind it,
// and nftables between it and everything else.
//
// What a VM sends is checked at its tap, before anything of the host has looked
// at it: its MAC, its addresses, and of ARP and neighbour discovery nothing but
// questions for its gateway. The gateway is 169.254.1.1 (and fe80::1) on every
// tap; VMs share no segment, so that no frame of one comes to another.
//
// All rules are in the tables "inet cpucloud" and "netdev cpucloud", which are
// this package's alone; other tables are never touched. A VM is some elements
// of their sets, which carry its id as a comment, and a chain at its tap. Each
// change is one transaction. Interfaces, routes and neighbours that are the
// driver's are told by their names and by the protocol number of their routes.
//
// Links outlive the agent: taps are persistent and rules stay. After a reboot
// of the host, whoever asks for the same link gets the same one.
package routed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/network"
	"github.com/cpucloud/cpucloud/internal/network/netns"
)

// Announce is how the world learns where the VMs' addresses are.
type Announce string

// The ways.
const (
	Proxy Announce = "proxy" // the host answers ARP and neighbour discovery for each address on its uplink
	Route Announce = "route" // a router sends the whole pool to the host; nothing is announced
)

// The gateway that every VM has.
var (
	gateway4 = netip.MustParseAddr("169.254.1.1")
	gateway6 = netip.MustParseAddr("fe80::1")
)

// publicDNS are asked by VMs of a host whose own name servers they can't reach:
// Cloudflare's and Quad9's.
var publicDNS = []netip.Addr{netip.MustParseAddr("1.1.1.1"), netip.MustParseAddr("9.9.9.9")}

// Config says how a Driver works.
type Config struct {
	Dir      string         // kept private to this user
	Uplink   string         // the interface to the internet
	Pool     netip.Prefix   // IPv4, a /30 or larger; its first and last address are not for VMs
	Pool6    netip.Prefix   // IPv6, at least as large as Pool; none if not set
	Announce Announce       // Proxy if ""
	SMTP     bool           // VMs may send to port 25
	Rate     int64          // bits a second that one VM may send, and receive; 0 is no limit
	Allow    []netip.Prefix // private networks that VMs may reach all the same
	DNS      []netip.Addr   // the VMs' name servers; two public ones if empty
	// Namespace is where the driver works, which doesn't close it.
	Namespace netns.Namespace
	Log       *slog.Logger // required
}

// Driver connects VMs through taps.
type Driver struct{ c Config }

var _ network.Driver = (*Driver)(nil)

// New returns a driver over the folder c.Dir, which it makes if need be. It
// changes nothing on the host. Returns an Invalid fault for a Config that can't
// work.
func New(c Config) (*Driver, error) {
	if c.Log == nil {
		return nil, errors.New("routed network: Log is required")
	}
	c.Announce = cmp.Or(c.Announce, Proxy)
	if len(c.DNS) == 0 {
		c.DNS = publicDNS
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	c.Pool, c.Pool6 = c.Pool.Masked(), c.Pool6.Masked()
	if err := os.MkdirAll(c.Dir+"/"+linksDir, 0o700); err != nil {
		return nil, fmt.Errorf("network folder: %w", err)
	}
	return &Driver{c: c}, nil
}

func (c Config) check() error {
	switch {
	case c.Uplink == "" || len(c.Uplink) > maxIfName:
		return fault.Newf(fault.Invalid, "%.20q is not the name of an interface", c.Uplink)
	case !c.Pool.IsValid() || !c.Pool.Addr().Is4() || c.Pool.Bits() > 30:
		return fault.Newf(fault.Invalid, "the pool %v is not an IPv4 prefix of /30 or larger", c.Pool)
	case c.Pool.Addr().IsLoopback():
		return fault.Newf(fault.Invalid, "the pool %v is of loopback addresses, which can't be routed: give one that your provider routes to this server", c.Pool)
	case c.Announce != Proxy && c.Announce != Route:
		return fault.Newf(fault.Invalid, "addresses are announced by %q or %q, not %.20q", Proxy, Route, c.Announce)
	case c.Rate < 0 || c.Rate > 0 && c.Rate < minRate:
		return fault.Newf(fault.Invalid, "a VM's bandwidth is at least %d kbit a second", minRate/1000)
	}
	if p := c.Pool6; p.IsValid() && (!p.Addr().Is6() || p.Addr().Is4In6() || 128-p.Bits() < 32-c.Pool.Bits()) {
		return fault.Newf(fault.Invalid, "the pool %v is not an IPv6 prefix that is as large as %v", p, c.Pool)
	}
	return nil
}

// address6 returns the IPv6 address of the VM that has a: at the same place of
// the other pool. It is not valid without such a pool.
func (c Config) address6(a netip.Addr) netip.Addr {
	if !c.Pool6.IsValid() {
		return netip.Addr{}
	}
	index := number(a) - number(c.Pool.Addr())
	b := c.Pool6.Addr().As16()
	for i := 15; i >= 12; i-- {
		b[i] |= byte(index)
		index >>= 8
	}
	return netip.AddrFrom16(b)
}

func number(a netip.Addr) uint32 {
	b := a.As4()
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

// Ensure implements [network.Driver].
func (d *Driver) Ensure(ctx context.Context, l network.Link) error {
	if err := l.Check(); err != nil {
		return err
	}
	if !d.c.usable(l.Address) {
		return fault.Newf(fault.Invalid, "%v is not an address for VMs of the pool %v", l.Address, d.c.Pool)
	}
	return d.change(ctx, func(h *host) error { return h.ensure(ctx, l.Sorted()) })
}

// usable reports whether a VM may have a: the first and last address of a pool
// are the network's and its broadcast.
func (c Config) usable(a netip.Addr) bool {
	return c.Pool.Contains(a) && c.Pool.Contains(a.Next()) && c.Pool.Contains(a.Prev())
}

// Plug implements [network.Driver]. The file is a tap whose frames have a
// header for virtio. It is taken while another process has it open: the
// machine that has it must end first, or Plug returns an Unavailable fault.
func (d *Driver) Plug(ctx context.Context, id string) (p network.Plug, err error) {
	err = d.change(ctx, func(h *host) error {
		if _, ok := h.taps[id]; !ok || !h.complete(id) {
			return noLink(id)
		}
		f, err := openTap(tapName(id))
		p = network.Plug{Kind: "tap", File: f}
		return err
	})
	if err != nil {
		return network.Plug{}, err
	}
	return p, nil
}

// Guest implements [network.Driver].
func (d *Driver) Guest(l network.Link) network.Guest {
	g := network.Guest{Address: netip.PrefixFrom(l.Address, 32), Gateway: gateway4, DNS: slices.Clone(d.c.DNS)}
	if a := d.c.address6(l.Address); a.IsValid() {
		g.Address6, g.Gateway6 = netip.PrefixFrom(a, 128), gateway6
	}
	return g
}

// List implements [network.Driver]. A link that the kernel doesn't have as it
// should be is left out, so that it is asked for again and made whole. Rules that
// are not as the configuration and the host's networks want them by now are
// written anew.
func (d *Driver) List(ctx context.Context) (links []network.Link, err error) {
	err = d.change(ctx, func(h *host) error {
		if err := h.refresh(); err != nil {
			return err
		}
		for id, r := range h.records {
			if h.complete(id) {
				links = append(links, r)
			}
		}
		slices.SortFunc(links, func(a, b network.Link) int { return cmp.Compare(a.ID, b.ID) })
		return nil
	})
	return links, err
}

// Traffic implements [network.Driver] by the counters of taps. Nothing is changed for
// it, and nobody waited for.
func (d *Driver) Traffic(ctx context.Context) (map[string]network.Traffic, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	all := map[string]network.Traffic{}
	err := d.c.Namespace.Do(func() error {
		found, err := taps()
		if err != nil {
			return fmt.Errorf("read counters of taps: %w", err)
		}
		for id, tap := range found {
			if s := tap.Attrs().Statistics; s != nil { // what the tap receives is what its VM sent
				all[id] = network.Traffic{BytesIn: s.TxBytes, BytesOut: s.RxBytes, PacketsIn: s.TxPackets, PacketsOut: s.RxPackets}
			}
		}
		return nil
	})
	return all, err
}

// Destroy implements [network.Driver]. With the last link the tables and the
// settings of the uplink go as well.
func (d *Driver) Destroy(ctx context.Context, id string) error {
	if !network.ValidID(id) {
		return nil // there can be no such link
	}
	return d.change(ctx, func(h *host) error { return h.destroy(ctx, id) })
}

// Cut implements [network.Driver].
func (d *Driver) Cut(ctx context.Context, id string) error {
	return d.change(ctx, func(h *host) error {
		r, ok := h.records[id]
		if !ok {
			return noLink(id)
		}
		return h.cut(r)
	})
}

// change runs fn on the host as it is now, alone among all drivers over the folder.
func (d *Driver) change(ctx context.Context, fn func(*host) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	unlock, err := lock(d.c.Dir)
	if err != nil {
		return fmt.Errorf("lock network folder: %w", err)
	}
	defer unlock()
	return d.c.Namespace.Do(func() error {
		h, err := d.c.look()
		if err != nil {
			return fmt.Errorf("look at network: %w", err)
		}
		return fn(h)
	})
}

func noLink(id string) error { return fault.Newf(fault.NotFound, "no link %.70q", id) }
