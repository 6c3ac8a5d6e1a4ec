package hypervisor

import (
	"context"
	"os"

	"github.com/cpucloud/cpucloud/internal/fault"
)

// Saver copies the disks of machines, whether these run or not.
type Saver interface {
	// Backup writes a disk of machine id as it is at one moment, soon after the call, to
	// b.Target, and returns when all of it is written. The guest runs on meanwhile; a
	// machine that doesn't run can't be started until it is done. One goes on at
	// a time for each machine: one that an earlier driver has left is ended first.
	// When ctx ends, so does the copying, and nothing of it stays but what Target
	// contains. Returns a Conflict fault while another one goes on, an Unavailable one
	// when the machine ends meanwhile or the target has no room, an Invalid one for a disk that can't be.
	Backup(ctx context.Context, id string, b Backup) (Consistency, error)
}

// Backup is a copy of one disk that is to be made.
type Backup struct {
	// Index is the disk's place in Machine.Disks, and Disk what it is there: it is
	// believed of a machine that doesn't run.
	Index int
	Disk  Disk
	// Target is an empty file, open for reading and writing; what was in it is lost. It
	// becomes a qcow2 disk that lies on nothing, in which zeroes take no room. It stays the caller's.
	Target *os.File
	// Freeze asks the guest, if it has an agent that answers soon, to bring its file
	// systems into order and to hold still for the moment of the copy.
	Freeze bool
	// Progress is told now and then how many bytes of how many are done; nil for nobody.
	Progress func(done, total int64)
}

// Consistency is in which order a copy of a disk is.
type Consistency string

// The consistencies.
const (
	Crash      Consistency = "crash"      // as after a power cut: what a journal is for
	FileSystem Consistency = "filesystem" // the guest had written everything, and held still
)

// Check returns an Invalid fault that names the first thing that keeps b from being made.
func (b Backup) Check() error {
	switch {
	case b.Index < 0 || b.Index >= maxDisks:
		return fault.Newf(fault.Invalid, "a machine has no disk %d", b.Index)
	case b.Target == nil:
		return fault.New(fault.Invalid, "a backup needs a file that it is written to")
	}
	return b.Disk.check(0)
}
