package qemu_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/cpucloud/cpucloud/internal/hypervisor/qemu"
)

func TestProcessHasNoRights(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := open(t, dir)
	start(t, d, "a")
	n := pid(t, dir, "a")
	got := status(t, n)
	want := map[string]string{
		"CapEff": "0000000000000000", "CapPrm": "0000000000000000", "CapInh": "0000000000000000",
		"CapAmb": "0000000000000000", "NoNewPrivs": "1", "Seccomp": "2", "Seccomp_filters": "2", "NSsid": strconv.Itoa(n),
	}
	if os.Getuid() == 0 {
		want["CapBnd"], want["NSsid"] = "0000000000000000", strconv.Itoa(n)+" 1"
		own, _, _ := strings.Cut(got["Uid"], " ")
		uid, err := strconv.ParseUint(own, 10, 32)
		if users := qemu.DefaultUsers; err != nil || uint32(uid) < users.First || uint32(uid) >= users.First+users.Count-1 {
			t.Errorf("user %s, want one of %s", own, users)
		}
		ids := strings.TrimSpace(strings.Repeat(own+" ", 4))
		want["Uid"], want["Gid"], want["Groups"] = ids, ids, ""
	}
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s = %q, want %q", name, got[name], value)
		}
	}
	if env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", n)); err != nil || len(env) > 0 {
		t.Errorf("environment = %q, %v, want none", env, err)
	}
	if cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", n)); err != nil || cwd != "/" {
		t.Errorf("folder = %q, %v, want /", cwd, err)
	}
}

func TestProcessKnowsNoPaths(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := open(t, dir)
	m := start(t, d, "a")
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid(t, dir, "a")))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{m.Disks[0].Path, dir, filepath.Base(m.Disks[0].Path)} {
		if strings.Contains(string(line), path) {
			t.Errorf("the command line names %s: %q", path, line)
		}
	}
}

// TestEachMachineHasItsOwnUser needs root, without which there is but one user;
// then it asserts that one.
func TestEachMachineHasItsOwnUser(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := open(t, dir)
	users := map[string]bool{}
	for _, id := range []string{"a", "b", "c"} {
		start(t, d, id)
		users[status(t, pid(t, dir, id))["Uid"]] = true
	}
	want := 3
	if os.Getuid() != 0 {
		want = 1
	}
	if len(users) != want {
		t.Errorf("users = %v, want %d", users, want)
	}
}

func TestFolderIsPrivate(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "machines")
	d := open(t, dir)
	start(t, d, "a")
	for name, want := range map[string]os.FileMode{
		"": 0o700, "a": 0o700, "a/lock": 0o600, "a/machine.json": 0o600, "a/qemu.log": 0o600, "a/qmp": 0o600,
	} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
		} else if got := info.Mode().Perm(); got != want {
			t.Errorf("mode of %q = %o, want %o", name, got, want)
		}
	}
}
