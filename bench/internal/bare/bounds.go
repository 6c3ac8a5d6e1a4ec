package bare

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cpucloud/cpucloud/internal/hypervisor/cgroup"
)

// bound puts a process of the machine into a control group as the cloud's are in,
// for its share of the processors: on a machine with other work a process outside
// of groups gets more of it than one inside. It returns what removes the group
// once the process has ended. Who isn't root has no groups.
func (m *Machine) bound(ctx context.Context, pid int) (leave func(), err error) {
	if os.Geteuid() != 0 {
		return func() {}, nil
	}
	vcpu, err := m.vcpu()
	if err != nil {
		return nil, err
	}
	groups, _, err := cgroup.Choose(ctx, "/", fmt.Sprintf("bench-%d", os.Getpid()))
	if err != nil {
		return nil, err
	}
	name := strings.ReplaceAll(filepath.Base(m.dir), ".", "-")                                 // fit for a unit of systemd
	err = groups.Enter(ctx, name, pid, cgroup.Limits{VCPU: vcpu, Memory: 8 << 30, PIDs: 1024}) // neither memory nor processes are short
	return func() { _ = groups.Remove(context.WithoutCancel(ctx), name) }, err
}

// vcpu returns how many processors the guest has.
func (m *Machine) vcpu() (n int, err error) {
	i := slices.Index(m.args, "-smp")
	if i < 0 || i+1 == len(m.args) {
		return 0, fmt.Errorf("the cloud's QEMU doesn't say how many processors: %q", m.args)
	}
	_, count, _ := strings.Cut(m.args[i+1], "cpus=")
	_, err = fmt.Sscanf(count, "%d", &n)
	return n, err
}
