package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
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

// cellOf returns the confinement of machine m, whose process enters its control
// group before it becomes QEMU.
func (d *Driver) cellOf(ctx context.Context, m hypervisor.Machine, uid uint32, c command) confine.Spec {
	s := d.cell(uid, c)
	s.Parent = 0 // it outlives the agent
	limits(s.Limits, m)
	if c.found.Bounded {
		s.Admit = func(pid int) error { return d.groups.Enter(ctx, m.ID, pid, bounds(m, c.accel, d.config.IOWeight)) }
	}
	return s
}

// confinement finds out what of it works here, by running QEMU in it.
func (d *Driver) confinement(ctx context.Context, binary string) found {
	if os.Getuid() != 0 {
		return found{Facts: hypervisor.Facts{Weaker: "the agent is not root, so machines are processes of its own user, without limits"}}
	}
	f := found{Isolated: true}
	noGroup, err := d.try(ctx, binary, f)
	var open []string
	if err != nil {
		open = append(open, "QEMU does not run in namespaces and with a root of its own: "+err.Error())
		f.Isolated = false
		noGroup, _ = d.try(ctx, binary, f)
	}
	if f.Bounded = noGroup == nil; f.Bounded {
		f.Limits = d.groups.String()
	}
	f.Weaker = strings.Join(append(d.unlimited(noGroup), open...), "; ")
	return f
}

// try runs QEMU for a moment, confined as f says. It returns why it is in no
// control group, and why it doesn't run.
func (d *Driver) try(ctx context.Context, binary string, f found) (noGroup, err error) {
	ctx, cancel := context.WithTimeout(ctx, talkLimit)
	defer cancel()
	runtime.LockOSThread() // as the process is to end with it
	defer runtime.UnlockOSThread()

	probe := "probe." + strconv.Itoa(os.Getpid()) // no machine is called so, and no other process's probe
	noGroup = errors.New("no process could be started to see")
	cell := d.cell(d.config.Users.probe(), command{binary, TCG, f})
	cell.Admit = func(pid int) error { // without a group, the rest is still to be seen
		noGroup = d.groups.Enter(ctx, probe, pid, bounds(hypervisor.Machine{VCPU: 2, RAMGiB: 1}, TCG, d.config.IOWeight))
		return nil
	}
	defer func() { _ = d.groups.Remove(context.WithoutCancel(ctx), probe) }()
	said := &head{limit: 4 << 10}
	cmd, err := cell.Command(ctx, d.config.Helper, binary, "--version")
	if err != nil {
		return noGroup, err
	}
	cmd.Stderr, cmd.WaitDelay = said, time.Second
	if err := cmd.Run(); err != nil {
		return noGroup, errors.New(withWords(err.Error(), lastWords(said.Bytes())))
	}
	return noGroup, nil
}

// unlimited says what of control groups isn't as it should be.
func (d *Driver) unlimited(noGroup error) (weaker []string) {
	if d.trouble != nil {
		weaker = append(weaker, "control groups are made beside systemd, which knows nothing of them: "+d.trouble.Error())
	}
	if noGroup != nil {
		weaker = append(weaker, "no limits hold: "+noGroup.Error())
	}
	if missing := d.groups.Missing(); noGroup == nil && len(missing) > 0 {
		weaker = append(weaker, fmt.Sprintf("not all limits hold, control groups lack %v", missing))
	}
	return weaker
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
	memory := ram + ram/64 + 192*mib + int64(m.VCPU)*16*mib + int64(len(m.Disks)+1)*32*mib // a disk may be copied to one more
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

// fileLimit returns how large the file of a disk may become, and that of a copy of
// it, 0 if that isn't known. The copy of any disk is qcow2, and has tables beside what the guest wrote: 8 bytes for each
// cluster of 64 KiB, 2 more that count references, and a few for the tables of
// those (docs/interop/qcow2.txt). Twice that, and room for a small disk's header.
func fileLimit(d hypervisor.Disk) uint64 {
	if d.Bytes <= 0 {
		return 0
	}
	return uint64(d.Bytes) + uint64(d.Bytes)/2048 + 4<<20
}
