package cgroup_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cpucloud/cpucloud/internal/agent/service"
	"github.com/cpucloud/cpucloud/internal/hypervisor/cgroup"
	"github.com/cpucloud/cpucloud/internal/hypervisor/hypervisortest"
	"github.com/cpucloud/cpucloud/internal/worldtest"
)

// TestScopes asks a real systemd over the control groups that this host has, as it
// has them.
func TestScopes(t *testing.T) {
	t.Parallel()
	if worldtest.Systemd(t, worldtest.Mixed) {
		scopes(t)
	}
}

// TestScopesOfVersion1 does so over those of version 1 alone.
func TestScopesOfVersion1(t *testing.T) {
	t.Parallel()
	if worldtest.Systemd(t, worldtest.Legacy) {
		scopes(t)
	}
}

// TestScopesOfVersion2 asks a real systemd over version 2 alone.
func TestScopesOfVersion2(t *testing.T) {
	t.Parallel()
	if worldtest.Systemd(t, worldtest.Unified) {
		scopes(t)
	}
}

func scopes(t *testing.T) {
	t.Helper()
	h := open(t)
	if !strings.HasPrefix(h.String(), "scopes of systemd ") {
		t.Fatalf("groups are %s", h)
	}
	for name, test := range map[string]func(host){
		"properties": host.properties, "limits": host.limits, "sweep": host.sweeps, "twice": host.twice, "ends": host.ends, "service": host.service,
		"upgrade": host.upgrade,
	} {
		t.Run(name, func(t *testing.T) { test(host{t, h.Groups, h.name, h.places}) })
	}
}

// systemctl asks systemd the way its people do.
func (h host) systemctl(args ...string) string {
	h.Helper()
	out, err := exec.CommandContext(h.Context(), "systemctl", args...).CombinedOutput()
	if err != nil {
		h.Fatalf("systemctl %v: %v: %s", args, err, out)
	}
	return string(out)
}

func (h host) unit(id string) string { return "cpucloud-" + h.name + "-" + id + ".scope" }

// properties: systemd says of the scope what was asked for, and has done it.
func (h host) properties() {
	j := h.run("vm-1", "", "exec sleep 1000", cgroup.Limits{VCPU: 4, Memory: 5 << 30, PIDs: 100, IOWeight: 200})
	defer j.end()
	want := map[string]string{
		"Description": "CPU Cloud VM vm-1", "Slice": "cpucloud.slice", "ActiveState": "active", "CPUWeight": "400",
		"CPUQuotaPerSecUSec": "4.250000s", "MemoryMax": "5368709120", "TasksMax": "100", "IOWeight": "200", "CollectMode": "inactive-or-failed",
	}
	names := slices.Sorted(maps.Keys(want))
	for line := range strings.Lines(h.systemctl("show", "-p", strings.Join(names, ","), h.unit("vm-1"))) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if value != want[name] {
			h.Errorf("%s=%s, want %s", name, value, want[name])
		}
		delete(want, name)
	}
	if len(want) > 0 {
		h.Errorf("systemd doesn't tell of %v", want)
	}
	if status := h.systemctl("status", "--no-pager", h.unit("vm-1")); !strings.Contains(status, "sleep 1000") {
		h.Errorf("the process isn't in the scope: %s", status)
	}
	if before := h.systemctl("show", "-p", "Before", h.unit("vm-1")); !slices.Contains(strings.Fields(strings.TrimPrefix(before, "Before=")), service.Name+".service") {
		h.Errorf("it isn't ended after the agent: %s", before)
	}
	for c, place := range h.places {
		group := h.groupOf(j.Process.Pid, c)
		if want := filepath.Join(place, "cpucloud.slice", h.unit("vm-1")); group != want {
			h.Errorf("for %s it is in %s, want %s", c, group, want)
		}
		h.kernel(c, group)
	}
	j.end()
	if err := h.Remove(h.Context(), "vm-1"); err != nil {
		h.Error(err)
	}
	if left := h.left(); len(left) > 0 {
		h.Errorf("scopes are left: %v", left)
	}
	h.Logf("controllers that were looked at: %v; missing: %v", slices.Sorted(maps.Keys(h.places)), h.Missing())
}

