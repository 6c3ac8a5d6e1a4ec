package seed

import "net/netip"

// card is the name of the network card inside the VM. cloud-init renames the
// card with the MAC to it, so that images whose network scripts can't match
// by MAC work as well.
const card = "eth0"

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

// config returns version 2 of cloud-init's network configuration.
func (n Network) config() networkConfig {
	e := ethernet{Match: match{text(n.MAC)}, SetName: card, DHCP4: n.DHCP}
	if !n.DHCP {
		e.Addresses = []text{text(n.Address.String())}
		e.Routes = []route{{
			To: text(netip.PrefixFrom(netip.IPv4Unspecified(), 0).String()), Via: text(n.Gateway.String()),
			OnLink: !n.Address.Contains(n.Gateway),
		}}
		if n.Address6.IsValid() {
			e.Addresses = append(e.Addresses, text(n.Address6.String()))
			e.Routes = append(e.Routes, route{
				To: text(netip.PrefixFrom(netip.IPv6Unspecified(), 0).String()), Via: text(n.Gateway6.String()), OnLink: !n.Gateway6.IsLinkLocalUnicast(),
			})
			// What the one router has to say is said here.
			no := false
			e.RA = &no
		}
		e.Nameservers = n.nameservers()
	}
	return networkConfig{2, map[string]ethernet{card: e}}
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
