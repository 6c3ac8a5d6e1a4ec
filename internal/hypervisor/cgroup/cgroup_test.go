package cgroup_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/hypervisor/cgroup"
)

func TestSettings(t *testing.T) {
	t.Parallel()
	l := cgroup.Limits{VCPU: 4, Memory: 5 << 30, PIDs: 100, IOWeight: 200}
	for _, tt := range []struct {
		controller string
		v2         bool
		want       string
	}{
		{"cpu", true, "[[cpu.weight 400] [cpu.max 425000 100000]]"},
		{"cpu", false, "[[cpu.shares 4096] [cpu.cfs_period_us 100000] [cpu.cfs_quota_us 425000]]"},
		{"memory", true, "[[memory.max 5368709120] [memory.oom.group 1]]"},
		{"memory", false, "[[memory.limit_in_bytes 5368709120]]"},
		{"pids", true, "[[pids.max 100]]"},
		{"io", true, "[[io.weight default 200]]"},
		{"io", false, "[[blkio.bfq.weight 200]]"},
	} {
		if got := fmt.Sprint(cgroup.Settings(l, tt.controller, tt.v2)); got != tt.want {
			t.Errorf("%s, version 2 %t: %s, want %s", tt.controller, tt.v2, got, tt.want)
		}
	}
	if got := fmt.Sprint(cgroup.Settings(cgroup.Limits{VCPU: 255}, "cpu", true)); !strings.Contains(got, "cpu.weight 10000]") {
		t.Errorf("255 vCPUs: %s, want the largest weight", got)
	}
}

// A controller is used where version 2 has it, else where version 1 does.
func TestOpenFindsControllers(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		given   string // by version 2
		old     string // mounted as version 1
		places  map[string]string
		missing []string
	}{
		"version 2": {"cpuset cpu io memory pids", "", map[string]string{"cpu": "2", "memory": "2", "pids": "2", "io": "2"}, nil},
		"version 1": {"", "cpu memory pids blkio", map[string]string{"cpu": "cpu", "memory": "memory", "pids": "pids", "io": "blkio"}, nil},
		"both":      {"pids hugetlb", "cpu memory", map[string]string{"cpu": "cpu", "memory": "memory", "pids": "2"}, []string{"io"}},
		"none":      {"", "", map[string]string{}, []string{"cpu", "memory", "pids", "io"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			lines := "22 1 0:20 / / rw - ext4 /dev/vda rw\n"
			put(t, filepath.Join(dir, "2", "cgroup.controllers"), tt.given)
			if tt.given != "" {
				lines += "30 22 0:26 / " + dir + "/2 rw,nosuid shared:4 - cgroup2 cgroup2 rw\n"
			}
			for i, c := range strings.Fields(tt.old) {
				lines += fmt.Sprintf("%d 22 0:%d / %s/%s rw - cgroup cgroup rw,%s\n", 40+i, 40+i, dir, c, c)
			}
			put(t, filepath.Join(dir, "proc", "self", "mountinfo"), lines)
			tree, err := cgroup.Open(filepath.Join(dir, "proc"), "test")
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]string{}
			for c, place := range tt.places {
				want[c] = filepath.Join(dir, place)
			}
			if got := tree.Places(); !maps.Equal(got, want) || !slices.Equal(tree.Missing(), tt.missing) {
				t.Errorf("%v without %v, want %v without %v", got, tree.Missing(), want, tt.missing)
			}
		})
	}
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestNamesStayInside(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", ".", "..", "a/b", "../a", ".hidden", "a\x00"} {
		if _, err := cgroup.Open("/proc", name); err == nil {
			t.Errorf("a tree called %q was opened", name)
		}
		tree, err := cgroup.Open("/proc", "test")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tree.Make(name, cgroup.Limits{}); err == nil {
			t.Errorf("a group called %q was made", name)
		}
		if err := tree.Remove(name); err == nil {
			t.Errorf("a group called %q was removed", name)
		}
	}
}

