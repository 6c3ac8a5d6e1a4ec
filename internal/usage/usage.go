// Package usage is what VMs use of their servers over time: processor, memory,
// disk and network, as sums over stretches of time.
//
// Time is cut into slots of 15 seconds. A point tells what was used in one slot, or in
// several that follow each other: everything in it is a sum, so that points are
// made coarser by adding them, and nothing is lost by that but when it was. What is
// not known of a slot is not in the sums: a point says of how many slots it knows.
package usage

import (
	"slices"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
)

// Width is how long a slot is.
const Width = 15 * time.Second

// Slot is a stretch of time, by its number since 1970-01-01T00:00:00Z.
type Slot int64

// SlotOf returns the slot in which t is.
func SlotOf(t time.Time) Slot { return floor(Slot(t.UnixMilli()), Slot(Width.Milliseconds())) }

// Time returns when the slot begins.
func (s Slot) Time() time.Time { return time.UnixMilli(int64(s) * Width.Milliseconds()).UTC() }

// Floor returns the first slot of the stretch of width slots in which s is.
func (s Slot) Floor(width int64) Slot { return floor(s, Slot(width)) * Slot(width) }

func floor(a, b Slot) Slot {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// Slots returns how many slots are in d.
func Slots(d time.Duration) int64 { return int64(d / Width) }

// Figure is one thing that is counted.
type Figure int

// The figures.
const (
	CPU        Figure = iota // ms of processor time, of all processors together
	Steal                    // ms that threads of the VM could run and had to wait for a processor
	Memory                   // KiB of the server's memory that it holds, at the end of each slot
	ReadBytes                // from its disks
	WriteBytes               // to its disks
	ReadOps                  // requests to read
	WriteOps                 // requests to write
	BytesIn                  // that it received
	BytesOut                 // that it sent
	PacketsIn                // that it received
	PacketsOut               // that it sent
	figures    = iota
)

// Group are figures that come from one source: they are known together.
type Group int

// The groups.
const (
	Machine Group = iota // CPU, Steal and Memory
	Disk                 // bytes and requests of its disks
	Net                  // bytes and packets of its network card
	groups  = iota
)

// Group returns what f belongs to.
func (f Figure) Group() Group {
	switch {
	case f <= Memory:
		return Machine
	case f <= WriteOps:
		return Disk
	}
	return Net
}

// Figures returns all figures.
func Figures() []Figure { return slices.Clone(allFigures[:]) }

var allFigures = [figures]Figure{CPU, Steal, Memory, ReadBytes, WriteBytes, ReadOps, WriteOps, BytesIn, BytesOut, PacketsIn, PacketsOut}

// Point is what one VM used in a stretch of slots.
type Point struct {
	At    Slot            // the first
	Known [groups]int64   // of how many slots the sums of each group tell
	Sum   [figures]uint64 // over these
}

// Bounds of a point, far beyond what a server can do: sums of them fit.
const (
	MaxWidth = 1 << 20 // slots, half a year
	MaxSum   = 1 << 42 // of each figure in one slot: 4 TiB, or 140 years of processor time
)

// Check returns an Invalid fault for a point that tells of more slots than width, of a
// group without telling of a slot, or more than a server can do.
func (p Point) Check(width int64) error {
	for _, known := range p.Known {
		if known < 0 || known > width {
			return fault.Newf(fault.Invalid, "a point of %d slots tells of %d", width, known)
		}
	}
	for f, sum := range p.Sum {
		if sum > uint64(p.Known[Figure(f).Group()])*MaxSum { //nolint:gosec // not negative
			return fault.New(fault.Invalid, "a point tells of more than can be, or of slots that it doesn't know")
		}
	}
	return nil
}

// Add adds what q tells of other slots of the same stretch.
func (p *Point) Add(q Point) {
	for g, known := range q.Known {
		p.Known[g] += known
	}
	for f, sum := range q.Sum {
		p.Sum[f] += sum
	}
}

// Mean returns how much of f there was in a slot on average, of those that are known.
// ok is false where none is.
func (p Point) Mean(f Figure) (mean float64, ok bool) {
	known := p.Known[f.Group()]
	if known == 0 {
		return 0, false
	}
	return float64(p.Sum[f]) / float64(known), true
}
