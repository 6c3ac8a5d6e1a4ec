package qemu_test

import (
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/hypervisor/hypervisortest"
	"github.com/cpucloud/cpucloud/internal/hypervisor/qemu"
)

func TestParseUsers(t *testing.T) {
	t.Parallel()
	got, err := qemu.ParseUsers("200000-265535")
	if want := (qemu.UserRange{First: 200000, Count: 65536}); err != nil || got != want || got.String() != "200000-265535" {
		t.Errorf("ParseUsers = %+v, %v, want %+v", got, err, want)
	}
	for _, bad := range []string{"", "5", "-", "0-10", "999-2000", "2000-2000", "3000-2000", "1000-4294967295", "a-b", "1000-2000-3000", "1000 - 2000"} {
		if _, err := qemu.ParseUsers(bad); !fault.Is(err, fault.Invalid) {
			t.Errorf("ParseUsers(%q) = %v, want an Invalid fault", bad, err)
		}
	}
}

// Ids that somebody else has are refused, and who has them is told.
func TestUsersOfOthersAreRefused(t *testing.T) {
	t.Parallel()
	users := qemu.UserRange{First: 200000, Count: 65536}
	for name, tt := range map[string]struct {
		file, line string
		refused    bool
	}{
		"nobody there":       {"passwd", "root:x:0:0::/root:/bin/sh", false},
		"just below":         {"passwd", "a:x:199999:0::/:/bin/sh", false},
		"first":              {"passwd", "a:x:200000:0::/:/bin/sh", true},
		"last":               {"passwd", "a:x:265535:0::/:/bin/sh", true},
		"just above":         {"passwd", "a:x:265536:0::/:/bin/sh", false},
		"group":              {"group", "a:x:200001:", true},
		"ids of containers":  {"subuid", "a:100000:100001", true},
		"ids that end below": {"subuid", "a:100000:100000", false},
		"around it":          {"subgid", "a:1:4294967294", true},
		"nonsense":           {"subuid", "a:b:c", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			if err := os.Mkdir(filepath.Join(root, "etc"), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(root, "etc", tt.file), []byte(tt.line+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			err := qemu.FreeUsers(users, root)
			if got := fault.Is(err, fault.Invalid); got != tt.refused {
				t.Errorf("%v, want refused %t", err, tt.refused)
			}
			if tt.refused && (!strings.Contains(err.Error(), "--vm-uids") || !strings.Contains(err.Error(), `"a"`)) {
				t.Errorf("%v, want who has them and what to do", err)
			}
		})
	}
}

// TestUserIsNotReusedWhileItHasProcesses: what a machine has left running must
// not meet the next one of its user. It needs root; without, there is but one user.
func TestUserIsNotReusedWhileItHasProcesses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const first = 0x70100000
	d, err := qemu.New(t.Context(), qemu.Config{
		Dir: dir, Accelerator: qemu.TCG, Users: qemu.UserRange{First: first, Count: 4}, Now: time.Now, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	user := func(id string) string { return strings.Fields(status(t, pid(t, dir, id))["Uid"])[0] }
	if os.Getuid() != 0 {
		start(t, d, "a")
		if got := user("a"); got != strconv.Itoa(os.Getuid()) {
			t.Errorf("the machine is user %s's", got)
		}
		return
	}
	left := exec.CommandContext(t.Context(), "sleep", "1000")
	left.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: first, Gid: first}}
	if err := left.Start(); err != nil {
		t.Fatal(err)
	}
	start(t, d, "a")
	if got := user("a"); got != strconv.Itoa(first+1) {
		t.Errorf("the machine is user %s's, of which a process is left", got)
	}
	_ = left.Process.Kill()
	_ = left.Wait()
	hypervisortest.Await(t, func() bool { return syscall.Kill(left.Process.Pid, 0) != nil })
	start(t, d, "b")
	if got := user("b"); got != strconv.Itoa(first) {
		t.Errorf("the next machine is user %s's, want the one that is free again", got)
	}
}
