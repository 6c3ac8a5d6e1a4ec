package market_test

import (
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/market"
)

func TestConfigurations(t *testing.T) {
	t.Parallel()
	list := market.Configurations()
	if got := list[0].Slug(); got != "cpu-2-ram-4gb-storage-25gb" {
		t.Errorf("the smallest is %s", got)
	}
	for i, c := range list {
		if c.RAMGiB != 2*c.VCPU || c.VCPU%2 != 0 || c.StorageGiB < 25 {
			t.Errorf("%s is no multiple of the compute unit", c.Slug())
		}
		if i > 0 && slices.Compare([]int64{list[i-1].VCPU, list[i-1].RAMGiB, list[i-1].StorageGiB}, []int64{c.VCPU, c.RAMGiB, c.StorageGiB}) >= 0 {
			t.Errorf("%s stands behind %s", c.Slug(), list[i-1].Slug())
		}
	}
	list[0].VCPU = 99
	if market.Configurations()[0].VCPU == 99 {
		t.Error("a caller changed the catalogue")
	}
}

func TestSummarise(t *testing.T) {
	t.Parallel()
	amd := capacity.Hardware{CPU: capacity.CPU{Manufacturer: "AMD", Brand: "one", Architecture: "Zen"}, Memory: capacity.Memory{Type: "DDR", Generation: "5"}, Storage: capacity.Storage{Type: "NVMe"}}
	intel := amd
	intel.CPU.Manufacturer, intel.CPU.Architecture, intel.Storage.Type = "Intel", "Xeon", "HDD"
	other := amd
	other.CPU.Brand = "two"
	small := market.Server{Capacity: capacity.Vector{VCPU: 4, RAMGiB: 8, StorageGiB: 30, Addresses: 1}}
	small.Used = small.Capacity // what is full still is what it is
	in := func(country string, hw capacity.Hardware, servers ...market.Server) market.Offer {
		return market.Offer{Datacenter: market.Datacenter{Country: country}, Hardware: hw, Servers: servers}
	}
	got := market.Summarise([]market.Offer{in("US", intel, small), in("DE", amd, small, small), in("US", other, small), in("FR", amd)})
	want := market.Catalogue{
		Configurations: []string{"cpu-2-ram-4gb-storage-25gb", "cpu-4-ram-8gb-storage-25gb"},
		Countries:      []string{"DE", "US"},
		CPU:            []capacity.CPU{{Manufacturer: "AMD", Architecture: "Zen"}, {Manufacturer: "Intel", Architecture: "Xeon"}},
		Memory:         []capacity.Memory{{Type: "DDR", Generation: "5"}},
		Storage:        []capacity.Storage{{Type: "HDD"}, {Type: "NVMe"}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	empty := market.Catalogue{
		Configurations: []string{}, Countries: []string{}, CPU: []capacity.CPU{}, Memory: []capacity.Memory{}, Storage: []capacity.Storage{},
	}
	if got := market.Summarise(nil); !reflect.DeepEqual(got, empty) {
		t.Errorf("of no offers: got %#v, want empty lists that are not nil", got)
	}
}

func TestDatacenter(t *testing.T) {
	t.Parallel()
	good := market.Datacenter{Country: "US", City: "NYC", Index: 1, Tier: 4}
	if err := good.Check(); err != nil || good.Slug() != "us-nyc-1" {
		t.Errorf("%s: %v", good.Slug(), err)
	}
	for name, spoil := range map[string]func(*market.Datacenter){
		"no country":    func(d *market.Datacenter) { d.Country = "" },
		"long country":  func(d *market.Datacenter) { d.Country = "USA" },
		"small country": func(d *market.Datacenter) { d.Country = "us" },
		"no city":       func(d *market.Datacenter) { d.City = "" },
		"odd city":      func(d *market.Datacenter) { d.City = "Zü" },
		"no index":      func(d *market.Datacenter) { d.Index = 0 },
		"no tier":       func(d *market.Datacenter) { d.Tier = 0 },
		"fifth tier":    func(d *market.Datacenter) { d.Tier = 5 },
	} {
		d := good
		spoil(&d)
		if err := d.Check(); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: got %v, want a fault of kind invalid", name, err)
		}
	}
}

// An address comes out of the pool, is free, and is the one that rested longest.
func TestNextAddress(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		pool := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, rapid.Byte().Draw(t, "base")}), rapid.IntRange(26, 30).Draw(t, "bits"))
		var usable []netip.Addr // in their order
		for a := pool.Masked().Addr().Next(); pool.Contains(a.Next()); a = a.Next() {
			usable = append(usable, a)
		}
		if size, err := market.PoolSize(pool); err != nil || int(size) != len(usable) {
			t.Errorf("PoolSize of %s: got %d, %v, want %d", pool, size, err, len(usable))
		}
		taken := map[netip.Addr]bool{}
		for _, i := range rapid.SliceOf(rapid.IntRange(0, len(usable)-1)).Draw(t, "taken") {
			taken[usable[i]] = true
		}
		last := rapid.SampledFrom(append(usable, netip.Addr{}, pool.Masked().Addr(), usable[len(usable)-1].Next(), netip.MustParseAddr("192.0.2.1"),
			netip.MustParseAddr("255.255.255.255"), netip.MustParseAddr("::1"))).Draw(t, "last")

		begin := slices.Index(usable, last) + 1 // 0 for one that is not of the pool
		rotated := append(slices.Clone(usable[begin:]), usable[:begin]...)
		free := slices.DeleteFunc(rotated, func(a netip.Addr) bool { return taken[a] })
		got, err := market.NextAddress(pool, last, func(a netip.Addr) bool { return taken[a] })
		switch {
		case len(free) == 0 && !fault.Is(err, fault.Unsatisfiable):
			t.Errorf("got %s, %v from a pool without a free address", got, err)
		case len(free) > 0 && (err != nil || got != free[0]):
			t.Errorf("got %s, %v, want %s", got, err, free[0])
		}
	})
}

// The largest pool is looked through in a moment.
func TestNextAddressLargePool(t *testing.T) {
	t.Parallel()
	pool := netip.MustParsePrefix("10.1.0.0/16")
	size, err := market.PoolSize(pool)
	if err != nil || size != 65_534 {
		t.Fatalf("PoolSize: got %d, %v", size, err)
	}
	asked, only := 0, netip.MustParseAddr("10.1.128.0")
	got, err := market.NextAddress(pool, only, func(a netip.Addr) bool {
		asked++
		return a != only
	})
	if err != nil || got != only {
		t.Errorf("got %s, %v, want %s", got, err, only)
	}
	if asked > 65_534 {
		t.Errorf("asked about %d addresses of %d", asked, size)
	}
}

func TestPoolSize(t *testing.T) {
	t.Parallel()
	for pool, want := range map[string]int64{
		"192.0.2.0/30": 2, "192.0.2.7/29": 6, "10.0.0.0/8": 65_534, "10.0.0.0/16": 65_534, "2001:db8::/126": 2, "2001:db8::/64": 65_534, "0.0.0.0/0": 65_534,
	} {
		if got, err := market.PoolSize(netip.MustParsePrefix(pool)); err != nil || got != want {
			t.Errorf("%s: got %d, %v, want %d", pool, got, err, want)
		}
	}
	for _, pool := range []netip.Prefix{{}, netip.MustParsePrefix("192.0.2.0/31"), netip.MustParsePrefix("192.0.2.0/32"), netip.MustParsePrefix("::1/127")} {
		if got, err := market.PoolSize(pool); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: got %d, %v, want a fault of kind invalid", pool, got, err)
		}
	}
}
