//go:build net

package routed_test

import (
	"bytes"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// hears reports which texts come to a socket as datagrams until last does.
func hears(conn net.PacketConn, last string) (heard map[string]bool) {
	heard = map[string]bool{}
	b := make([]byte, 1500)
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	for !heard[last] {
		n, _, err := conn.ReadFrom(b)
		if err != nil {
			return heard
		}
		heard[string(b[:n])] = true
	}
	return heard
}

// Whatever a VM writes as the sender of its frames, only what is its own gets
// out. The honest frame goes last: once it was heard, all before it were lost.
func TestSpoofedSendersAreDropped(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	d := w.driver(t)
	vm, other := w.boot(t, d, w.link(1)), w.boot(t, d, w.link(2, tcp(22), udp(53)))
	ours, others := mac(vm.link.MAC), mac(other.link.MAC)
	for _, v := range []struct {
		name         string
		own, foreign netip.Addr
		kind         uint16
		to           netip.AddrPort
		more         []netip.Addr
	}{
		{"IPv4", vm.addr(), other.addr(), 0x0800, at(client4, 9000), []netip.Addr{netip.MustParseAddr(host4), w.address(9), netip.MustParseAddr("8.8.8.8"), netip.MustParseAddr("0.0.0.0")}},
		{"IPv6", six(d, vm), six(d, other), 0x86dd, at(client6, 9000), []netip.Addr{netip.MustParseAddr(host6), netip.MustParseAddr("2a00:1:0:64::9"), netip.MustParseAddr("2001:4860::8")}},
	} {
		conn := w.client.packets(v.to)
		from := func(a netip.Addr) netip.AddrPort { return netip.AddrPortFrom(a, 1234) }
		vm.send(ether(gatewayMAC, ours, v.kind, datagram(from(v.foreign), v.to, "address of another VM")))
		vm.send(ether(gatewayMAC, others, v.kind, datagram(from(v.own), v.to, "MAC of another VM")))
		vm.send(ether(gatewayMAC, others, v.kind, datagram(from(v.foreign), v.to, "all of another VM")))
		vm.send(tagged(gatewayMAC, ours, 0, v.kind, datagram(from(v.own), v.to, "priority tag")))
		vm.send(tagged(gatewayMAC, ours, 7, v.kind, datagram(from(v.own), v.to, "VLAN")))
		for _, a := range v.more {
			vm.send(ether(gatewayMAC, ours, v.kind, datagram(from(a), v.to, "from "+a.String())))
		}
		vm.send(ether(gatewayMAC, ours, v.kind, datagram(from(v.own), v.to, "honest")))
		if heard := hears(conn, "honest"); len(heard) != 1 || !heard["honest"] {
			t.Errorf("%s: the internet hears %v, want the honest one alone", v.name, heard)
		}
	}
}

// What a VM says of who has which address is not believed, and not passed on.
func TestSpoofedNeighboursAreDropped(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	d := w.driver(t)
	vm, other := w.bare(t, d, w.link(1)), w.bare(t, d, w.link(2, tcp(22)))
	ours, others := mac(vm.link.MAC), mac(other.link.MAC)
	evil := mac("52:54:00:66:66:66")
	before := w.host.output("ip neigh show nud all")
	gw4, gw6 := netip.MustParseAddr("169.254.1.1"), netip.MustParseAddr("fe80::1")
	all6, solicited := netip.MustParseAddr("ff02::1"), netip.MustParseAddr("ff02::1:ff00:1")
	local, cousin := netip.MustParseAddr("fe80::5054:ff:fe00:1"), netip.MustParseAddr("fe80::6666")
	toAll6 := mac("33:33:00:00:00:01")
	ns := func(from netip.Addr, m net.HardwareAddr) []byte {
		return icmp6(from, solicited, 255, neighbour(135, 0, gw6, 1, m))
	}
	router := append([]byte{134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1}, ours...)
	redirect := append(append([]byte{137, 0, 0, 0, 0, 0, 0, 0}, cousin.AsSlice()...), gw6.AsSlice()...)

	// A question that is honest is answered: the frames below are well made.
	answered := vm.sees(func(f []byte) bool {
		return len(f) >= 42 && bytes.Equal(f[12:14], []byte{8, 6}) && f[21] == 2
	})
	vm.send(ether(everybody, ours, 0x0806, arp(1, ours, vm.addr(), make(net.HardwareAddr, 6), gw4)))
	if !answered(10 * time.Second) {
		t.Error("an honest ARP question isn't answered")
	}
	answered = vm.sees(func(f []byte) bool {
		return len(f) >= 78 && bytes.Equal(f[12:14], []byte{0x86, 0xdd}) && f[20] == 58 && f[54] == 136 && bytes.Equal(f[38:54], local.AsSlice())
	})
	vm.send(ether(mac("33:33:ff:00:00:01"), ours, 0x86dd, ns(local, ours)))
	if !answered(10 * time.Second) {
		t.Error("an honest solicitation isn't answered")
	}

	// From here on nothing comes back to the guest, and the host learns nothing.
	for name, frame := range map[string][]byte{
		"ARP question with another's address":  ether(everybody, ours, 0x0806, arp(1, ours, other.addr(), make(net.HardwareAddr, 6), gw4)),
		"ARP question with another's MAC":      ether(everybody, ours, 0x0806, arp(1, others, vm.addr(), make(net.HardwareAddr, 6), gw4)),
		"ARP question in another's frame":      ether(everybody, evil, 0x0806, arp(1, ours, vm.addr(), make(net.HardwareAddr, 6), gw4)),
		"ARP question for the host":            ether(everybody, ours, 0x0806, arp(1, ours, vm.addr(), make(net.HardwareAddr, 6), netip.MustParseAddr(host4))),
		"ARP question for another VM":          ether(everybody, ours, 0x0806, arp(1, ours, vm.addr(), make(net.HardwareAddr, 6), other.addr())),
		"ARP probe":                            ether(everybody, ours, 0x0806, arp(1, ours, netip.IPv4Unspecified(), make(net.HardwareAddr, 6), gw4)),
		"ARP answer as the gateway":            ether(everybody, ours, 0x0806, arp(2, ours, gw4, gatewayMAC, vm.addr())),
		"ARP answer as itself":                 ether(gatewayMAC, ours, 0x0806, arp(2, ours, vm.addr(), gatewayMAC, gw4)),
		"ARP answer as another VM":             ether(gatewayMAC, ours, 0x0806, arp(2, evil, other.addr(), gatewayMAC, gw4)),
		"ARP answer as its own, another MAC":   ether(gatewayMAC, ours, 0x0806, arp(2, evil, vm.addr(), gatewayMAC, gw4)),
		"solicitation with another's MAC":      ether(mac("33:33:ff:00:00:01"), ours, 0x86dd, ns(local, evil)),
		"solicitation in another's frame":      ether(mac("33:33:ff:00:00:01"), evil, 0x86dd, ns(local, ours)),
		"solicitation with another's address":  ether(mac("33:33:ff:00:00:01"), ours, 0x86dd, ns(six(d, other), ours)),
		"solicitation for another VM":          ether(mac("33:33:ff:00:00:02"), ours, 0x86dd, icmp6(local, solicited, 255, neighbour(135, 0, six(d, other), 1, ours))),
		"solicitation for the host":            ether(mac("33:33:ff:00:00:02"), ours, 0x86dd, icmp6(local, solicited, 255, neighbour(135, 0, netip.MustParseAddr(host6), 1, ours))),
		"solicitation as the gateway":          ether(mac("33:33:ff:00:00:01"), ours, 0x86dd, ns(gw6, ours)),
		"solicitation from afar":               ether(mac("33:33:ff:00:00:01"), ours, 0x86dd, icmp6(local, solicited, 64, neighbour(135, 0, gw6, 1, ours))),
		"advertisement as another VM":          ether(toAll6, ours, 0x86dd, icmp6(local, all6, 255, neighbour(136, 0x20, six(d, other), 2, evil))),
		"advertisement as its own, other MAC":  ether(toAll6, ours, 0x86dd, icmp6(six(d, vm), all6, 255, neighbour(136, 0x20, six(d, vm), 2, evil))),
		"advertisement of the gateway":         ether(toAll6, ours, 0x86dd, icmp6(local, all6, 255, neighbour(136, 0x20, gw6, 1, ours))),
		"router advertisement":                 ether(toAll6, ours, 0x86dd, icmp6(local, all6, 255, router)),
		"redirect":                             ether(toAll6, ours, 0x86dd, icmp6(local, all6, 255, redirect)),
		"answer of a DHCP server":              ether(everybody, ours, 0x0800, datagram(netip.AddrPortFrom(vm.addr(), 67), at("255.255.255.255", 68), "offer")),
		"answer of a DHCPv6 server":            ether(toAll6, ours, 0x86dd, datagram(netip.AddrPortFrom(local, 547), netip.AddrPortFrom(all6, 546), "advertise")),
		"packet to everybody":                  ether(everybody, ours, 0x0800, datagram(netip.AddrPortFrom(vm.addr(), 1), at("255.255.255.255", 1), "all")),
		"packet to a group":                    ether(everybody, ours, 0x0800, datagram(netip.AddrPortFrom(vm.addr(), 1), at("224.0.0.251", 5353), "group")),
		"packet to all of the link":            ether(toAll6, ours, 0x86dd, datagram(netip.AddrPortFrom(six(d, vm), 1), netip.AddrPortFrom(all6, 1), "all")),
		"packet to the gateway's link address": ether(gatewayMAC, ours, 0x86dd, datagram(netip.AddrPortFrom(six(d, vm), 1), netip.AddrPortFrom(gw6, 1), "gateway")),
		"a protocol that nobody has asked for": ether(everybody, ours, 0x88cc, make([]byte, 64)),
	} {
		let, lost := w.verdicts()
		vm.send(frame)
		if !within(5*time.Second, func() bool { _, now := w.verdicts(); return now == lost+1 }) {
			t.Errorf("%s: not dropped at the tap", name)
		}
		if now, _ := w.verdicts(); now != let {
			t.Errorf("%s: let through", name)
		}
	}
	after := w.host.output("ip neigh show nud all")
	if !sameNeighbours(before, after, local) {
		t.Errorf("the host's neighbours were %s, are %s", before, after)
	}
	if strings.Contains(after, evil.String()) {
		t.Error("the host has learned a false MAC")
	}
	_ = other.plug.Close()
	other = w.plugIn(t, d, other.link)
	other.serve("tcp", netip.AddrPortFrom(other.addr(), 22))
	if !w.client.reaches("tcp", netip.AddrPortFrom(other.addr(), 22)) {
		t.Error("the other VM can't be reached any more")
	}
}

// A VM that asks from ever other addresses doesn't fill the host's table of
// neighbours, which is one for all.
func TestNeighboursAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	d := w.driver(t)
	vm := w.bare(t, d, w.link(1))
	ours, gw6 := mac(vm.link.MAC), netip.MustParseAddr("fe80::1")
	const asked = 500
	begin := time.Now()
	for n := range asked {
		from := netip.MustParseAddr("fe80::" + strconv.FormatInt(int64(0x1000+n), 16))
		vm.send(ether(mac("33:33:ff:00:00:01"), ours, 0x86dd, icmp6(from, netip.MustParseAddr("ff02::1:ff00:1"), 255, neighbour(135, 0, gw6, 1, ours))))
	}
	if !within(5*time.Second, func() bool { let, lost := w.verdicts(); return let+lost >= asked }) {
		t.Fatal("not all frames were looked at")
	}
	most := 20 + 5*int(time.Since(begin).Seconds()+1)
	if got := strings.Count(w.host.output("ip -6 neigh show nud all"), "fe80::1"); got > most || got == 0 {
		t.Errorf("the host has %d neighbours of one VM, want some and at most %d", got, most)
	}
}