// kernel compares a group's files with what was asked for.
func (h host) kernel(controller, group string) {
	found := 0
	for _, want := range map[string][]string{
		"cpu":    {"cpu.max 425000 100000", "cpu.weight 400", "cpu.cfs_quota_us 425000", "cpu.cfs_period_us 100000", "cpu.shares 4096"},
		"pids":   {"pids.max 100"},
		"memory": {"memory.max 5368709120", "memory.limit_in_bytes 5368709120"},
	}[controller] {
		name, value, _ := strings.Cut(want, " ")
		text, err := os.ReadFile(filepath.Join(group, name))
		if err != nil {
			continue // of the other version
		}
		if found++; strings.TrimSpace(string(text)) != value {
			h.Errorf("%s is %q, want %q", name, text, value)
		}
	}
	if found == 0 && controller != "io" { // which needs a scheduler of disks that knows weights
		h.Errorf("nothing of %s was found in %s", controller, group)
	}
}

// twice: a machine that runs keeps its scope to itself; one that has ended leaves
// room for the next.
func (h host) twice() {
	first := h.sleeper("a")
	other := exec.CommandContext(h.Context(), "sleep", "1000")
	if err := other.Start(); err != nil {
		h.Fatal(err)
	}
	err := h.Enter(h.Context(), "a", other.Process.Pid, cgroup.Limits{VCPU: 1, Memory: 1 << 30, PIDs: 9})
	if err == nil || !strings.Contains(err.Error(), "1 processes still") {
		h.Errorf("entering the scope of a machine that runs: %v", err)
	}
	_ = other.Process.Kill()
	_ = other.Wait()
	first.end()
	h.sleeper("a").end()
	if err := h.Remove(h.Context(), "a"); err != nil {
		h.Error(err)
	}
}

// ends: a scope that is removed is gone from systemd as well, and may be removed
// again; one in which something runs isn't ended.
func (h host) ends() {
	j := h.sleeper("a")
	if err := h.Remove(h.Context(), "a"); err == nil || !strings.Contains(err.Error(), "systemctl status") {
		h.Errorf("Remove of a scope in which something runs: %v", err)
	}
	j.end()
	for range 2 {
		if err := h.Remove(h.Context(), "a"); err != nil {
			h.Errorf("Remove: %v", err)
		}
	}
	if units := h.systemctl("list-units", "--all", "--plain", "--no-legend", "cpucloud-*.scope"); units != "" {
		h.Errorf("units are left: %s", units)
	}
	for _, id := range []string{"*", "", "..", "a b", "a/b", "a@b"} {
		if h.Enter(h.Context(), id, os.Getpid(), cgroup.Limits{}) == nil || h.Remove(h.Context(), id) == nil {
			h.Errorf("%q is taken for a machine", id)
		}
	}
}

// upgrade: what an agent has made that knew nothing of systemd is removed as well.
func (h host) upgrade() {
	tree, err := cgroup.Open("/proc", h.name)
	if err != nil {
		h.Fatal(err)
	}
	old := host{h.T, tree, h.name, h.places}
	if !old.usable() {
		h.Log("there is no controller that such an agent could have used")
		return
	}
	for _, id := range []string{"a", "b"} {
		old.sleeper(id).end()
	}
	if err := h.Remove(h.Context(), "a"); err != nil {
		h.Error(err)
	}
	if left := old.left(); !slices.Equal(left, []string{"b"}) {
		h.Errorf("groups are left: %v, want that which wasn't removed", left)
	}
	if err := h.Sweep(h.Context(), func(string) bool { return false }); err != nil {
		h.Error(err)
	}
	if left := old.left(); len(left) != 0 {
		h.Errorf("groups are left: %v", left)
	}
}

