package benchmark

import (
	"context"
	"crypto/sha256"
	"slices"
	"sync"
	"time"
)

// unitsPerPoint makes 1,000 of the reference's units per second.
const unitsPerPoint = 15.0

func score(unitsPerSecond float64) float64 { return round(unitsPerSecond / unitsPerPoint) }

// work has n threads repeat the unit until the time is up and returns how many
// units they did per second.
func work(ctx context.Context, c Config, n int) float64 {
	var all sync.WaitGroup
	done := make([]float64, n)
	for i := range n {
		all.Go(func() {
			w := newWorkload(uint64(i))
			start := c.Now()
			units := 0
			for took := time.Duration(0); took < c.CPU && ctx.Err() == nil; took = c.Now().Sub(start) {
				w.unit()
				units++
			}
			done[i] = rate(float64(units), c.Now().Sub(start))
		})
	}
	all.Wait()
	sum := 0.0
	for _, d := range done {
		sum += d
	}
	return sum
}

// Sizes of the unit. All of it fits into a first-level cache.
const (
	sorted = 1024
	hashed = 8 << 10
	matrix = 24
)

// workload is what one thread works on. Each unit works on the results of the
// one before, so that a compiler can leave nothing out.
type workload struct {
	random  uint64
	numbers [sorted]uint32
	text    [hashed]byte
	a, b, p [matrix][matrix]float64
}

func newWorkload(seed uint64) *workload {
	w := &workload{random: seed*2 + 1}
	for i := range w.text {
		w.text[i] = byte(w.next())
	}
	for i := range matrix {
		for j := range matrix {
			w.a[i][j], w.b[i][j] = float64(w.next()%1000)/1000, float64(w.next()%1000)/1000
		}
	}
	return w
}

// next is xorshift64*.
func (w *workload) next() uint64 {
	w.random ^= w.random >> 12
	w.random ^= w.random << 25
	w.random ^= w.random >> 27
	return w.random * 0x2545f4914f6cdd1d
}

// unit is the work that is counted.
func (w *workload) unit() {
	for i := range w.numbers {
		w.numbers[i] = uint32(w.next())
	}
	slices.Sort(w.numbers[:])
	sum := sha256.Sum256(w.text[:])
	fnv := uint64(14695981039346656037)
	for _, b := range w.text {
		fnv = (fnv ^ uint64(b)) * 1099511628211
	}
	copy(w.text[fnv%(hashed-sha256.Size):], sum[:])
	w.random ^= fnv | 1
	if w.random == 0 {
		w.random = 1
	}
	w.multiply()
}

func (w *workload) multiply() {
	for i := range matrix {
		for j := range matrix {
			sum := 0.0
			for k := range matrix {
				sum += w.a[i][k] * w.b[k][j]
			}
			w.p[i][j] = sum
		}
	}
	for i := range matrix {
		w.a[i][i] = w.p[i][i]/matrix + float64(w.numbers[i])/(1<<32)
	}
}
