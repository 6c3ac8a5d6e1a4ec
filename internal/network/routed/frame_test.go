//go:build net

package routed_test

import (
	"encoding/binary"
	"net"
	"net/netip"
)

// The frames that a hostile VM may send, made by hand.

var (
	gatewayMAC = mac("02:63:70:75:63:70")
	everybody  = mac("ff:ff:ff:ff:ff:ff")
)

func mac(s string) net.HardwareAddr {
	m, err := net.ParseMAC(s)
	if err != nil {
		panic(err)
	}
	return m
}

func ether(to, from net.HardwareAddr, kind uint16, payload []byte) []byte {
	f := append(append([]byte{}, to...), from...)
	return append(binary.BigEndian.AppendUint16(f, kind), payload...)
}

// tagged is a frame of a VLAN.
func tagged(to, from net.HardwareAddr, vlan, kind uint16, payload []byte) []byte {
	return ether(to, from, 0x8100, append(binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, vlan), kind), payload...))
}

func arp(op uint16, fromMAC net.HardwareAddr, from netip.Addr, toMAC net.HardwareAddr, to netip.Addr) []byte {
	p := []byte{0, 1, 8, 0, 6, 4, byte(op >> 8), byte(op)}
	p = append(append(p, fromMAC...), from.AsSlice()...)
	return append(append(p, toMAC...), to.AsSlice()...)
}

// ip returns a packet of either version with a correct header.
func ip(from, to netip.Addr, protocol, hops byte, payload []byte) []byte {
	if from.Is6() {
		h := []byte{0x60, 0, 0, 0, byte(len(payload) >> 8), byte(len(payload)), protocol, hops}
		return append(append(append(h, from.AsSlice()...), to.AsSlice()...), payload...)
	}
	n := 20 + len(payload)
	h := []byte{0x45, 0, byte(n >> 8), byte(n), 0, 1, 0, 0, hops, protocol, 0, 0}
	h = append(append(h, from.AsSlice()...), to.AsSlice()...)
	binary.BigEndian.PutUint16(h[10:], checksum(h, 0))
	return append(h, payload...)
}

func datagram(from, to netip.AddrPort, text string) []byte {
	n := 8 + len(text)
	p := []byte{byte(from.Port() >> 8), byte(from.Port()), byte(to.Port() >> 8), byte(to.Port()), byte(n >> 8), byte(n), 0, 0}
	p = append(p, text...)
	binary.BigEndian.PutUint16(p[6:], checksum(p, pseudo(from.Addr(), to.Addr(), 17, n)))
	return ip(from.Addr(), to.Addr(), 17, 64, p)
}

func icmp6(from, to netip.Addr, hops byte, body []byte) []byte {
	p := append([]byte{}, body...)
	p[2], p[3] = 0, 0
	binary.BigEndian.PutUint16(p[2:], checksum(p, pseudo(from, to, 58, len(p))))
	return ip(from, to, 58, hops, p)
}

// neighbour is a message of neighbour discovery about a target, with the link
// layer's address as an option of this kind.
func neighbour(kind, flags byte, target netip.Addr, option byte, m net.HardwareAddr) []byte {
	p := append([]byte{kind, 0, 0, 0, flags, 0, 0, 0}, target.AsSlice()...)
	return append(append(p, option, 1), m...)
}

func pseudo(from, to netip.Addr, protocol, length int) uint32 {
	return sum(from.AsSlice()) + sum(to.AsSlice()) + uint32(protocol) + uint32(length)
}

func sum(b []byte) (s uint32) {
	for i := 0; i+1 < len(b); i += 2 {
		s += uint32(b[i])<<8 | uint32(b[i+1])
	}
	if len(b)%2 == 1 {
		s += uint32(b[len(b)-1]) << 8
	}
	return s
}

func checksum(b []byte, start uint32) uint16 {
	s := start + sum(b)
	for s>>16 != 0 {
		s = s>>16 + s&0xffff
	}
	return ^uint16(s)
}