// serving makes this program a service that puts a process of its own into the
// scope of a machine, and writes its number to a file.
const serving = "CPUCLOUD_TEST_SERVING"

func TestMain(m *testing.M) {
	if file := os.Getenv(serving); file != "" {
		fmt.Println(serve(context.Background(), file))
		select {}
	}
	os.Exit(m.Run())
}

func serve(ctx context.Context, file string) error {
	g, trouble, err := cgroup.Choose(ctx, "/", "served")
	if err = errors.Join(err, trouble); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "sleep", "1000")
	if err := cmd.Start(); err != nil {
		return err
	}
	if err := g.Enter(ctx, strconv.Itoa(os.Getpid()), cmd.Process.Pid, cgroup.Limits{VCPU: 1, Memory: 1 << 30, PIDs: 9}); err != nil {
		return err
	}
	if err := os.WriteFile(file+".new", []byte(strconv.Itoa(cmd.Process.Pid)), 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// service: machines outlive the service that has started them, when it is started
// again and when it is stopped; even one of which nothing is to be left.
func (h host) service() {
	self, err := os.Executable()
	if err != nil {
		h.Fatal(err)
	}
	dir := h.TempDir()
	file := filepath.Join(dir, "pid")
	const units = "/run/units"
	for name, text := range map[string]string{
		"agent.service":             service.Unit([]string{self}, dir),
		"agent.service.d/test.conf": "[Service]\nKillMode=control-group\nEnvironment=" + serving + "=" + file + "\n",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(units, name)), 0o755); err != nil { //nolint:gosec // systemd's
			h.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(units, name), []byte(text), 0o600); err != nil {
			h.Fatal(err)
		}
	}
	h.systemctl("daemon-reload")
	h.systemctl("start", "agent.service")
	machine := func() string {
		hypervisortest.Await(h.T, func() bool { _, err := os.Stat(file); return err == nil })
		pid, err := os.ReadFile(file)
		if err = errors.Join(err, os.Remove(file)); err != nil {
			h.Fatal(err)
		}
		return string(pid)
	}
	first := machine()
	h.systemctl("restart", "agent.service")
	second := machine()
	h.systemctl("stop", "agent.service")
	for _, pid := range []string{first, second} {
		if line, err := os.ReadFile("/proc/" + pid + "/cmdline"); err != nil || !strings.HasPrefix(string(line), "sleep") {
			h.Errorf("machine %s has not outlived its service: %q, %v", pid, line, err)
		}
	}
	h.systemctl("stop", "cpucloud.slice")
	hypervisortest.Await(h.T, func() bool { _, err := os.Stat("/proc/" + first); return err != nil })
}

// A host with a systemd that can't be asked, or is too old, gets groups that are
// made beside it, and is told so.
func TestChooseWithoutSystemd(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	put(t, filepath.Join(root, "proc/self/mountinfo"), "")
	g, trouble, err := cgroup.Choose(t.Context(), root, "test")
	if _, ok := g.(*cgroup.Tree); !ok || trouble != nil || err != nil {
		t.Errorf("no systemd: %v, %v, %v, want a tree", g, trouble, err)
	}
	put(t, filepath.Join(root, "run/systemd/system/x"), "")
	g, trouble, err = cgroup.Choose(t.Context(), root, "test")
	if _, ok := g.(*cgroup.Tree); !ok || err != nil || trouble == nil || !strings.Contains(trouble.Error(), "reach systemd") {
		t.Errorf("a systemd without a socket: %v, %v, %v, want a tree and why", g, trouble, err)
	}
}

func TestVersionOf(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{
		`"252.39-1~deb12u2"`: 252, `"v255"`: 255, `"240"`: 240, `"257.6-1"`: 257,
		`"239 (239-82.el8)"`: 0, `"v232"`: 0, `""`: 0, `"unknown"`: 0,
	} {
		if got, err := cgroup.VersionOf(text); got != want || (err != nil) != (want == 0) {
			t.Errorf("%s: %d, %v, want %d", text, got, err, want)
		}
	}
}
