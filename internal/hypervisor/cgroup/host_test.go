package cgroup_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/hypervisor/cgroup"
	"github.com/cpucloud/cpucloud/internal/hypervisor/hypervisortest"
)

// host is the control groups of this host, or of the world that a test runs in.
type host struct {
	*testing.T
	cgroup.Groups

	name   string
	places map[string]string // where a controller is mounted
}

// open returns what makes groups here.
func open(t *testing.T) host {
	t.Helper()
	name := fmt.Sprintf("test-%s-%d", t.Name(), os.Getpid())
	groups, trouble, err := cgroup.Choose(t.Context(), "/", name)
	if err = errors.Join(trouble, err); err != nil {
		t.Fatal(err)
	}
	tree, err := cgroup.Open("/proc", name)
	if err != nil {
		t.Fatal(err)
	}
	return host{t, groups, name, tree.Places()}
}

// usable reports whether there are groups that this user may make.
func (h host) usable() bool { return (len(h.places) > 0 || h.scopes()) && os.Getuid() == 0 }

// scopes reports whether systemd makes the groups.
func (h host) scopes() bool { _, ok := h.Groups.(*cgroup.Systemd); return ok }

// job is a process in a group.
type job struct {
	*exec.Cmd

	said bytes.Buffer
}

// run runs script in the group of id. Its variable GROUP is the folder of
// controller's group, if one is named.
func (h host) run(id, controller, script string, l cgroup.Limits) *job {
	h.Helper()
	ctx, cancel := context.WithTimeout(h.Context(), time.Minute)
	h.Cleanup(cancel)
	j := &job{Cmd: exec.CommandContext(ctx, "sh", "-c", "read -r GROUP; "+script)}
	j.Stdout, j.Stderr = &j.said, &j.said
	in, err := j.StdinPipe()
	if err != nil {
		h.Fatal(err)
	}
	if err := j.Start(); err != nil {
		h.Fatal(err)
	}
	if err := h.Enter(h.Context(), id, j.Process.Pid, l); err != nil {
		_ = j.Process.Kill()
		_ = j.Wait()
		h.Fatalf("enter a group: %v", err)
	}
	if _, err := fmt.Fprintln(in, h.groupOf(j.Process.Pid, controller)); err != nil {
		h.Fatal(err)
	}
	if err := in.Close(); err != nil {
		h.Fatal(err)
	}
	return j
}

// sleeper runs a process that does nothing in the group of id.
func (h host) sleeper(id string) *job {
	h.Helper()
	return h.run(id, "", "exec sleep 1000", cgroup.Limits{VCPU: 1, Memory: 1 << 30, PIDs: 9})
}

// end ends a process.
func (j *job) end() {
	_ = j.Process.Kill()
	_ = j.Wait()
}

// groupOf returns the folder of the group that process pid is in, for controller.
func (h host) groupOf(pid int, controller string) string {
	h.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		h.Fatal(err)
	}
	old := strings.Replace(controller, "io", "blkio", 1)
	for line := range strings.Lines(string(text)) { // cgroups(7)
		part := strings.SplitN(strings.TrimSpace(line), ":", 3)
		_, err := os.Stat(filepath.Join(h.places[controller], "cgroup.controllers"))
		if slices.Contains(strings.Split(part[1], ","), old) || part[1] == "" && err == nil {
			return filepath.Join(h.places[controller], part[2])
		}
	}
	return ""
}

// left returns the machines that have groups.
func (h host) left() []string {
	h.Helper()
	if h.scopes() {
		var ids []string
		for line := range strings.Lines(h.systemctl("list-units", "--all", "--plain", "--no-legend", h.unit("*"))) {
			ids = append(ids, strings.TrimSuffix(strings.TrimPrefix(strings.Fields(line)[0], strings.TrimSuffix(h.unit(""), ".scope")), ".scope"))
		}
		return ids
	}
	var ids []string
	for _, place := range h.places {
		entries, _ := os.ReadDir(filepath.Join(place, "cpucloud", h.name))
		for _, e := range entries {
			if e.IsDir() {
				ids = append(ids, e.Name())
			}
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// exercise runs script in a group with limits and wants its end to be as held says.
func (h host) exercise(controller string, l cgroup.Limits, script string, held func(out string, err error) bool) {
	h.Helper()
	if h.places[controller] == "" || os.Getuid() != 0 {
		h.Logf("%s: this host, or this user, has no control group for it", controller)
		return
	}
	j := h.run(controller, controller, script, l)
	err := j.Wait()
	if !held(j.said.String(), err) {
		h.Errorf("the limit of %s doesn't hold: %v: %s", controller, err, &j.said)
	}
	h.Logf("%s: exercised in %s, %s", controller, h.places[controller], h)
	hypervisortest.Await(h.T, func() bool { return h.Remove(h.Context(), controller) == nil }) // what it left ends
	if left := h.left(); len(left) > 0 {
		h.Errorf("groups are left: %v", left)
	}
}

// limits exercises each limit that this host has, and says which.
func (h host) limits() {
	h.Helper()
	h.exercise("pids", cgroup.Limits{VCPU: 1, Memory: 1 << 30, PIDs: 4},
		`for i in 1 2 3 4 5 6 7 8; do sleep 0.1 & done; wait`, func(out string, err error) bool { return err != nil && strings.Contains(out, "fork") })
	h.exercise("memory", cgroup.Limits{VCPU: 1, Memory: 32 << 20, PIDs: 100},
		`head -c 200m /dev/zero | tail >/dev/null; exit $?`, func(_ string, err error) bool { return err != nil })
	h.exercise("cpu", cgroup.Limits{VCPU: 0, Memory: 1 << 30, PIDs: 100}, // a quarter of a processor
		`i=0; while [ $i -lt 1000 ]; do i=$((i+1)); if grep -q "nr_throttled [1-9]" "$GROUP/cpu.stat"; then exit 1; fi; done`,
		func(_ string, err error) bool { return err != nil })
}

// sweeps makes groups that are gone, kept and busy, and wants the first alone to
// be swept.
func (h host) sweeps() {
	h.Helper()
	if !h.usable() {
		h.Log("this host, or this user, has no control groups")
		return
	}
	busy := h.sleeper("busy")
	kept := h.sleeper("kept")
	gone := h.sleeper("gone")
	h.left() // by the time that it has told, systemd has looked at what is new, and isn't going to again
	gone.end()
	if err := h.Sweep(h.Context(), func(id string) bool { return id == "kept" }); err == nil || !strings.Contains(err.Error(), "busy") || strings.Contains(err.Error(), "kept") {
		h.Errorf("a group in which something runs was passed over without a word: %v", err)
	}
	if left := h.left(); !slices.Equal(left, []string{"busy", "kept"}) {
		h.Errorf("left: %v, want those that are kept and busy", left)
	}
	for _, j := range []*job{busy, kept} {
		if err := j.Process.Signal(syscall.SIGKILL); err != nil {
			h.Errorf("a process in a group that stays: %v", err)
		}
		_ = j.Wait()
	}
	hypervisortest.Await(h.T, func() bool {
		return h.Sweep(h.Context(), func(string) bool { return false }) == nil && len(h.left()) == 0
	})
}

// TestLimitsHold exercises each limit that this host has, by what it has.
func TestLimitsHold(t *testing.T) {
	t.Parallel()
	open(t).limits()
}

// A crash leaves groups; the next start removes those that nobody knows, and
// none in which something runs.
func TestSweep(t *testing.T) {
	t.Parallel()
	open(t).sweeps()
}
