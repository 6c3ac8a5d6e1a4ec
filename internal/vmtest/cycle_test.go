//go:build vm

package vmtest_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Thirty VMs come and go with real machines, two at a time, and nothing of them is
// left: no process, no open file of the agent, no file, no control group, no
// user, no reservation.
func TestCycles(t *testing.T) { //nolint:paralleltest // see TestLife
	c := newCloud(t)
	c.cycle(0) // makes what stays, such as the image
	before := c.traces()
	for n := range 15 {
		c.cycle(n + 1)
	}
	c.until("the cloud is as before", func() bool { return slices.Equal(c.traces(), before) })
	c.wantOnHost()
	if got := c.purse()[1]; got != "0" {
		t.Errorf("%s is still reserved", got)
	}
}

// cycle starts two VMs and removes them as soon as they run.
func (c *cloud) cycle(n int) {
	c.Helper()
	ids := []string{c.deploy(c.wish(fmt.Sprintf("a-%d", n), demoImage)), c.deploy(c.wish(fmt.Sprintf("b-%d", n), demoImage))}
	c.until("both machines run", func() bool { return len(c.machines()) == 2 })
	c.remove(ids...)
	c.until("nothing is left", func() bool { return len(c.machines())+len(c.names("agent", "vms")) == 0 })
}

// traces names what a cloud has on this host besides what it knows.
func (c *cloud) traces() []string {
	c.Helper()
	var all []string
	for _, dir := range []string{filepath.Join(c.data, "agent"), filepath.Join(c.data, "host")} {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if !strings.HasSuffix(path, ".new") { // in the middle of being written
				all = append(all, path)
			}
			return err
		})
		if err != nil && !os.IsNotExist(err) {
			c.Fatal(err)
		}
	}
	var groups []string
	for _, pattern := range []string{"*/cpucloud/*/0x*", "cpucloud/*/0x*", "*/cpucloud.slice/*.scope", "cpucloud.slice/*.scope"} {
		some, err := filepath.Glob(filepath.Join("/sys/fs/cgroup", pattern))
		if err != nil {
			c.Fatal(err)
		}
		groups = append(groups, some...)
	}
	for _, group := range groups {
		name := strings.TrimSuffix(filepath.Base(group), ".scope") // which ends in a VM's id, that has no hyphen
		if slices.Contains(c.made, name[strings.LastIndex(name, "-")+1:]) {
			all = append(all, group)
		}
	}
	pid := c.up.Process.Pid
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		c.Fatal(err)
	}
	files := 0
	for _, link := range links {
		if at, err := os.Readlink(link); err == nil && !strings.HasPrefix(at, "socket:") && !strings.Contains(at, "cloud.db") {
			files++ // sockets are those of who asks just now
		}
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil && !os.IsNotExist(err) {
		c.Fatal(err)
	}
	return append(all, fmt.Sprintf("%d open files", files), fmt.Sprintf("children %q", children))
}
