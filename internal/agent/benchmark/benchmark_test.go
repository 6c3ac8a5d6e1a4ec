package benchmark_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/agent/benchmark"
	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/fault"
)

// quick returns a configuration that takes milliseconds.
func quick(t *testing.T) benchmark.Config {
	t.Helper()
	const short = 20 * time.Millisecond
	return benchmark.Config{
		Dir: t.TempDir(), Now: time.Now, Ping: func(context.Context) error { return nil },
		CPU: short, Memory: short, Disk: short, Network: short, FileBytes: 4 << 20, Buffers: 8 << 20,
	}
}

func figures(m capacity.Measured) map[string]float64 {
	return map[string]float64{
		"one thread": m.CPUSingle, "all threads": m.CPUAll, "memory": m.Memory, "disk read": m.DiskRead, "disk write": m.DiskWrite,
		"random reads": m.DiskIOPS, "fsync": m.DiskFsync, "network": m.Network,
	}
}

func empty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 {
		t.Errorf("%v is left in the folder (%v)", left, err)
	}
}

func TestEveryFigure(t *testing.T) {
	t.Parallel()
	c := quick(t)
	start := time.Now()
	m, err := benchmark.Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	for name, figure := range figures(m) {
		if figure <= 0 {
			t.Errorf("%s: %v (%s)", name, figure, m.Note)
		}
	}
	if m.At.Before(start.Add(-time.Second)) || m.At.After(time.Now()) || m.Request != 0 {
		t.Errorf("taken at %s for request %d", m.At, m.Request)
	}
	empty(t, c.Dir)
}

// The page cache may be the only way to a disk: then that is said.
func TestMemoryFileSystem(t *testing.T) {
	t.Parallel()
	dir := fmt.Sprintf("/dev/shm/cpucloud-benchmark-%d", os.Getpid())
	if err := os.Mkdir(dir, 0o700); err != nil { // a machine without one shows at least that nothing is left
		dir = t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	c := quick(t)
	c.Dir, c.Keep = dir, 1<<20
	m, err := benchmark.Run(t.Context(), c)
	if err != nil || m.DiskRead <= 0 || m.DiskIOPS <= 0 {
		t.Errorf("measured %+v, %v", m, err)
	}
	empty(t, dir)
}

func TestWhatCannotBeMeasured(t *testing.T) {
	t.Parallel()
	disk := []string{"disk read", "disk write", "random reads", "fsync"}
	for name, tt := range map[string]struct {
		change func(*benchmark.Config)
		zero   []string
		note   string
	}{
		"no room":          {func(c *benchmark.Config) { c.Keep = 1 << 60 }, disk, "are free, which is too little"},
		"no folder":        {func(c *benchmark.Config) { c.Dir = filepath.Join(c.Dir, "none") }, disk, "no such file"},
		"control is away":  {func(c *benchmark.Config) { c.Ping = func(context.Context) error { return errors.New("no route") } }, []string{"network"}, "network: no route"},
		"no control plane": {func(c *benchmark.Config) { c.Ping = nil }, []string{"network"}, ""},
		"a long reason": {func(c *benchmark.Config) {
			c.Ping = func(context.Context) error { return errors.New(strings.Repeat("é", 1000)) }
		}, []string{"network"}, "é…"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := quick(t)
			tt.change(&c)
			m, err := benchmark.Run(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			all := figures(m)
			for _, z := range tt.zero {
				if all[z] != 0 {
					t.Errorf("%s: %v, want 0", z, all[z])
				}
				delete(all, z)
			}
			for name, figure := range all {
				if figure <= 0 {
					t.Errorf("%s: %v, want it measured all the same", name, figure)
				}
			}
			if !strings.Contains(m.Note, tt.note) || len(m.Note) > 256 {
				t.Errorf("note %q, want %q in it", m.Note, tt.note)
			}
		})
	}
}

// A benchmark of minutes ends soon after it is called off, in whatever phase.
func TestCancelled(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*benchmark.Config){
		"processor": func(c *benchmark.Config) { c.CPU = time.Hour },
		"memory":    func(c *benchmark.Config) { c.Memory = time.Hour },
		"disk":      func(c *benchmark.Config) { c.Disk = time.Hour },
		"network": func(c *benchmark.Config) {
			c.Network = time.Hour
			c.Ping = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := quick(t)
			change(&c)
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			start := time.Now()
			m, err := benchmark.Run(ctx, c)
			if !errors.Is(err, context.DeadlineExceeded) || m != (capacity.Measured{}) {
				t.Errorf("Run = %+v, %v; want nothing, and why", m, err)
			}
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("it ended after %s", took)
			}
			empty(t, c.Dir)
		})
	}
}

func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	c := quick(t)
	started, release := make(chan struct{}), make(chan struct{})
	slow, ended := c, make(chan error, 1)
	slow.Network = time.Minute
	pings := 0
	slow.Ping = func(context.Context) error {
		if pings++; pings == 1 {
			close(started)
			<-release
		}
		return nil
	}
	go func() {
		_, err := benchmark.Run(t.Context(), slow)
		ended <- err
	}()
	<-started
	if _, err := benchmark.Run(t.Context(), c); !fault.Is(err, fault.Conflict) {
		t.Errorf("a second one: %v, want a Conflict fault", err)
	}
	close(release)
	if err := <-ended; err != nil {
		t.Errorf("the first one: %v", err)
	}
	if _, err := benchmark.Run(t.Context(), c); err != nil {
		t.Errorf("after it: %v", err)
	}
}

func TestMedianRoundTrip(t *testing.T) {
	t.Parallel()
	c := quick(t)
	clock := time.Now()
	c.Now = func() time.Time { clock = clock.Add(time.Millisecond); return clock }
	c.Threads, c.Network = 1, time.Minute
	pings := 0
	c.Ping = func(context.Context) error {
		if pings++; pings == 1 || pings == 5 {
			clock = clock.Add(time.Second) // the connection, and one that had to wait
		}
		return nil
	}
	m, err := benchmark.Run(t.Context(), c)
	if err != nil || m.Network != 1 || pings < 5 {
		t.Errorf("%v ms in %d pings, %v; want 1 ms", m.Network, pings, err)
	}
}

func TestFsync(t *testing.T) {
	t.Parallel()
	c := quick(t)
	ms, err := benchmark.Fsync(t.Context(), c)
	if err != nil || ms <= 0 {
		t.Errorf("Fsync = %v, %v", ms, err)
	}
	empty(t, c.Dir)
	c.Dir = filepath.Join(c.Dir, "none")
	if _, err := benchmark.Fsync(t.Context(), c); err == nil {
		t.Error("Fsync of no folder: no error")
	}
}

func BenchmarkDefaults(b *testing.B) {
	for b.Loop() {
		m, err := benchmark.Run(b.Context(), benchmark.Config{Dir: b.TempDir(), Now: time.Now})
		if err != nil {
			b.Fatal(err)
		}
		b.Logf("%+v", m)
	}
}
