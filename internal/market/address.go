package market

import (
	"net/netip"

	"github.com/cpucloud/cpucloud/internal/fault"
)

// NextAddress returns the first address of the pool behind last that is not
// taken, beginning anew at the end, so that an address rests as long as
// possible before another VM gets it. The pool's first and last address are
// left out. Returns an Unsatisfiable fault when none is left.
func NextAddress(pool netip.Prefix, last netip.Addr, taken func(netip.Addr) bool) (netip.Addr, error) {
	first := pool.Masked().Addr().Next()
	usable := func(a netip.Addr) bool { return pool.Contains(a) && pool.Contains(a.Next()) }
	start := first
	if last.IsValid() && usable(last.Next()) && last.Next().Compare(first) > 0 {
		start = last.Next()
	}
	for a := start; usable(a); a = a.Next() {
		if !taken(a) {
			return a, nil
		}
	}
	for a := first; a.Less(start); a = a.Next() {
		if !taken(a) {
			return a, nil
		}
	}
	return netip.Addr{}, errNoneFits
}

// PoolSize returns how many VMs can have an address out of the pool, at most
// 65,534: what a server may sell.
func PoolSize(pool netip.Prefix) (int64, error) {
	bits := pool.Addr().BitLen() - pool.Bits()
	if !pool.IsValid() || bits < 2 {
		return 0, fault.Newf(fault.Invalid, "address pool %s holds no address to sell; it has to be a /30 or larger", pool)
	}
	return 1<<min(bits, 16) - 2, nil
}
