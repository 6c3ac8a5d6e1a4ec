package cgroup_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

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
		if err := tree.Enter(t.Context(), name, os.Getpid(), cgroup.Limits{}); err == nil {
			t.Errorf("a group called %q was made", name)
		}
		if err := tree.Remove(t.Context(), name); err == nil {
			t.Errorf("a group called %q was removed", name)
		}
	}
}

// All machines together are not outweighed by a single process of their host.
func TestMachinesWeighAsProcessors(t *testing.T) {
	t.Parallel()
	h := open(t)
	if !h.usable() || h.scopes() || h.places["cpu"] == "" {
		t.Log("no group of this user's bounds processors here")
		return
	}
	j := h.sleeper("a")
	defer func() {
		j.end()
		if err := h.Remove(t.Context(), "a"); err != nil {
			t.Error(err)
		}
	}()
	all := filepath.Dir(h.groupOf(j.Process.Pid, "cpu"))
	for _, dir := range []string{all, filepath.Dir(all)} {
		text, err := os.ReadFile(filepath.Join(dir, "cpu.shares"))
		each := 1024
		if err != nil {
			text, err = os.ReadFile(filepath.Join(dir, "cpu.weight"))
			each = 100
		}
		if got, want := strings.TrimSpace(string(text)), strconv.Itoa(each*runtime.NumCPU()); err != nil || got != want {
			t.Errorf("%s weighs %q, %v; want %s", dir, got, err, want)
		}
	}
}

// A host without control groups bounds nothing, and says so.
func TestNoGroups(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	put(t, filepath.Join(dir, "proc", "self", "mountinfo"), "1 0 0:1 / / rw - ext4 /dev/vda rw\n")
	tree, err := cgroup.Open(filepath.Join(dir, "proc"), "test")
	if err != nil {
		t.Fatal(err)
	}
	if err := tree.Enter(t.Context(), "a", os.Getpid(), cgroup.Limits{}); err == nil || !strings.Contains(err.Error(), "no control groups") {
		t.Errorf("Enter: %v, want an error that says that there are none", err)
	}
}
