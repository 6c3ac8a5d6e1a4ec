package main

import (
	"fmt"

	"github.com/cpucloud/cpucloud/internal/money"
)

// placed is a VM and the wish that it is for.
type placed struct {
	wish   wish
	server int // number in the fleet
	price  money.Amount
	takes  room
}

// stock is what is left of a fleet, searched in the plainest way.
type stock struct {
	fleet []machine
	free  []room // by number
}

func newStock(fleet []machine) *stock {
	s := &stock{fleet: fleet, free: make([]room, len(fleet)+1)}
	for i := range fleet {
		s.free[fleet[i].number] = fleet[i].free()
	}
	return s
}

func (s *stock) take(server int, amount room) {
	for k, n := range amount {
		s.free[server][k] -= n
	}
}

func (s *stock) fits(server int, need room) bool {
	free := s.free[server]
	return free[0] >= need[0] && free[1] >= need[1] && free[2] >= need[2] && free[3] >= need[3]
}

// cheapest returns the least that a unit costs on a server that has room for a
// wish.
func (s *stock) cheapest(w *wish) (unit int64, found bool) {
	for i := range s.fleet {
		m := &s.fleet[i]
		if (!found || m.unit < unit) && w.wants(m) && s.fits(m.number, w.need()) {
			unit, found = m.unit, true
		}
	}
	return unit, found
}

// checkCheapest returns an error unless each of the VMs, placed one after
// another, is of the size that was wanted, on a server that was wanted and had
// room, at the price of that server, which was the least that there was.
func checkCheapest(s *stock, list []placed) error {
	for i, v := range list {
		if v.server < 1 || v.server > len(s.fleet) {
			return fmt.Errorf("VM %d is on no server of the fleet", i)
		}
		m, need := &s.fleet[v.server-1], v.wish.need()
		unit, found := s.cheapest(&v.wish)
		switch {
		case v.takes != need:
			return fmt.Errorf("VM %d takes %v, not the %v that were wanted", i, v.takes, need)
		case !v.wish.wants(m):
			return fmt.Errorf("VM %d is on server %d, which is not what was wanted", i, v.server)
		case !found || !s.fits(v.server, need):
			return fmt.Errorf("VM %d is on server %d, which has no room for it", i, v.server)
		case v.price != v.wish.price(m.unit):
			return fmt.Errorf("VM %d costs %s, not the %s of server %d", i, v.price, v.wish.price(m.unit), v.server)
		case m.unit != unit:
			return fmt.Errorf("VM %d costs %s where %s was to be had", i, v.price, v.wish.price(unit))
		}
		s.take(v.server, need)
	}
	return nil
}
