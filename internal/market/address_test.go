package market_test

import (
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/market"
)

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
