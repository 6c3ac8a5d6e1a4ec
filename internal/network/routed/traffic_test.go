//go:build net

package routed_test

import (
	"errors"
	"net/netip"
	"syscall"
	"testing"

	"github.com/cpucloud/cpucloud/internal/network"
)

// What goes through a VM's tap is counted, each way by itself.
func TestTrafficIsCounted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	d := w.driver(t)
	vm := w.boot(t, d, w.link(1, udp(53)))
	ensure(t, d, w.link(2))
	before := trafficOf(t, w, vm.link.ID)

	// Nobody listens there: of each datagram, the guest answers the beginning.
	conn, err := w.client.dial("udp", netip.AddrPortFrom(vm.addr(), 53), short)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // a test's connection
	const size, times = 1200, 20
	for range times {
		if _, err := conn.Write(make([]byte, size)); err != nil && !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatal(err)
		}
	}
	arrived := func() bool { return trafficOf(t, w, vm.link.ID).BytesIn-before.BytesIn >= size*times/2 }
	if !within(linking, arrived) {
		t.Fatalf("counted %+v, before %+v, want what was sent", trafficOf(t, w, vm.link.ID), before)
	}
	after := trafficOf(t, w, vm.link.ID)
	if out := after.BytesOut - before.BytesOut; out == 0 || out >= size*times/2 {
		t.Errorf("%d bytes went out, want some answers that are shorter than the questions", out)
	}
	if after.PacketsIn <= before.PacketsIn || after.PacketsOut <= before.PacketsOut {
		t.Errorf("counted %+v, before %+v, want more packets", after, before)
	}
	if other := trafficOf(t, w, w.link(2).ID); other.BytesOut != 0 {
		t.Errorf("another VM is said to have sent: %+v", other)
	}
}

// trafficOf asks another driver than the one that made the link.
func trafficOf(t *testing.T, w *world, id string) network.Traffic {
	t.Helper()
	all, err := w.driver(t).Traffic(t.Context())
	if err != nil {
		t.Fatalf("Traffic: %v", err)
	}
	return all[id]
}