var counted = regexp.MustCompile(`counter packets (\d+) bytes \d+ (accept|drop)`)

// verdicts returns how many frames were let through at the first VM's tap, and
// how many were not. All other guests of the test have to be silent.
func (w *world) verdicts() (let, lost int) {
	for _, m := range counted.FindAllStringSubmatch(w.host.output("nft list table netdev cpucloud"), -1) {
		n, err := strconv.Atoi(m[1])
		if err != nil {
			w.host.Fatal(err)
		}
		if m[2] == "accept" {
			let += n
		} else {
			lost += n
		}
	}
	return let, lost
}

// sameNeighbours reports whether two lists are of the same ones but for extra.
func sameNeighbours(before, after string, extra netip.Addr) bool {
	known := func(list string) map[string]bool {
		m := map[string]bool{}
		for line := range strings.Lines(list) {
			if a, _, _ := strings.Cut(line, " "); a != extra.String() && !strings.HasPrefix(a, "ff02::") && strings.Contains(line, "cpuc-") {
				m[a] = true
			}
		}
		return m
	}
	b, a := known(before), known(after)
	for k := range a {
		if !b[k] {
			return false
		}
	}
	return true
}

// DHCP answers don't come to a VM whose port for them is open, either.
func TestDHCPAnswersAreDropped(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	d := w.driver(t)
	vm := w.boot(t, d, w.link(1))
	victim := w.boot(t, d, w.link(2, udp(68), udp(546)))
	for _, v := range []struct {
		from, to, honest netip.AddrPort
		kind             uint16
	}{
		{netip.AddrPortFrom(vm.addr(), 67), netip.AddrPortFrom(victim.addr(), 68), netip.AddrPortFrom(vm.addr(), 1067), 0x0800},
		{netip.AddrPortFrom(six(d, vm), 547), netip.AddrPortFrom(six(d, victim), 546), netip.AddrPortFrom(six(d, vm), 1547), 0x86dd},
	} {
		conn := victim.packets(v.to)
		vm.send(ether(gatewayMAC, mac(vm.link.MAC), v.kind, datagram(v.from, v.to, "offer")))
		vm.send(ether(gatewayMAC, mac(vm.link.MAC), v.kind, datagram(v.honest, v.to, "honest")))
		if heard := hears(conn, "honest"); len(heard) != 1 || !heard["honest"] {
			t.Errorf("the other VM hears %v, want the honest one alone", heard)
		}
	}
}

