package market

// Groups returns how many groups the index remembers, or kinds of hardware if
// those are more.
func (x *Index) Groups() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return max(len(x.groups), len(x.byKey), len(x.kinds))
}

// Add takes one server in.
func (s *Summary) Add(r Room) { s.add(&r) }
