package market

// take takes w out of a server's room, times sign.
func (x *Index) take(number uint32, w *demand, sign int32) {
	g, at := x.find(number)
	if g == nil {
		return
	}
	now := g.slots[at]
	now.free.add(w, -sign)
	x.change(g, at, now)
}

// Open reports whether new VMs may be placed on a server.
func (x *Index) Open(number uint32) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	g, at := x.find(number)
	return g != nil && g.slots[at].open
}

// Take takes placements out of the room that searches see, as the store did.
func (x *Index) Take(placed []Placement) { x.takeAll(placed, 1) }

// GiveBack undoes Take.
func (x *Index) GiveBack(placed []Placement) { x.takeAll(placed, -1) }

func (x *Index) takeAll(placed []Placement, sign int32) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for i := range placed {
		w := small(placed[i].Demand())
		x.take(placed[i].Server, &w, sign)
	}
}
