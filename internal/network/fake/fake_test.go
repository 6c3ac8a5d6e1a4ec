package fake_test

import (
	"net/netip"
	"testing"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/network"
	"github.com/cpucloud/cpucloud/internal/network/fake"
	"github.com/cpucloud/cpucloud/internal/network/networktest"
)

func TestDriver(t *testing.T) {
	t.Parallel()
	networktest.Run(t, func(*testing.T) networktest.Fixture {
		host := fake.NewHost()
		return networktest.Fixture{
			New:     func() network.Driver { return fake.New(host) },
			Address: func(n int) netip.Addr { return netip.AddrFrom4([4]byte{127, 77, 0, byte(n)}) },
		}
	})
}

func TestHostFailsAndCrashesWhenAsked(t *testing.T) {
	t.Parallel()
	host := fake.NewHost()
	d := fake.New(host)
	l := network.Link{ID: "a", Address: netip.MustParseAddr("127.77.0.1"), MAC: "52:54:00:00:00:01"}

	host.Fail(func(do, id string) error { return fault.Newf(fault.Unavailable, "%s %s", do, id) })
	if err := d.Ensure(t.Context(), l); fault.Message(err) != "ensure a" {
		t.Errorf("Ensure = %v, want the failure", err)
	}
	host.Fail(nil)
	if err := d.Ensure(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	p, err := d.Plug(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if !host.Plugged("a") {
		t.Error("Plugged = false while the plug is held")
	}
	if err := p.File.Close(); err != nil {
		t.Fatal(err)
	}
	if host.Plugged("a") {
		t.Error("Plugged = true after the plug was closed")
	}
	if err := host.Crash(); err != nil {
		t.Fatal(err)
	}
	if links, _ := d.List(t.Context()); len(links) != 0 {
		t.Errorf("List after Crash = %v, want none", links)
	}
}
