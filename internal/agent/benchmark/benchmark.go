// Package benchmark measures a server in a few seconds: its processor, its
// memory, the disk of its VMs, and the way to its control plane.
//
// The figures are there to compare servers with each other and a server with
// itself, not to replace a long benchmark. They are taken with whatever else
// runs on the machine, so that a full server shows less than an empty one.
//
// # Scores
//
// The processor repeats one fixed unit of work: integers are sorted, texts are
// hashed with SHA-256 and with FNV-1a, and a matrix of floats is multiplied. The
// score is units per second by 15, so that 1,000 is 15,000 units per second:
// about what one thread of an AMD EPYC of the 9004 series (Zen 4) does.
//
// # Disk
//
// The disk is measured on one file that has no name, so that nothing is left of
// it however the process ends. It is read and written past the page cache where
// the file system allows that, and a note says where it does not.
package benchmark

import (
	"cmp"
	"context"
	"errors"
	"math"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/fault"
)

// Config says what is measured, and for how long. Only Dir and Now are needed.
type Config struct {
	Dir  string                      // a folder on the disk that is measured
	Now  func() time.Time            // with a monotonic reading, as time.Now
	Ping func(context.Context) error // goes to the control plane and back; nil is not measured

	Threads   int           // at once; as many as the process may use if 0
	CPU       time.Duration // of each of two phases; 1.5 s if 0
	Memory    time.Duration // 1.5 s if 0
	Disk      time.Duration // of each of four phases; 2 s if 0
	Network   time.Duration // 1.5 s if 0
	FileBytes int64         // 256 MiB if 0
	Buffers   int64         // bytes of memory that are used, by all threads together; more than caches hold if 0
	Keep      int64         // bytes of the disk that are left free; 1 GiB if 0
}

// maxNote is how long a note gets at most.
const maxNote = 256

// Run measures everything, one after the other, and returns when the time of
// all phases is up, or with the error of ctx soon after that is done. What can't
// be measured is 0, and the note says why. Returns a Conflict fault when another
// benchmark runs over the same folder.
func Run(ctx context.Context, c Config) (capacity.Measured, error) {
	c = c.withDefaults()
	release, err := alone(c.Dir)
	if err != nil {
		return capacity.Measured{}, err
	}
	defer release()
	var notes []string
	note := func(what string, err error) {
		if err != nil {
			notes = append(notes, what+": "+err.Error())
		}
	}
	m := capacity.Measured{CPUSingle: score(work(ctx, c, 1)), CPUAll: score(work(ctx, c, c.Threads))}
	m.Memory, err = memory(ctx, c)
	note("memory", err)
	note("disk", measureDisk(ctx, c, &m, &notes))
	if c.Ping != nil {
		m.Network, err = roundTrip(ctx, c)
		note("network", err)
	}
	if ctx.Err() != nil {
		return capacity.Measured{}, ctx.Err()
	}
	m.At = c.Now().UTC().Round(0)
	m.Note = clip(strings.Join(notes, "; "))
	return m, nil
}

// alone holds the folder against other benchmarks until release. A folder that
// can't be opened is held by nobody; the disk's part says what is wrong with it.
func alone(dir string) (release func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return func() {}, nil //nolint:nilerr // measuring the rest makes sense
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		return nil, errors.Join(fault.New(fault.Conflict, "another benchmark runs on this machine; wait until it is done"), f.Close())
	}
	return func() { _ = f.Close() }, nil
}

func (c Config) withDefaults() Config {
	c.Threads = cmp.Or(c.Threads, runtime.GOMAXPROCS(0))
	c.CPU = cmp.Or(c.CPU, 1500*time.Millisecond)
	c.Memory = cmp.Or(c.Memory, 1500*time.Millisecond)
	c.Disk = cmp.Or(c.Disk, 2*time.Second)
	c.Network = cmp.Or(c.Network, 1500*time.Millisecond)
	c.FileBytes = max(blockBytes, cmp.Or(c.FileBytes, 256<<20)/blockBytes*blockBytes)
	c.Buffers = cmp.Or(c.Buffers, buffers(int64(c.Threads), totalMemory()))
	c.Keep = cmp.Or(c.Keep, 1<<30)
	return c
}

// rate returns how much of something was done per second, rounded to what a
// short measurement can tell.
func rate(done float64, took time.Duration) float64 {
	if took <= 0 {
		return 0
	}
	return round(done / took.Seconds())
}

// round keeps four digits.
func round(x float64) float64 {
	if x <= 0 || math.IsInf(x, 0) || math.IsNaN(x) {
		return 0
	}
	unit := math.Pow10(int(math.Floor(math.Log10(x))) - 3)
	if unit < 1 {
		return math.Round(x*math.Round(1/unit)) / math.Round(1/unit)
	}
	return math.Round(x/unit) * unit
}

func milliseconds(d time.Duration) float64 { return round(float64(d) / float64(time.Millisecond)) }

func clip(s string) string {
	if len(s) > maxNote {
		s = strings.ToValidUTF8(s[:maxNote-len("…")], "") + "…"
	}
	return s
}
