package qemu

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cpucloud/cpucloud/internal/hypervisor"
	"github.com/cpucloud/cpucloud/internal/hypervisor/cgroup"
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

// cell returns the confinement of a process of user uid that runs c and ends with
// the agent. An agent that isn't root has nothing to give away: its machines are
// its own user's.
func (d *Driver) cell(uid uint32, c command) confine.Spec {
	s := confine.Spec{OOM: sooner, Parent: os.Getpid(), Limits: map[int]uint64{unix.RLIMIT_CORE: 0, unix.RLIMIT_MEMLOCK: 0}}
	if os.Getuid() != 0 {
		return s
	}
	s.User = uid
	if !c.found.Isolated {
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

// cellOf returns the confinement of machine m, whose control group it makes.
func (d *Driver) cellOf(m hypervisor.Machine, uid uint32, c command) (confine.Spec, error) {
	s := d.cell(uid, c)
	s.Parent = 0 // it outlives the agent
	limits(s.Limits, m)
	if !c.found.Bounded {
		return s, nil
	}
	var err error
	s.Groups, err = d.groups.Make(m.ID, bounds(m, c.accel, d.config.IOWeight))
	return s, err
}

// confinement finds out what of it works here, by running QEMU in it.
func (d *Driver) confinement(ctx context.Context, binary string) found {
	if os.Getuid() != 0 {
		return found{Facts: hypervisor.Facts{Weaker: "the agent is not root, so machines are processes of its own user, without limits"}}
	}
	f := found{Isolated: true, Bounded: true}
	var weaker []string
	const probe = "probe.d" // no machine is called so
	groups, err := d.groups.Make(probe, bounds(hypervisor.Machine{VCPU: 2, RAMGiB: 1}, TCG, d.config.IOWeight))
	if missing := d.groups.Missing(); err != nil || len(missing) > 0 {
		f.Bounded = err == nil
		weaker = append(weaker, fmt.Sprintf("not all limits hold, control groups lack %v", missing))
	}
	defer func() { _ = d.groups.Remove(probe) }()
	ctx, cancel := context.WithTimeout(ctx, talkLimit)
	defer cancel()
	runtime.LockOSThread() // as the process is to end with it
	defer runtime.UnlockOSThread()
	cell := d.cell(d.config.Users.probe(), command{binary, TCG, f})
	if err == nil {
		cell.Groups = groups
	}
	said := &head{limit: 4 << 10}
	cmd, err := cell.Command(ctx, d.config.Helper, binary, "--version")
	if err == nil {
		cmd.Stderr, cmd.WaitDelay = said, time.Second
		err = cmd.Run()
	}
	if err != nil {
		f.Isolated = false
		weaker = append(weaker, withWords("QEMU does not run in namespaces and with a root of its own: "+err.Error(), lastWords(said.Bytes())))
	}
	f.Weaker = strings.Join(weaker, "; ")
	return f
}

// bounds returns what machine m may take of the host. Besides the guest's memory
// QEMU has its own: code, devices and the tables of its disks, at most 32 MiB for
// each (l2-cache-size in qcow2's documentation); threads; page tables and what
// tracks changed pages, less than 1/64 of the guest's; and under TCG the buffer
// of translated code, see board. A machine of 512 MiB and 2 vCPUs was seen to take
// 690 MiB under TCG, of which 256 are that buffer.
func bounds(m hypervisor.Machine, accel Accelerator, ioWeight int) cgroup.Limits {
	const mib = 1 << 20
	ram := int64(m.RAMGiB) << 30
	memory := ram + ram/64 + 192*mib + int64(m.VCPU)*16*mib + int64(len(m.Disks))*32*mib
	if accel == TCG {
		memory += translated * mib
	}
	return cgroup.Limits{VCPU: m.VCPU, Memory: memory, PIDs: m.VCPU + extraThreads, IOWeight: ioWeight}
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
