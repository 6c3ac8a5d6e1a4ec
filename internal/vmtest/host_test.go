//go:build vm || vmfull

package vmtest_test

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// machines returns the ids of this cloud's QEMU processes by VM.
func (c *cloud) machines() map[string]int {
	c.Helper()
	own := append(c.names("host", "qemu"), c.made...)
	pids := map[string]int{}
	for pid, args := range c.qemus() {
		for _, arg := range args {
			id, ok := strings.CutPrefix(arg, "guest=")
			if !ok || !slices.Contains(own, id) {
				continue
			}
			if other, twice := pids[id]; twice {
				c.Errorf("processes %d and %d are both machines of VM %s", other, pid, id)
			}
			pids[id] = pid
		}
	}
	return pids
}

// orphans returns the QEMU processes that are no VM's and whose parent is gone,
// whoever that was.
func (c *cloud) orphans() map[int]bool {
	c.Helper()
	found := map[int]bool{}
	for pid, args := range c.qemus() {
		machine := slices.ContainsFunc(args, func(arg string) bool { return strings.HasPrefix(arg, "guest=") })
		if !machine && parent(pid) == 1 {
			found[pid] = true
		}
	}
	return found
}

// qemus returns the arguments of all QEMU processes on this host.
func (c *cloud) qemus() map[int][]string {
	c.Helper()
	folders, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		c.Fatal(err)
	}
	found := map[int][]string{}
	for _, folder := range folders {
		line, err := os.ReadFile(filepath.Join(folder, "cmdline"))
		if err != nil {
			continue // it has ended
		}
		args := strings.Split(string(bytes.TrimRight(line, "\x00")), "\x00")
		if !strings.Contains(filepath.Base(args[0]), "qemu-system") {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(folder))
		if err != nil {
			c.Fatal(err)
		}
		found[pid] = args
	}
	return found
}

// parent returns the id of a process's parent, 0 when it has ended.
func parent(pid int) (id int) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	var state string
	if _, err := fmt.Sscan(rest, &state, &id); err != nil {
		return 0
	}
	return id
}

// names returns the VMs that have a folder below a folder of the cloud.
func (c *cloud) names(path ...string) []string {
	c.Helper()
	found, err := filepath.Glob(filepath.Join(append(append([]string{c.data}, path...), "0x*")...))
	if err != nil {
		c.Fatal(err)
	}
	names := []string{}
	for _, f := range found {
		names = append(names, filepath.Base(f))
	}
	return names
}

// wantOnHost compares the VMs that anything on this host belongs to.
func (c *cloud) wantOnHost(ids ...string) {
	c.Helper()
	slices.Sort(ids)
	for what, got := range map[string][]string{
		"processes": slices.Sorted(maps.Keys(c.machines())), "machines": c.names("host", "qemu"), "disks": c.names("agent", "vms"),
	} {
		if !slices.Equal(got, ids) {
			c.Errorf("%s of VMs %v, want %v", what, got, ids)
		}
	}
}
