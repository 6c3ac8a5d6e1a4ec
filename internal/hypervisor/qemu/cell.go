package qemu

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/cpucloud/cpucloud/internal/hypervisor"
	"github.com/cpucloud/cpucloud/internal/hypervisor/confine"
)

// rootDir is the empty folder over which each machine gets a root of its own. No
// id contains a dot.
const rootDir = "root.d"

// system is what QEMU, its libraries and the firmware that it loads are made of.
// A host without the difference has symbolic links in the place of some.
var system = []string{"/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache"}

// sooner is how much sooner than others the kernel ends a machine when the host
// is out of memory: before the agent, and before what else the host is for.
const sooner = 500

// cell returns the confinement of a process of user uid that runs c. An agent
// that isn't root has nothing to give away: its machines are its own user's.
func (d *Driver) cell(uid uint32, c command) confine.Spec {
	s := confine.Spec{OOM: sooner, Limits: map[int]uint64{unix.RLIMIT_CORE: 0, unix.RLIMIT_MEMLOCK: 0}}
	if os.Getuid() != 0 {
		return s
	}
	s.User = uid
	if !c.isolated {
		if gid, err := kvmGroup(); c.accel == KVM && err == nil {
			s.Group = gid
		}
		return s
	}
	s.Isolated = true
	s.Root = filepath.Join(d.config.Dir, rootDir)
	s.Show = append(append(s.Show, system...), filepath.Dir(c.binary))
	s.Devices = []string{"/dev/null"} // without which QEMU doesn't lock disks (util/osdep.c)
	if c.accel == KVM {
		s.Devices = append(s.Devices, kvmDevice)
	}
	return s
}

// cellOf returns the confinement of machine m.
func (d *Driver) cellOf(m hypervisor.Machine, uid uint32, c command) confine.Spec {
	s := d.cell(uid, c)
	s.Orphans = true
	limits(s.Limits, m)
	return s
}

// What a process of QEMU needs besides its vCPUs and disks, with room.
const (
	extraThreads = 96  // at most 64 that wait for disks (util/thread-pool.c), the main loop, translation, call_rcu
	extraFiles   = 256 // QMP connections, events, timers
)

// limits adds those that depend on the machine.
func limits(of map[int]uint64, m hypervisor.Machine) {
	files := uint64(extraFiles)
	var largest uint64
	for _, d := range m.Disks {
		for next := &d; next != nil; next = next.Backing {
			files++
		}
		if !d.ReadOnly {
			largest = max(largest, fileLimit(d))
		}
	}
	of[unix.RLIMIT_NOFILE] = files
	if os.Getuid() == 0 { // of a user who has nothing else
		of[unix.RLIMIT_NPROC] = uint64(m.VCPU) + extraThreads
	}
	if largest > 0 {
		of[unix.RLIMIT_FSIZE] = largest
	}
}

// fileLimit returns how large the file of a disk may become, 0 if that isn't
// known. A qcow2 file has tables beside what the guest wrote: 8 bytes for each
// cluster of 64 KiB, 2 more that count references, and a few for the tables of
// those (docs/interop/qcow2.txt). Twice that, and room for a small disk's header.
func fileLimit(d hypervisor.Disk) uint64 {
	if d.Bytes <= 0 {
		return 0
	}
	return uint64(d.Bytes) + uint64(d.Bytes)/2048 + 4<<20
}