// TestLimitsHold exercises each limit that this host has, and says which.
func TestLimitsHold(t *testing.T) {
	t.Parallel()
	h := open(t)
	h.exercise(t, "pids", cgroup.Limits{VCPU: 1, Memory: 1 << 30, PIDs: 4},
		`for i in 1 2 3 4 5 6 7 8; do sleep 0.1 & done; wait`, func(out string, err error) bool { return err != nil && strings.Contains(out, "fork") })
	h.exercise(t, "memory", cgroup.Limits{VCPU: 1, Memory: 32 << 20, PIDs: 100},
		`head -c 200m /dev/zero | tail >/dev/null; exit $?`, func(_ string, err error) bool { return err != nil })
	h.exercise(t, "cpu", cgroup.Limits{VCPU: 0, Memory: 1 << 30, PIDs: 100}, // a quarter of a processor
		`i=0; while [ $i -lt 1000 ]; do i=$((i+1)); if grep -q "nr_throttled [1-9]" "$GROUP/cpu.stat"; then exit 1; fi; done`,
		func(_ string, err error) bool { return err != nil })
}

// host is the control groups of this host, for a test.
type host struct {
	*cgroup.Tree
	name string
}

func open(t *testing.T) host {
	t.Helper()
	name := fmt.Sprintf("test-%s-%d", t.Name(), os.Getpid())
	tree, err := cgroup.Open("/proc", name)
	if err != nil {
		t.Fatal(err)
	}
	return host{tree, name}
}

// exercise runs script in a group with limits and wants its end to be as held says.
func (h host) exercise(t *testing.T, controller string, l cgroup.Limits, script string, held func(out string, err error) bool) {
	t.Helper()
	place, here := h.Places()[controller]
	if !here || os.Getuid() != 0 {
		t.Logf("%s: this host, or this user, has no control group for it", controller)
		return
	}
	enter, err := h.Make(controller, l)
	if err != nil {
		t.Fatalf("make a group: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", append([]string{"-c", `for f; do echo 0 >"$f"; done; ` + script, "sh"}, enter...)...)
	cmd.Env = append(os.Environ(), "GROUP="+filepath.Join(place, "cpucloud", h.name, controller))
	out, err := cmd.CombinedOutput()
	if !held(string(out), err) {
		t.Errorf("the limit of %s doesn't hold: %v: %s", controller, err, out)
	}
	t.Logf("%s: exercised in %s", controller, place)
	await(t, func() bool { return h.Remove(controller) == nil }) // what it left ends
	if _, err := os.Stat(filepath.Join(place, "cpucloud", h.name)); !os.IsNotExist(err) {
		t.Errorf("a group is left: %v", err)
	}
}

// A crash leaves groups; the next start removes those that nobody knows, and
// none in which something runs.
func TestSweep(t *testing.T) {
	t.Parallel()
	h := open(t)
	if len(h.Places()) == 0 || os.Getuid() != 0 {
		if err := h.Sweep(func(string) bool { return false }); err != nil {
			t.Errorf("sweep of nothing: %v", err)
		}
		return
	}
	for _, id := range []string{"gone", "kept", "busy"} {
		if _, err := h.Make(id, cgroup.Limits{VCPU: 1, Memory: 1 << 30, PIDs: 9}); err != nil {
			t.Fatal(err)
		}
	}
	enter, err := h.Make("busy", cgroup.Limits{VCPU: 1, Memory: 1 << 30, PIDs: 9})
	if err != nil {
		t.Fatal(err)
	}
	busy := exec.CommandContext(t.Context(), "sleep", "1000")
	if err := busy.Start(); err != nil {
		t.Fatal(err)
	}
	for _, procs := range enter {
		if err := os.WriteFile(procs, fmt.Append(nil, busy.Process.Pid), 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.Sweep(func(id string) bool { return id == "kept" }); err == nil {
		t.Error("a group in which something runs was removed without a word")
	}
	left := map[string]bool{}
	for _, place := range h.Places() {
		entries, _ := os.ReadDir(filepath.Join(place, "cpucloud", h.name))
		for _, e := range entries {
			if e.IsDir() {
				left[e.Name()] = true
			}
		}
	}
	if !maps.Equal(left, map[string]bool{"kept": true, "busy": true}) {
		t.Errorf("left: %v, want those that are kept and busy", left)
	}
	_ = busy.Process.Kill()
	_ = busy.Wait()
	await(t, func() bool { return h.Sweep(func(string) bool { return false }) == nil })
}

// await waits until it holds.
func await(t *testing.T, holds func() bool) {
	t.Helper()
	for range 1000 {
		if holds() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("it doesn't come to pass")
}
