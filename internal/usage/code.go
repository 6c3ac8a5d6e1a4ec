package usage

import (
	"encoding/binary"

	"github.com/cpucloud/cpucloud/internal/fault"
)

// A series is written as its format, width, number of points and first slot, and then
// each point as what has changed since the one before: two bytes of flags, and of
// what they name the difference. Numbers are varints of encoding/binary. A VM that
// does nothing takes 2 bytes a point, one that is busy about 30.
const (
	format = 1

	knownChanged = 1 << figures      // Known follows; else it is as before
	gapBefore    = 1 << figures << 1 // how many stretches are missing follows
	allFlags     = gapBefore<<1 - 1
)

var errDamaged = fault.New(fault.Malformed, "this is no series of points")

// Append writes a series of points of width slots behind data.
func Append(data []byte, series []Point, width int64) []byte {
	data = append(data, format)
	data = binary.AppendUvarint(data, uint64(width)) //nolint:gosec // positive
	data = binary.AppendUvarint(data, uint64(len(series)))
	if len(series) == 0 {
		return data
	}
	data = binary.AppendVarint(data, int64(series[0].At))
	before := first(series[0].At, width)
	for _, p := range series {
		data = appendPoint(data, before, p, width)
		before = p
	}
	return data
}

// first returns what the first point is written as a change of.
func first(at Slot, width int64) Point {
	p := Point{At: at - Slot(width)}
	for g := range p.Known {
		p.Known[g] = width
	}
	return p
}

func appendPoint(data []byte, before, p Point, width int64) []byte {
	var flags uint16
	start := len(data)
	data = append(data, 0, 0)
	if missing := int64(p.At-before.At)/width - 1; missing > 0 {
		flags |= gapBefore
		data = binary.AppendUvarint(data, uint64(missing))
	}
	if p.Known != before.Known {
		flags |= knownChanged
		for _, known := range p.Known {
			data = binary.AppendUvarint(data, uint64(known)) //nolint:gosec // not negative
		}
	}
	for f, sum := range p.Sum {
		if change := int64(sum - before.Sum[f]); change != 0 { //nolint:gosec // it wraps here and back there
			flags |= 1 << f
			data = binary.AppendVarint(data, change)
		}
	}
	binary.LittleEndian.PutUint16(data[start:], flags)
	return data
}

// Decode reads a series of at most most points, and the width of these. Returns a
// Malformed fault for anything but what Append writes, and an Invalid one for points
// that can't be.
func Decode(data []byte, most int) (series []Point, width int64, err error) {
	r := reader{data: data}
	if r.byte() != format {
		return nil, 0, errDamaged
	}
	wide, n := r.uvarint(), r.uvarint()
	if r.failed || wide == 0 || wide > MaxWidth || n > uint64(most) || n > uint64(len(r.data)/2) { //nolint:gosec // most is positive
		return nil, 0, errDamaged
	}
	width = int64(wide)
	if n == 0 {
		return []Point{}, width, r.end()
	}
	at := Slot(r.varint())
	if at < -maxSlot || at > maxSlot || at != at.Floor(width) {
		return nil, 0, errDamaged
	}
	before := first(at, width)
	series = make([]Point, n)
	for i := range series {
		if before = r.point(before, width, i == 0); r.failed {
			return nil, 0, errDamaged
		}
		if err := before.Check(width); err != nil {
			return nil, 0, err
		}
		series[i] = before
	}
	return series, width, r.end()
}

// maxSlot bounds times: some hundred thousand years from 1970.
const maxSlot = 1 << 40

// reader takes a text apart. Once it failed, it returns zeros.
type reader struct {
	data   []byte
	failed bool
}

func (r *reader) byte() byte {
	if len(r.data) == 0 {
		r.failed = true
		return 0
	}
	b := r.data[0]
	r.data = r.data[1:]
	return b
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.data)
	return v * r.took(n)
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.data)
	return v * int64(r.took(n)) //nolint:gosec // 0 or 1
}

// took goes on behind a varint of n bytes, and returns 0 for one that was none.
func (r *reader) took(n int) uint64 {
	if n <= 0 || r.failed || n > 1 && r.data[n-1] == 0 { // which is written shorter
		r.failed = true
		return 0
	}
	r.data = r.data[n:]
	return 1
}

func (r *reader) end() error {
	if r.failed || len(r.data) > 0 {
		return errDamaged
	}
	return nil
}

func (r *reader) point(before Point, width int64, isFirst bool) Point {
	flags := uint16(r.byte()) | uint16(r.byte())<<8
	p := before
	p.At += Slot(width)
	if flags&gapBefore != 0 {
		missing := r.uvarint()
		if missing == 0 || missing > maxSlot/uint64(width) || isFirst { //nolint:gosec // positive
			r.failed = true
			return p
		}
		p.At += Slot(missing) * Slot(width) //nolint:gosec // bounded above
	}
	if flags > allFlags || p.At > maxSlot {
		r.failed = true
	}
	if flags&knownChanged != 0 {
		for g := range p.Known {
			p.Known[g] = int64(min(r.uvarint(), MaxWidth+1)) //nolint:gosec // small
		}
		r.failed = r.failed || p.Known == before.Known
	}
	for f := range p.Sum {
		if flags&(1<<f) != 0 {
			change := r.varint()
			r.failed = r.failed || change == 0
			p.Sum[f] += uint64(change) //nolint:gosec // it wraps back, see appendPoint
		}
	}
	return p
}
