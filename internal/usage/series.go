package usage

// A series is points in the order of their time, no two of the same. That of width
// slots has points of stretches that begin at multiples of it.

// Coarsen returns a series of points of width slots, each with the sums of those in it.
func Coarsen(series []Point, width int64) []Point {
	var out []Point
	for _, p := range series {
		at := p.At.Floor(width)
		if n := len(out); n > 0 && out[n-1].At == at {
			out[n-1].Add(p)
			continue
		}
		p.At = at
		out = append(out, p)
	}
	return out
}

// Merge returns the points of two series of the same width. Where both tell of the same
// time, that is taken of each group which knows more, a's if they know the same: two
// accounts of one time are not to be counted twice.
func Merge(a, b []Point) []Point {
	out := make([]Point, 0, max(len(a), len(b)))
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0].At < b[0].At:
			out, a = append(out, a[0]), a[1:]
		case a[0].At > b[0].At:
			out, b = append(out, b[0]), b[1:]
		default:
			out, a, b = append(out, a[0].merge(b[0])), a[1:], b[1:]
		}
	}
	return append(append(out, a...), b...)
}

// merge returns p with the groups of which q knows more.
func (p Point) merge(q Point) Point {
	for _, f := range allFigures {
		if g := f.Group(); q.Known[g] > p.Known[g] {
			p.Sum[f] = q.Sum[f]
		}
	}
	for g := range p.Known {
		p.Known[g] = max(p.Known[g], q.Known[g])
	}
	return p
}

// Within returns the part of a series that begins at from or later, before to.
func Within(series []Point, from, to Slot) []Point {
	first := 0
	for first < len(series) && series[first].At < from {
		first++
	}
	last := first
	for last < len(series) && series[last].At < to {
		last++
	}
	return series[first:last]
}
