package seed

import (
	"fmt"
	"net/netip"
)

// cardName is the name of a network card inside the VM. cloud-init renames the
// card with the MAC to it, so that images whose network scripts can't match
// by MAC work as well.
func cardName(n int) string { return fmt.Sprintf("eth%d", n) }

type networkConfig struct {
	Version   int                 `yaml:"version"`
	Ethernets map[string]ethernet `yaml:"ethernets"`
}

type ethernet struct {
	Match       match        `yaml:"match"`
	SetName     string       `yaml:"set-name"`
	DHCP4       bool         `yaml:"dhcp4"`
	DHCP6       bool         `yaml:"dhcp6"`
	RA          *bool        `yaml:"accept-ra,omitempty"`
	Addresses   []text       `yaml:"addresses,omitempty"`
	Routes      []route      `yaml:"routes,omitempty"`
	Nameservers *nameservers `yaml:"nameservers,omitempty"`
}

type match struct {
	MAC text `yaml:"macaddress"`
}

type route struct {
	To     text `yaml:"to"`
	Via    text `yaml:"via"`
	OnLink bool `yaml:"on-link,omitempty"`
}

type nameservers struct {
	Addresses []text `yaml:"addresses"`
}

// networkConfig returns version 2 of cloud-init's network configuration, for all cards.
func (s Seed) networkConfig() networkConfig {
	c := networkConfig{2, map[string]ethernet{}}
	for i, n := range append([]Network{s.Network}, s.Others...) {
		c.Ethernets[cardName(i)] = n.ethernet(cardName(i))
	}
	return c
}

func (n Network) ethernet(name string) ethernet {
	e := ethernet{Match: match{text(n.MAC)}, SetName: name, DHCP4: n.DHCP}
	if !n.DHCP {
		e.Addresses, e.Routes, e.Nameservers = []text{text(n.Address.String())}, n.routes(), n.nameservers()
		if n.Address6.IsValid() {
			e.Addresses = append(e.Addresses, text(n.Address6.String()))
			e.RA = new(bool) // no: what the one router has to say is said here
		}
	}
	return e
}

// everywhere6 is all of IPv6, in halves: cloud-init 22 makes "::/64" of "::/0" when
// it writes for others than netplan.
var everywhere6 = []netip.Prefix{netip.MustParsePrefix("::/1"), netip.MustParsePrefix("8000::/1")}

// routes returns the ways out. A gateway that no prefix says to be on the link is
// said to be there twice, by on-link for netplan and by a route without a gateway
// for what cloud-init writes for others, of which on-link is left out. That route
// says "via 0.0.0.0", which is no gateway to Linux and to systemd-networkd, because
// some renderers know no route without one.
func (n Network) routes() []route {
	var all []route
	if !n.Gateway.IsValid() {
		return nil // it leads no further than its own prefix
	}
	outside := !n.Address.Contains(n.Gateway)
	if outside {
		all = append(all, route{To: text(netip.PrefixFrom(n.Gateway, n.Gateway.BitLen()).String()), Via: text(netip.IPv4Unspecified().String())})
	}
	all = append(all, route{
		To: text(netip.PrefixFrom(netip.IPv4Unspecified(), 0).String()), Via: text(n.Gateway.String()), OnLink: outside,
	})
	if n.Address6.IsValid() && n.Gateway6.IsValid() {
		for _, p := range everywhere6 {
			all = append(all, route{To: text(p.String()), Via: text(n.Gateway6.String())})
		}
	}
	return all
}

func (n Network) nameservers() *nameservers {
	if len(n.DNS) == 0 {
		return nil
	}
	s := &nameservers{}
	for _, a := range n.DNS {
		s.Addresses = append(s.Addresses, text(a.String()))
	}
	return s
}
