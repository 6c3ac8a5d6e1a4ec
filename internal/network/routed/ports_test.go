//go:build net

package routed_test

import (
	"net/netip"
	"sync"
	"testing"

	"github.com/cpucloud/cpucloud/internal/network"
)

// The first and the last number, the same one in both protocols, as many as a
// VM may have; and none at all, not even 22.
func TestPortsAtTheEdges(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	d := w.driver(t)
	open := []network.Port{tcp(1), tcp(53), udp(53), tcp(65535), udp(65535)}
	for n := uint16(10_000); len(open) < 50; n++ {
		open = append(open, tcp(n))
	}
	l := w.link(1, open...)
	vm := w.boot(t, d, l)
	closed := []network.Port{udp(1), tcp(2), tcp(65534), udp(10_000), tcp(22)}
	for _, p := range append(open[:6:6], closed...) {
		vm.serve(p.Protocol, netip.AddrPortFrom(vm.addr(), p.Number))
	}
	for _, p := range open[:6] {
		if !w.client.reaches(p.Protocol, netip.AddrPortFrom(vm.addr(), p.Number)) {
			t.Errorf("%v is open and doesn't answer", p)
		}
	}
	for _, p := range closed {
		if !w.client.misses(p.Protocol, netip.AddrPortFrom(vm.addr(), p.Number)) {
			t.Errorf("%v is closed and answers", p)
		}
	}
	l.Ports = nil
	ensure(t, d, l)
	if !w.client.misses("tcp", netip.AddrPortFrom(vm.addr(), 1)) {
		t.Error("a VM without open ports answers")
	}
}

// Of changes that are made at once, by several drivers, one is the last: no port
// of another is open beside its own.
func TestChangesAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	l := w.link(1, tcp(22))
	vm := w.boot(t, w.driver(t), l)
	const changes = 8
	for n := range uint16(changes) {
		vm.serve("tcp", netip.AddrPortFrom(vm.addr(), 1000+n))
		vm.serve("udp", netip.AddrPortFrom(vm.addr(), 1000+n))
	}
	var all sync.WaitGroup
	for n := range uint16(changes) {
		d := w.driver(t)
		all.Go(func() { ensure(t, d, w.link(1, tcp(1000+n), udp(1000+n))) })
	}
	all.Wait()
	links, err := w.driver(t).List(t.Context())
	if err != nil || len(links) != 1 || len(links[0].Ports) != 2 {
		t.Fatalf("List = %v, %v, want the link with two ports", links, err)
	}
	for n := range uint16(changes) {
		to := netip.AddrPortFrom(vm.addr(), 1000+n)
		if n == links[0].Ports[0].Number-1000 {
			if !w.client.reaches("tcp", to) || !w.client.reaches("udp", to) {
				t.Errorf("%v is open and doesn't answer", to)
			}
		} else if !w.client.misses("tcp", to) || !w.client.misses("udp", to) {
			t.Errorf("%v is closed and answers", to)
		}
	}
}
