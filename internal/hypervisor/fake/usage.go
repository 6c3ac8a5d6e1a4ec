package fake

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/cpucloud/cpucloud/internal/hypervisor"
)

// booted is what a machine has used when it runs.
var booted = hypervisor.Usage{CPU: time.Millisecond, Memory: 64 << 20, Disk: &hypervisor.DiskUsage{ReadBytes: 512, ReadOps: 1}}

// Use changes what machine id has used, if it runs. A test may let it fall, as if the
// machine were another one.
func (h *Host) Use(id string, change func(*hypervisor.Usage)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	m := h.machines[id]
	if m == nil || m.State != hypervisor.Running {
		return
	}
	if m.used.Disk != nil {
		disk := *m.used.Disk // which others may have been given
		m.used.Disk = &disk
	}
	change(&m.used)
}

// Usage implements hypervisor.Driver.
func (d *Driver) Usage(ctx context.Context) ([]hypervisor.Usage, error) {
	h := d.host
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := cmp.Or(ctx.Err(), h.failures[Usage]); err != nil {
		return nil, err
	}
	all := []hypervisor.Usage{}
	for _, id := range slices.Sorted(maps.Keys(h.machines)) {
		if m := h.machines[id]; m.State == hypervisor.Running {
			used := m.used
			used.ID, used.Started = id, m.Started
			all = append(all, used)
		}
	}
	return all, nil
}
