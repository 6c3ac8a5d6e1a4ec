package market

// bitset is a set of positions.
type bitset []uint64

func newBitset(n int) bitset { return make(bitset, (n+63)/64) }

// set puts i in or out; a position beyond the set is left out.
func (b bitset) set(i uint32, in bool) {
	if int(i/64) >= len(b) {
		return
	}
	if in {
		b[i/64] |= 1 << (i % 64)
	} else {
		b[i/64] &^= 1 << (i % 64)
	}
}