// A tap whose own chain is gone lets nothing false through either, and one that
// is not a VM's nothing at all.
func TestUnknownTapsAreClosed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	d := w.driver(t)
	vm := w.boot(t, d, w.link(1))
	ours := mac(vm.link.MAC)
	w.host.run("nft flush table netdev cpucloud", "nft add rule netdev cpucloud guard accept")
	w.host.run("nft add rule netdev cpucloud " + tapOf(w, vm) + " accept")
	for _, v := range []struct {
		kind         uint16
		own, foreign netip.Addr
		to           netip.AddrPort
	}{
		{0x0800, vm.addr(), w.address(5), at(client4, 9000)},
		{0x86dd, six(d, vm), netip.MustParseAddr("2a00:1:0:64::5"), at(client6, 9000)},
	} {
		conn := w.client.packets(v.to)
		vm.send(ether(gatewayMAC, ours, v.kind, datagram(netip.AddrPortFrom(v.foreign, 1), v.to, "false")))
		vm.send(ether(gatewayMAC, ours, v.kind, datagram(netip.AddrPortFrom(v.own, 1), v.to, "honest")))
		if heard := hears(conn, "honest"); len(heard) != 1 || !heard["honest"] {
			t.Errorf("without its chain: the internet hears %v, want the honest one alone", heard)
		}
	}

	stranger := newSpace(t)
	w.host.wire("cpuc-stranger", stranger, "eth0")
	w.host.write("/proc/sys/net/ipv4/conf/cpuc-stranger/forwarding", "1")
	w.host.run("ip addr add 46.0.0.1/24 dev cpuc-stranger")
	stranger.run("ip addr add 46.0.0.2/24 dev eth0", "ip route add default via 46.0.0.1")
	w.host.serve("tcp", at("46.0.0.1", 80))
	if !stranger.misses("tcp", at("46.0.0.1", 80)) {
		t.Error("a tap that is not a VM's reaches the host")
	}
}

func tapOf(w *world, g *guest) string {
	for line := range strings.Lines(w.host.output("ip -br link")) {
		name, _, _ := strings.Cut(line, " ")
		if strings.HasPrefix(name, "cpuc-") && strings.Contains(w.host.output("ip link show "+name), g.link.ID) {
			return name
		}
	}
	g.Fatal("the VM has no tap")
	return ""
}

// within reports whether a condition holds before a time has passed.
func within(patience time.Duration, ok func() bool) bool {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if ok() {
			return true
		}
	}
	return ok()
}
