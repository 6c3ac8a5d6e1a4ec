// Package networktest says by tests what every network.Driver promises.
package networktest

import (
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/network"
)

// Fixture is a host to test on.
type Fixture struct {
	// New returns another driver over the same host.
	New func() network.Driver
	// Address returns the n-th address for VMs, from 1 to 20.
	Address func(n int) netip.Addr
}

func (f Fixture) link(n int, ports ...network.Port) network.Link {
	return network.Link{
		ID:      fmt.Sprintf("vm-%02d", n),
		Address: f.Address(n),
		MAC:     fmt.Sprintf("52:54:00:00:00:%02x", n),
		Ports:   ports,
	}
}

func tcp(n uint16) network.Port { return network.Port{Number: n, Protocol: "tcp"} }
func udp(n uint16) network.Port { return network.Port{Number: n, Protocol: "udp"} }

// Run tests drivers on hosts that host makes, one for each test.
func Run(t *testing.T, host func(t *testing.T) Fixture) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, Fixture){
		"a host without links has none":        testNothing,
		"links are listed by id until removed": testLifetime,
		"ensure again changes ports":           testPorts,
		"another driver finds the links":       testRestart,
		"a new plug takes the place of one":    testPlug,
		"an address belongs to one link":       testAddress,
		"impossible links are refused":         testInvalid,
		"links are made at the same time":      testParallel,
		"guest is a function of the link":      testGuest,
		"links are counted by id":              testTraffic,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, host(t))
		})
	}
}

func ensure(t *testing.T, d network.Driver, links ...network.Link) {
	t.Helper()
	for _, l := range links {
		if err := d.Ensure(t.Context(), l); err != nil {
			t.Fatalf("Ensure(%+v): %v", l, err)
		}
	}
}

func destroy(t *testing.T, d network.Driver, id string) {
	t.Helper()
	if err := d.Destroy(t.Context(), id); err != nil {
		t.Fatalf("Destroy(%q): %v", id, err)
	}
}

func wantList(t *testing.T, d network.Driver, want ...network.Link) {
	t.Helper()
	got, err := d.List(t.Context())
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	if len(got) == 0 && len(want) == 0 {
		return
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("List = %+v, want %+v", got, want)
	}
}

func wantKind(t *testing.T, what string, err error, want fault.Kind) {
	t.Helper()
	if got := fault.KindOf(err); got != want {
		t.Errorf("%s = %v (kind %q), want kind %q", what, err, got, want)
	}
}

func testNothing(t *testing.T, f Fixture) {
	t.Helper()
	d := f.New()
	wantList(t, d)
	destroy(t, d, "unknown")
	destroy(t, d, "../../etc")
	_, err := d.Plug(t.Context(), "unknown")
	wantKind(t, "Plug of no link", err, fault.NotFound)
	wantKind(t, "Cut of no link", d.Cut(t.Context(), "unknown"), fault.NotFound)
}

func testLifetime(t *testing.T, f Fixture) {
	t.Helper()
	d := f.New()
	one, two, three := f.link(1, tcp(8022)), f.link(2, tcp(8022)), f.link(3, tcp(8022))
	ensure(t, d, two, three, one)
	wantList(t, d, one, two, three)
	destroy(t, d, two.ID)
	destroy(t, d, two.ID)
	wantList(t, d, one, three)
	_, err := d.Plug(t.Context(), two.ID)
	wantKind(t, "Plug of a removed link", err, fault.NotFound)
	ensure(t, d, two)
	wantList(t, d, one, two, three)
}

func testPorts(t *testing.T, f Fixture) {
	t.Helper()
	d := f.New()
	for _, ports := range [][]network.Port{
		{tcp(8022)},
		{tcp(8022)},
		{tcp(8022), tcp(8053), udp(8053)},
		{udp(8053)},
		{},
		{tcp(8022), udp(8022)},
	} {
		l := f.link(1, ports...)
		ensure(t, d, l, l)
		wantList(t, d, l)
	}
	ensure(t, d, f.link(1, udp(8022), tcp(9000), tcp(8022)))
	if err := d.Cut(t.Context(), f.link(1).ID); err != nil {
		t.Errorf("Cut: %v", err)
	}
	wantList(t, d, f.link(1, tcp(8022), udp(8022), tcp(9000)))
}

func testRestart(t *testing.T, f Fixture) {
	t.Helper()
	one, two := f.link(1, tcp(8022)), f.link(2)
	ensure(t, f.New(), one)
	later := f.New()
	wantList(t, later, one.Sorted())
	ensure(t, later, one, two)
	plug(t, later, one.ID)
	destroy(t, f.New(), one.ID)
	wantList(t, later, two.Sorted())
}

func plug(t *testing.T, d network.Driver, id string) network.Plug {
	t.Helper()
	p, err := d.Plug(t.Context(), id)
	if err != nil {
		t.Fatalf("Plug(%q): %v", id, err)
	}
	if p.File == nil || (p.Kind != "tap" && p.Kind != "stream") {
		t.Fatalf("Plug(%q) = %+v, want a tap or a stream", id, p)
	}
	t.Cleanup(func() { _ = p.File.Close() })
	return p
}

