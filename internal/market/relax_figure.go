package market

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/cpucloud/cpucloud/internal/capacity"
)

// figure is one of the figures of a benchmark, as FigureNames counts them.
type figure int

func (f figure) of(m *capacity.Measured) *float64 {
	return [len(FigureNames)]*float64{
		&m.CPUSingle, &m.CPUAll, &m.Memory, &m.DiskRead, &m.DiskWrite, &m.DiskIOPS, &m.DiskFsync, &m.Network,
	}[f]
}

// meets reports whether a server's figure is good enough.
func (f figure) meets(want, have *capacity.Measured) bool {
	w, h := *f.of(want), *f.of(have)
	if lessIsBetter[f] {
		return w == 0 || h > 0 && h <= w
	}
	return h >= w
}

// compare orders values of a figure, the best first; 0 was not measured.
func (f figure) compare(a, b float64) int {
	if lessIsBetter[f] && a > 0 && b > 0 {
		return cmp.Compare(a, b)
	}
	return cmp.Compare(b, a)
}

func figureWords(m *capacity.Measured) string {
	var texts []string
	for f := range figure(len(FigureNames)) {
		if v := *f.of(m); v != 0 {
			bound := "at least"
			if lessIsBetter[f] {
				bound = "at most"
			}
			texts = append(texts, fmt.Sprintf("%s %s %v", FigureNames[f], bound, v))
		}
	}
	return strings.Join(texts, ", ")
}

// alone reports whether this is the only figure that isn't good enough.
func (f figure) alone(want, have *capacity.Measured) bool {
	if have == nil || f.meets(want, have) {
		return false
	}
	for other := range figure(len(FigureNames)) {
		if other != f && !other.meets(want, have) {
			return false
		}
	}
	return true
}

// relaxMeasured lowers the one figure that leads to the lowest price, or asks
// for none where no single one is enough.
func (e *explaining) relaxMeasured() (best []Relaxation) {
	for f := range figure(len(FigureNames)) {
		r := e.relaxFigure(f)
		if len(r) > 0 && (best == nil || r[0].Price < best[0].Price) {
			best = r
		}
	}
	room := int64(0)
	for _, s := range e.slow {
		room += s.room
	}
	if best == nil && len(e.slow) > 0 && e.enough(room) {
		return e.relaxed(byMeasured, "ask for no measured figures", func(r *Request) { r.MinMeasured = capacity.Measured{} })
	}
	return best
}

// relaxFigure asks for the best value of a figure that is enough.
func (e *explaining) relaxFigure(f figure) []Relaxation {
	want := e.request.MinMeasured
	var list []slow
	for _, s := range e.slow {
		if f.alone(&want, s.have) {
			list = append(list, s)
		}
	}
	slices.SortStableFunc(list, func(a, b slow) int { return f.compare(*f.of(a.have), *f.of(b.have)) })
	room := int64(0)
	for _, s := range list {
		if room += s.room; !e.enough(room) {
			continue
		}
		value := *f.of(s.have)
		change := fmt.Sprintf("accept %s of %v instead of %v", FigureNames[f], value, *f.of(&want))
		if value == 0 {
			change = fmt.Sprintf("do without %s of %v", FigureNames[f], *f.of(&want))
		}
		*f.of(&want) = value
		return e.relaxed(byMeasured, change, func(r *Request) { r.MinMeasured = want })
	}
	return nil
}
