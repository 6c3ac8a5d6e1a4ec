package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cpucloud/cpucloud/internal/agent/benchmark"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/hypervisor"
)

const (
	gib        = 1 << 30
	enoughDisk = 30 * gib // for one VM of a usual size
	slowFsync  = 20.0     // milliseconds
	hostMemory = 1 * gib  // that the host keeps for itself
)

func (c Config) tool(ctx context.Context, name, pack string) Result {
	version, err := c.Tool(ctx, name)
	if err != nil {
		return fail(name, reason(err), "install it: apt-get install "+pack)
	}
	return pass(name, version)
}

func virtualisation(facts hypervisor.Facts, err error) Result {
	const name = "virtualisation"
	if err != nil {
		return fail(name, reason(err), "mend what is said here; virtualisation has to be on in the firmware, and /dev/kvm open to this user")
	}
	if facts.Accelerator != "kvm" {
		return warn(name, "VMs run by software emulation, ten times slower: "+facts.Reason,
			"turn on AMD-V or VT-x in the firmware, or nested virtualisation on the machine's own host; add this user to the group kvm")
	}
	return pass(name, "KVM: "+facts.Reason)
}

// confinement is what a guest that has broken out of its QEMU finds.
func confinement(facts hypervisor.Facts) Result {
	const name = "confinement"
	if facts.Weaker != "" {
		return warn(name, facts.Weaker, "run the agent as root outside of containers, or in one that may make namespaces; until then a guest that breaks out of QEMU finds more of the host")
	}
	return pass(name, "each VM has a user, namespaces and a root of its own, and no rights")
}

// limits is what keeps VMs from taking each other's share.
func limits(facts hypervisor.Facts) Result {
	const name = "limits"
	if facts.Limits == "" {
		return warn(name, "nothing holds VMs to what they were sold with", "run the agent as root, in a container with control groups of its own")
	}
	return pass(name, "VMs are held to what they were sold with by "+facts.Limits)
}

func (c Config) space() Result {
	const name = "disk space"
	var fs unix.Statfs_t
	if err := unix.Statfs(c.Dir, &fs); err != nil {
		return fail(name, c.Dir+": "+reason(err), "make the folder, or choose another with --data")
	}
	free := int64(fs.Bavail) * fs.Bsize
	found := fmt.Sprintf("%d GiB free in %s", free/gib, c.Dir)
	if free < enoughDisk {
		return warn(name, found, "one VM takes about 30 GiB: free some, or choose a folder on a larger disk with --data")
	}
	return pass(name, found)
}

// fsync measures the disk for a moment.
func (c Config) fsync(ctx context.Context) (float64, error) {
	return benchmark.Fsync(ctx, benchmark.Config{Dir: c.Dir, Now: c.Now, Disk: 500 * time.Millisecond, Keep: 1 << 20})
}

func (c Config) latency(ctx context.Context) Result {
	const name = "disk latency"
	ms, err := c.Fsync(ctx)
	found := fmt.Sprintf("a write is durable after %.3g ms", ms)
	switch {
	case err != nil:
		return fail(name, "nothing can be written to "+c.Dir+": "+reason(err), "give this user the folder, or choose another with --data")
	case ms > slowFsync:
		return warn(name, found, "databases in VMs will be slow: use an SSD, or another folder with --data")
	}
	return pass(name, found)
}

func (c Config) memory() Result {
	const name = "memory"
	total, err := c.memoryBytes()
	if err != nil {
		return warn(name, reason(err), "find out how much memory there is, and give --ram")
	}
	left := total - c.Sold.RAMGiB*gib
	found := fmt.Sprintf("%.1f GiB, of which %d are sold and %.1f stay for the host", float64(total)/gib, c.Sold.RAMGiB, float64(left)/gib)
	switch {
	case left < 0:
		return fail(name, found, fmt.Sprintf("sell at most %d: --ram %d", max(0, total-hostMemory)/gib, max(0, total-hostMemory)/gib))
	case left < hostMemory:
		return warn(name, found, fmt.Sprintf("leave 1 GiB to the host: --ram %d", max(0, total-hostMemory)/gib))
	case total < 2*gib:
		return warn(name, found, "hardly a VM fits: use a machine with more memory")
	}
	return pass(name, found)
}

func (c Config) memoryBytes() (int64, error) {
	text, err := os.ReadFile(c.host("proc/meminfo"))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "MemTotal:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return kib << 10, err
		}
	}
	return 0, errors.New("the kernel does not say how much there is")
}

// reason returns what an error says to people, without the fault's absence in
// the way.
func reason(err error) string {
	if fault.Is(err, fault.Internal) {
		return firstLine(err.Error())
	}
	return firstLine(fault.Message(err))
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return strings.TrimSpace(line)
}

func isRoot() bool { return os.Geteuid() == 0 }
