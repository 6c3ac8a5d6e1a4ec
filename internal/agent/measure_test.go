package agent_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// meter is a benchmark that takes a while.
type meter struct {
	mu      sync.Mutex
	taken   int
	running int
	most    int // at once
	failure error
}

const meterTime = 15 * time.Second

func (m *meter) measure(ctx context.Context) (capacity.Measured, error) {
	m.mu.Lock()
	m.taken++
	m.running++
	m.most = max(m.most, m.running)
	n, err := m.taken, m.failure
	m.mu.Unlock()
	defer func() { m.mu.Lock(); m.running--; m.mu.Unlock() }()
	if err := pause(ctx, meterTime); err != nil {
		return capacity.Measured{}, err
	}
	return capacity.Measured{At: time.Now(), CPUSingle: float64(1000 + n)}, err
}

func (m *meter) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.taken
}

func (r *rig) score() float64 {
	if m := r.inventory().Measured; m != nil {
		return m.CPUSingle
	}
	return 0
}

func (r *rig) measures(score float64, request int64) {
	r.Helper()
	r.until(20*time.Minute, "the benchmark is reported", func() bool { return r.score() == score })
	if got := r.inventory().Measured.Request; got != request {
		r.Errorf("benchmark %v answers request %d, want %d", score, got, request)
	}
}

func TestBenchmark(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		m := &meter{}
		r.config.Measure = m.measure
		r.start()
		r.measures(1001, 0) // after joining
		time.Sleep(time.Hour)
		r.halt()
		r.start()
		r.until(time.Minute, "the old one is reported after a restart", func() bool { return r.score() == 1001 })
		time.Sleep(time.Hour)
		if m.count() != 1 {
			t.Errorf("%d benchmarks that nobody asked for", m.count())
		}
		r.change(func(l *vm.List) { l.Measure = 3 })
		r.measures(1002, 3)
		r.halt()
		r.change(func(l *vm.List) { l.Measure = 4 }) // asked for while the agent is away
		r.start()
		r.measures(1003, 4)
		if r.inventory().Total.VCPU != 8 {
			t.Errorf("the inventory lost something: %+v", r.inventory())
		}
	})
}

// Wishes that come while a benchmark is taken are answered by one more.
func TestBenchmarkOneAtATime(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		m := &meter{}
		r.config.Measure = m.measure
		r.start()
		r.until(time.Minute, "it runs", func() bool { return m.count() == 1 })
		for n := range int64(5) {
			r.change(func(l *vm.List) { l.Measure = n + 1 })
			time.Sleep(time.Second)
		}
		r.measures(1002, 5)
		time.Sleep(time.Hour)
		if m.count() != 2 || m.most != 1 {
			t.Errorf("%d benchmarks, %d at once; want 2, 1", m.count(), m.most)
		}
	})
}

// A VM that is ordered while a benchmark runs is not kept waiting; a benchmark
// waits for VMs that are being started.
func TestBenchmarkAndOrders(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		m := &meter{}
		r.config.Measure = m.measure
		r.start()
		r.until(time.Minute, "it runs", func() bool { return m.count() == 1 })
		r.order(order("0xA", 1, ssh))
		r.until(14*time.Second, "the VM is ready before the benchmark ends", func() bool { return r.sighting("0xA").Phase == vm.Ready && r.score() == 0 })
		r.measures(1001, 0)

		o := order("0xB", 1, ssh)
		o.Address = address(2)
		r.change(func(l *vm.List) { l.Measure = 1; l.Orders = append(l.Orders, o) })
		r.until(time.Minute, "the next VM boots", func() bool { return r.sighting("0xB").Phase == vm.Booting })
		time.Sleep(bootTime - time.Second)
		if m.count() != 1 {
			t.Error("a benchmark began while a VM was being started")
		}
		r.measures(1002, 1)
	})
}

// A VM that never answers does not put benchmarks off for ever.
func TestBenchmarkOfABusyServer(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		m := &meter{}
		r.config.Measure = m.measure
		r.config.OnRequest = true
		r.disks.fail(errors.New("out of reach"))
		r.start()
		r.order(order("0xA", 1, ssh))
		time.Sleep(time.Hour)
		if m.count() != 0 {
			t.Error("a benchmark that was only to be taken on request")
		}
		r.disks.fail(nil)
		r.disks.fetchTime = 10 * time.Hour
		o := order("0xB", 1, ssh)
		o.Address = address(2)
		r.change(func(l *vm.List) { l.Measure = 1; l.Orders = []vm.Order{o} })
		r.measures(1001, 1)
	})
}

func TestBenchmarkFails(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		m := &meter{failure: errors.New("another one runs")}
		r.config.Measure = m.measure
		r.start()
		time.Sleep(time.Hour)
		n := m.count()
		if r.inventory().Measured != nil || n < 2 || n > 7 {
			t.Errorf("reported %+v after %d failures in an hour; want nothing, and some tries", r.inventory().Measured, n)
		}
		m.mu.Lock()
		m.failure = nil
		m.mu.Unlock()
		r.measures(float64(1000+n+1), 0)
	})
}

func TestKeptBenchmarkIsGarbage(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		if err := os.WriteFile(r.dir+"/agent/measured.json", []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		m := &meter{}
		r.config.Measure = m.measure
		r.start()
		r.measures(1001, 0)
	})
}

// Every start of an agent has a name of its own, which all its reports carry.
func TestInstances(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		for n := range 3 {
			r.start()
			r.until(time.Minute, "it reports", func() bool { return len(r.names()) == n+1 })
			time.Sleep(10 * time.Minute)
			r.halt()
		}
		if names := r.names(); len(names) != 3 || len(names[0]) != 32 {
			t.Errorf("three starts are called %q", names)
		}
	})
}

// What only people can mend is logged as an error with what to do, once; the
// VMs go on, and the agent is back by itself when it is mended.
func TestRefusedForGood(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		refusal error
		level   string
		says    string
	}{
		"a copy":    {fmt.Errorf("sync: %w", vm.ErrCopied), "ERROR", "cpucloud agent join"},
		"its words": {fault.New(fault.Conflict, fault.Message(vm.ErrCopied)), "WARN", "used by another machine"},
		"removed":   {fault.New(fault.Denied, "this server was removed"), "ERROR", "cpucloud down"},
		"late":      {fault.New(fault.Conflict, "report 5 is not newer than the last one"), "WARN", "not newer"},
		"away":      {fault.New(fault.Unavailable, "the store does not answer"), "WARN", "the store does not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(r *rig) {
				var log bytes.Buffer
				var mu sync.Mutex
				r.config.Log = slog.New(slog.NewTextHandler(writer(func(p []byte) (int, error) {
					mu.Lock()
					defer mu.Unlock()
					return log.Write(p)
				}), nil))
				r.start()
				r.order(order("0xA", 1, ssh))
				r.reaches("0xA", 1, vm.Ready)
				mu.Lock()
				log.Reset()
				mu.Unlock()
				r.refuse(tt.refusal)
				time.Sleep(6 * time.Hour)
				mu.Lock()
				said := log.String()
				mu.Unlock()
				if strings.Count(said, "level="+tt.level) != 1 || strings.Count(said, "\n") != 1 || !strings.Contains(said, tt.says) {
					t.Errorf("in six hours it was logged:\n%s\nwant one %s that says %q", said, tt.level, tt.says)
				}
				if r.starts("0xA") != 1 || len(r.links()) != 1 {
					t.Error("the VM did not go on")
				}
				before := r.count()
				r.refuse(nil)
				r.until(2*time.Minute, "it is back", func() bool { return r.count() > before })
			})
		})
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }
