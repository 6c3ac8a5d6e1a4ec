package loopback_test

import (
	"strings"
	"testing"
)

// What goes over a VM's cable is counted by the switch, whichever driver asks, over all
// runs of the VM, each way by itself.
func TestTrafficIsCounted(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	d := h.driver(t)
	one, two := h.link(1, tcp(8022)), h.link(2, tcp(8022))
	vm := boot(t, d, one)
	ensure(t, d, two)
	vm.Echo(8022, "")
	text, conn := strings.Repeat("x", 4_000), dial(t, one, tcp(8022))
	for range 25 {
		say(t, conn, text, text)
	}

	all, err := h.driver(t).Traffic(t.Context())
	if err != nil {
		t.Fatalf("Traffic: %v", err)
	}
	first := all[one.ID]
	for what, n := range map[string]uint64{"in": first.BytesIn, "out": first.BytesOut} {
		if n < 100_000 || n > 200_000 {
			t.Errorf("%d bytes went %s, want 100,000 and what carries them", n, what)
		}
	}
	if first.PacketsIn < 60 || first.PacketsOut < 60 || first.PacketsIn > 1000 || first.PacketsOut > 1000 {
		t.Errorf("%+v, want packets of at most 1,500 bytes", first)
	}
	if other := all[two.ID]; other.BytesOut != 0 {
		t.Errorf("traffic of another VM = %+v", other)
	}

	// Its next run goes on counting.
	boot(t, d, one).Echo(8022, "")
	say(t, dial(t, one, tcp(8022)), "hello", "hello")
	if all, err = d.Traffic(t.Context()); err != nil || all[one.ID].BytesIn <= first.BytesIn || all[one.ID].BytesOut <= first.BytesOut {
		t.Errorf("after another run %+v, %v, want more than %+v", all[one.ID], err, first)
	}
}
