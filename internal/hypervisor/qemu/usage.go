package qemu

import (
	"context"
	"errors"
	"io/fs"
	"sync"
	"time"

	"github.com/cpucloud/cpucloud/internal/hypervisor"
)

const (
	askers   = 4                      // QEMUs that are asked for their disks at once
	askLimit = 500 * time.Millisecond // for an answer, while QEMU talks to somebody else
	// longestSulk is how many times a QEMU that doesn't answer is passed over.
	longestSulk = 20
)

// meters are what is remembered of machines between two readings.
type meters struct {
	mu sync.Mutex // held while they are read
	of map[string]*meter
}

// meter is that of one run of a machine. One goroutine at a time uses it.
type meter struct {
	process process
	started time.Time
	waits   waits
	sulks   int // how often it is still passed over for its disks
	failed  int // how often it didn't answer, in a row
}

// Usage implements hypervisor.Driver. Processor and memory are read of the kernel; QEMU
// is asked for its disks alone, which it alone knows.
func (d *Driver) Usage(ctx context.Context) ([]hypervisor.Usage, error) {
	d.meters.mu.Lock()
	defer d.meters.mu.Unlock()
	ids, err := d.ids()
	if err != nil {
		return nil, err
	}
	all := make([]hypervisor.Usage, 0, len(ids))
	kept := make(map[string]*meter, len(ids))
	for _, id := range ids {
		m := d.meterOf(id)
		if m == nil {
			continue
		}
		u := hypervisor.Usage{ID: id, Started: m.started}
		if err := m.read(&u); err != nil {
			continue // it ended meanwhile
		}
		kept[id] = m
		all = append(all, u)
	}
	d.meters.of = kept
	d.readDisks(ctx, all)
	return all, ctx.Err()
}

// meterOf returns the meter of machine id, nil unless it runs.
func (d *Driver) meterOf(id string) *meter {
	m := d.meters.of[id]
	if m != nil {
		if now, err := processOf(m.process.PID); err == nil && now == m.process {
			return m
		}
	}
	if alive, err := d.alive(id); err != nil || !alive {
		return nil
	}
	rec, err := d.read(id)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	p, err := d.process(id)
	if err != nil {
		return nil
	}
	return &meter{process: p, started: rec.Started, waits: waits{}}
}

// readDisks adds what the machines' disks have done.
func (d *Driver) readDisks(ctx context.Context, all []hypervisor.Usage) {
	free := make(chan struct{}, askers)
	var asked sync.WaitGroup
	for i := range all {
		m := d.meters.of[all[i].ID]
		if m.sulks > 0 {
			m.sulks--
			continue
		}
		free <- struct{}{}
		asked.Go(func() {
			defer func() { <-free }()
			all[i].Disk = d.readDisk(ctx, all[i].ID)
			if all[i].Disk != nil {
				m.failed = 0
				return
			}
			m.failed++
			m.sulks = min(1<<min(m.failed, 10), longestSulk)
		})
	}
	asked.Wait()
}

// readDisk asks the QEMU of machine id what its disks have done. It returns nil when
// there is no answer: its guest may keep it busy, or somebody else talks to it.
func (d *Driver) readDisk(ctx context.Context, id string) *hypervisor.DiskUsage {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	c, err := d.dial(ctx, id)
	if err != nil {
		return nil
	}
	defer c.Close() //nolint:errcheck // nothing is left to say
	var drives []struct {
		Stats struct {
			ReadBytes  uint64 `json:"rd_bytes"`
			WriteBytes uint64 `json:"wr_bytes"`
			ReadOps    uint64 `json:"rd_operations"`
			WriteOps   uint64 `json:"wr_operations"`
		} `json:"stats"`
	}
	if err := c.Execute(ctx, "query-blockstats", nil, &drives); err != nil {
		return nil
	}
	sum := &hypervisor.DiskUsage{}
	for _, drive := range drives {
		sum.ReadBytes += drive.Stats.ReadBytes
		sum.WriteBytes += drive.Stats.WriteBytes
		sum.ReadOps += drive.Stats.ReadOps
		sum.WriteOps += drive.Stats.WriteOps
	}
	return sum
}
