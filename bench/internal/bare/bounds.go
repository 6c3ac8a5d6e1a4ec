package bare

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cpucloud/cpucloud/internal/hypervisor/cgroup"
)

// bounds makes the control groups of the machine, as the cloud's have them for
// their share of the processors: on a machine with other work a process outside of
// groups gets more of it than one inside. It returns the files through which a
// process enters, none for who isn't root, and what removes the groups.
func (m *Machine) bounds() (enter []string, leave func(), err error) {
	if os.Geteuid() != 0 {
		return nil, func() {}, nil
	}
	vcpu, err := m.vcpu()
	if err != nil {
		return nil, nil, err
	}
	tree, err := cgroup.Open("/proc", fmt.Sprintf("bench-%d", os.Getpid()))
	if err != nil {
		return nil, nil, err
	}
	name := filepath.Base(m.dir)
	enter, err = tree.Make(name, cgroup.Limits{VCPU: vcpu, Memory: 8 << 30, PIDs: 1024}) // neither memory nor processes are short
	return enter, func() { _ = tree.Remove(name) }, err
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
