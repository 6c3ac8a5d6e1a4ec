package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/cpucloud/cpucloud/bench/internal/bare"
	"github.com/cpucloud/cpucloud/bench/internal/cloud"
	"github.com/cpucloud/cpucloud/bench/internal/space"
	"github.com/cpucloud/cpucloud/internal/image/seed"
)

// The networks. The bench's own is a client in the internet and the router of two
// servers: one of the cloud's provider, and one without any rules whose taps are
// made by hand.
const (
	cloudRouter, cloudHost = "45.0.0.1", "45.0.0.2"
	bareRouter, bareHost   = "46.0.0.1", "46.0.0.2"
	cloudPool              = "45.0.0.64/26"
	bareFirst              = "46.0.0.65"   // of bare guests
	gateway                = "169.254.1.1" // on every tap, the driver's too
	uplink                 = "up0"
	port                   = "8080" // of the control plane
)

// ground is where a cloud and the bare QEMUs run.
type ground interface {
	// cloud returns what cloud is started.
	cloud() cloud.Config
	// card returns the card of the bare QEMU of this number.
	card(ctx context.Context, number int) (bare.Card, error)
	// seed tells the guest of the bare QEMU of this number what it has to know.
	seed(m *bare.Machine, number int, s seed.Seed) error
	close() error
}

// near is a ground without privileges: the cloud has the loopback driver, bare
// QEMUs have QEMU's own network, and all guests ask by DHCP.
type near struct{}

func (near) cloud() cloud.Config                                { return cloud.Config{Flags: cloud.Loopback()} }
func (near) card(ctx context.Context, _ int) (bare.Card, error) { return bare.Forward(ctx) }
func (near) seed(*bare.Machine, int, seed.Seed) error           { return nil }
func (near) close() error                                       { return nil }

// far is a ground with two servers, at each of which guests have taps.
type far struct{ host, bare space.Space }

func newFar(ctx context.Context) (_ *far, err error) {
	f := &far{}
	if f.host, err = space.New(ctx); err != nil {
		return nil, err
	}
	if f.bare, err = space.New(ctx); err != nil {
		return nil, errors.Join(err, f.host.Close())
	}
	if err := f.wire(ctx); err != nil {
		return nil, errors.Join(err, f.close())
	}
	return f, nil
}

func (f *far) close() error { return errors.Join(f.host.Close(), f.bare.Close()) }

func (f *far) wire(ctx context.Context) error {
	for _, cable := range []struct {
		name         string
		server       space.Space
		router, host string
	}{{"cloud0", f.host, cloudRouter, cloudHost}, {"bare0", f.bare, bareRouter, bareHost}} {
		err := cable.server.Wire(ctx, cable.name, uplink)
		if err == nil {
			err = space.Own().Run(ctx, "ip addr add "+cable.router+"/24 dev "+cable.name)
		}
		if err == nil {
			err = cable.server.Run(ctx, "ip addr add "+cable.host+"/24 dev "+uplink, "ip route add default via "+cable.router)
		}
		if err != nil {
			return err
		}
	}
	// What the driver does on its uplink.
	return f.bare.Set("ipv4/ip_forward=1", "ipv4/conf/"+uplink+"/proxy_arp=1", "ipv4/neigh/"+uplink+"/proxy_delay=0")
}

func (f *far) cloud() cloud.Config {
	return cloud.Config{
		Space: f.host, Host: cloudHost,
		Flags: []string{
			"--listen", "0.0.0.0:" + port, "--public-url", "http://127.0.0.1:" + port, // the agent's way
			"--network", "routed", "--uplink", uplink, "--pool", cloudPool,
		},
	}
}

// card makes a tap with the route to a guest behind it. It goes with the QEMU that
// has it.
func (f *far) card(ctx context.Context, number int) (bare.Card, error) {
	name, address := fmt.Sprintf("tap%d", number), bareAddress(number)
	tap, err := f.bare.Tap(name)
	if err != nil {
		return bare.Card{}, err
	}
	err = f.bare.Run(ctx, "ip addr add "+gateway+"/32 dev "+name, "ip link set "+name+" up", fmt.Sprintf("ip route add %s/32 dev %s", address, name))
	if err != nil {
		return bare.Card{}, errors.Join(err, tap.Close())
	}
	return bare.Tap(tap, address), nil
}

func bareAddress(number int) netip.Addr {
	b := netip.MustParseAddr(bareFirst).As4()
	b[3] += byte(number)
	return netip.AddrFrom4(b)
}

func (f *far) seed(m *bare.Machine, number int, s seed.Seed) error {
	mac, err := m.MAC()
	if err != nil {
		return err
	}
	s.Network = seed.Network{
		MAC: mac, Address: netip.PrefixFrom(bareAddress(number), 32), Gateway: netip.MustParseAddr(gateway), DNS: []netip.Addr{netip.MustParseAddr(bareRouter)},
	}
	return m.Reseed(s)
}

// groundOf returns the ground for a network driver.
func groundOf(ctx context.Context, driver string) (ground, error) {
	switch driver {
	case "loopback":
		return near{}, nil
	case "routed":
		return newFar(ctx)
	}
	return nil, fmt.Errorf("-network is loopback or routed, not %q", strings.TrimSpace(driver))
}
