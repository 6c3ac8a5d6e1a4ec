package market

import (
	"cmp"
	"math"
	"time"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/money"
)

// Summary is a match in few figures.
type Summary struct {
	Offer         *Offer
	Hardware      *capacity.Hardware
	VCPUPerThread int64
	Configuration Configuration
	Price         money.Amount // per epoch of the bare configuration
	Servers       int64        // with room
	Instances     int64        // of the bare configuration that fit in all
	MaxExtraGiB   int64        // storage that one VM can add on the best server
	Measured      int64        // servers that were measured
	Oldest        time.Time    // of their benchmarks
	Worst, Best   Figures      // of what was measured; zero where nothing was
}

// Figures are the figures of a benchmark, in the order of FigureNames.
type Figures [8]float64

// FigureNames name the figures on the wire.
var FigureNames = [8]string{"cpuSingle", "cpuAll", "memory", "diskRead", "diskWrite", "diskIops", "diskFsync", "network"}

// lessIsBetter tells of which figures.
var lessIsBetter = [8]bool{6: true, 7: true}

// figuresOf returns the figures of a benchmark.
func figuresOf(m *capacity.Measured) Figures {
	return Figures{m.CPUSingle, m.CPUAll, m.Memory, m.DiskRead, m.DiskWrite, m.DiskIOPS, m.DiskFsync, m.Network}
}

// add takes one server in.
func (s *Summary) add(r *Room) {
	s.Servers++
	s.Instances += r.Instances
	s.MaxExtraGiB = max(s.MaxExtraGiB, r.ExtraGiB)
	if r.Measured == nil {
		return
	}
	s.Measured++
	if s.Oldest.IsZero() || r.Measured.At.Before(s.Oldest) {
		s.Oldest = r.Measured.At
	}
	for k, value := range figuresOf(r.Measured) {
		s.take(k, value)
	}
}

// take takes a figure of one server in; 0 is none.
func (s *Summary) take(k int, value float64) {
	if value <= 0 {
		return
	}
	least, most := &s.Worst[k], &s.Best[k]
	if lessIsBetter[k] {
		least, most = most, least
	}
	if *least == 0 || value < *least {
		*least = value
	}
	*most = max(*most, value)
}

// Sort says which summaries come first.
type Sort string

// The sorts besides the names of figures, of which the best server counts.
const (
	ByPrice Sort = "price" // cheapest first
	ByFree  Sort = "free"  // most instances first
)

// Valid reports whether s is one of the sorts.
func (s Sort) Valid() bool {
	return s == ByPrice || s == ByFree || s.figure() >= 0
}

func (s Sort) figure() int {
	for k, name := range FigureNames {
		if name == string(s) {
			return k
		}
	}
	return -1
}

// Cursor is the place of a summary in a sorted list: what stands behind it
// follows it.
type Cursor struct {
	Value         float64           `json:"v"` // lower comes first
	Price         money.Amount      `json:"p"`
	Configuration int               `json:"c"`
	Offer         string            `json:"o"`
	Hardware      capacity.Hardware `json:"h"`
	PerThread     int64             `json:"t"`
}

// Cursor returns the place of the summary in a list that is sorted so.
func (s *Summary) Cursor(by Sort) Cursor {
	c := Cursor{Price: s.Price, Offer: s.Offer.ID, Hardware: *s.Hardware, PerThread: s.VCPUPerThread}
	for i := range catalogue {
		if catalogue[i] == s.Configuration {
			c.Configuration = i
		}
	}
	switch k := by.figure(); {
	case by == ByFree:
		c.Value = -float64(s.Instances)
	case k >= 0 && s.Best[k] == 0:
		c.Value = math.MaxFloat64 // never measured comes last
	case k >= 0 && lessIsBetter[k]:
		c.Value = s.Best[k]
	case k >= 0:
		c.Value = -s.Best[k]
	}
	return c
}

// Compare says which of two places comes first, like cmp.Compare.
func (c Cursor) Compare(d Cursor) int {
	if n := cmp.Or(cmp.Compare(c.Value, d.Value), cmp.Compare(c.Price, d.Price), cmp.Compare(c.Configuration, d.Configuration), cmp.Compare(c.Offer, d.Offer)); n != 0 {
		return n
	}
	for _, pair := range pairs(c.Hardware, d.Hardware) {
		if n := cmp.Compare(pair[0], pair[1]); n != 0 {
			return n
		}
	}
	return cmp.Compare(c.PerThread, d.PerThread)
}
