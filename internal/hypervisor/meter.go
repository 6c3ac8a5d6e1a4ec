package hypervisor

import (
	"context"
	"time"
)

// Meter is what a driver counts of its machines.
type Meter interface {
	// Usage returns what each machine that runs has used since it was started, ordered
	// by id. It is asked by one at a time, again and again, and costs little; a
	// machine that doesn't let itself be counted is left out, or its disks are.
	Usage(ctx context.Context) ([]Usage, error)
}

// Usage is what one run of a machine has used of its host, up to now. Nothing of it but
// Memory ever falls during a run, as one driver sees it.
type Usage struct {
	ID      string
	Started time.Time // of this run, as Instance tells it
	CPU     time.Duration
	// Steal is how long threads of the machine could have run and had to wait for a
	// processor, or for the next period of their limit: all of them added up. It is
	// counted from the start of the run, or since the driver was first asked.
	Steal  time.Duration
	Memory int64      // bytes of the host's memory that it holds now
	Disk   *DiskUsage // of all disks together; nil when that isn't known just now
}

// DiskUsage is what a guest asked of its disks, whether they were touched or not.
type DiskUsage struct {
	ReadBytes, WriteBytes uint64
	ReadOps, WriteOps     uint64 // requests
}