func testPlug(t *testing.T, f Fixture) {
	t.Helper()
	d := f.New()
	l := f.link(1, tcp(8022))
	ensure(t, d, l)
	first := plug(t, d, l.ID)
	if first.Kind == "stream" {
		plug(t, d, l.ID)
		if n, err := first.File.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("Read from the first plug = %d, %v, want its end", n, err)
		}
	}
	wantList(t, d, l)
}

func testAddress(t *testing.T, f Fixture) {
	t.Helper()
	d := f.New()
	one, two := f.link(1, tcp(8022)), f.link(2, tcp(8023))
	ensure(t, d, one)
	address := two.Address
	two.Address = one.Address
	wantKind(t, "Ensure with the address of another", d.Ensure(t.Context(), two), fault.Unavailable)
	wantList(t, d, one)

	one.Address = address
	ensure(t, d, one, two)
	wantList(t, d, one, two)
	one.MAC = "52:54:00:00:00:99"
	ensure(t, d, one)
	wantList(t, d, one, two)
}

func testInvalid(t *testing.T, f Fixture) {
	t.Helper()
	d := f.New()
	for name, change := range map[string]func(*network.Link){
		"empty id":          func(l *network.Link) { l.ID = "" },
		"long id":           func(l *network.Link) { l.ID = strings.Repeat("a", 65) },
		"id with a slash":   func(l *network.Link) { l.ID = "../a" },
		"id with a newline": func(l *network.Link) { l.ID = "a\n" },
		"no address":        func(l *network.Link) { l.Address = netip.Addr{} },
		"any address":       func(l *network.Link) { l.Address = netip.IPv4Unspecified() },
		"no MAC":            func(l *network.Link) { l.MAC = "" },
		"MAC of a group":    func(l *network.Link) { l.MAC = "01:54:00:00:00:01" },
		"long MAC":          func(l *network.Link) { l.MAC = "02:00:5e:10:00:00:00:01" },
		"port 0":            func(l *network.Link) { l.Ports = []network.Port{tcp(0)} },
		"sctp":              func(l *network.Link) { l.Ports = []network.Port{{Number: 80, Protocol: "sctp"}} },
		"a port twice":      func(l *network.Link) { l.Ports = []network.Port{tcp(80), udp(80), tcp(80)} },
	} {
		l := f.link(1)
		change(&l)
		wantKind(t, "Ensure with "+name, d.Ensure(t.Context(), l), fault.Invalid)
	}
	wantList(t, d)
}

func testParallel(t *testing.T, f Fixture) {
	t.Helper()
	d := f.New()
	var all sync.WaitGroup
	want := make([]network.Link, 10)
	for i := range want {
		want[i] = f.link(i+1, tcp(8022), udp(8022))
		for range 2 {
			all.Go(func() {
				if err := f.New().Ensure(t.Context(), want[i]); err != nil {
					t.Errorf("Ensure(%s): %v", want[i].ID, err)
				}
			})
		}
	}
	all.Wait()
	wantList(t, d, want...)
	for _, l := range want {
		all.Go(func() {
			if err := d.Destroy(t.Context(), l.ID); err != nil {
				t.Errorf("Destroy(%s): %v", l.ID, err)
			}
		})
	}
	all.Wait()
	wantList(t, d)
}

// testTraffic holds for a link without a VM: it has carried nothing that its VM sent.
func testTraffic(t *testing.T, f Fixture) {
	t.Helper()
	wantTraffic(t, f.New())
	one, two := f.link(1), f.link(2, tcp(8022))
	ensure(t, f.New(), one, two)
	d := f.New()
	wantTraffic(t, d, one.ID, two.ID)
	plug(t, d, one.ID)
	wantTraffic(t, d, one.ID, two.ID)
	destroy(t, d, one.ID)
	wantTraffic(t, d, two.ID)
}

func wantTraffic(t *testing.T, d network.Driver, ids ...string) {
	t.Helper()
	got, err := d.Traffic(t.Context())
	if err != nil {
		t.Fatalf("Traffic: %v", err)
	}
	if !slices.Equal(slices.Sorted(maps.Keys(got)), ids) {
		t.Errorf("Traffic = %+v, want that of %v", got, ids)
	}
	for id, carried := range got {
		if carried.BytesOut != 0 || carried.PacketsOut != 0 {
			t.Errorf("Traffic of %s = %+v, want nothing sent: no VM is there", id, carried)
		}
	}
}

func testGuest(t *testing.T, f Fixture) {
	t.Helper()
	d := f.New()
	l := f.link(1, tcp(8022))
	before := d.Guest(l)
	ensure(t, d, l)
	if after := d.Guest(l); !reflect.DeepEqual(before, after) {
		t.Errorf("Guest = %+v before Ensure, %+v after", before, after)
	}
	if !before.Address.IsValid() || !before.Gateway.IsValid() || len(before.DNS) == 0 {
		t.Errorf("Guest = %+v, want an address, a gateway and name servers", before)
	}
}
