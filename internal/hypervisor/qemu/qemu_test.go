package qemu_test

import (
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/hypervisor"
	"github.com/cpucloud/cpucloud/internal/hypervisor/hypervisortest"
	"github.com/cpucloud/cpucloud/internal/hypervisor/qemu"
)

func TestDriver(t *testing.T) {
	t.Parallel()
	hypervisortest.Run(t, func(t *testing.T) hypervisortest.Fixture {
		t.Helper()
		dir := t.TempDir()
		return hypervisortest.Fixture{
			Open: func(t *testing.T) hypervisor.Driver { t.Helper(); return open(t, dir) },
			Kill: func(t *testing.T, id string) {
				t.Helper()
				if err := syscall.Kill(pid(t, dir, id), syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
			},
			Processes: func(t *testing.T, id string) []string { t.Helper(); return processes(t, dir, id) },
			Content:   content,
		}
	})
}

// content returns what is on the disk in the qcow2 file at path, which lies on no other.
func content(t *testing.T, path string) []byte {
	t.Helper()
	flat := filepath.Join(t.TempDir(), "flat")
	for _, args := range [][]string{{"check", "-q", "-f", "qcow2", path}, {"convert", "-f", "qcow2", "-O", "raw", path, flat}} {
		if out, err := exec.CommandContext(t.Context(), "qemu-img", args...).CombinedOutput(); err != nil {
			t.Fatalf("qemu-img %v: %v: %s", args, err, out)
		}
	}
	text, err := os.ReadFile(flat)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// open returns a driver over dir that doesn't try KVM, so that all hosts test the same.
func open(t *testing.T, dir string) *qemu.Driver {
	t.Helper()
	d, err := qemu.New(t.Context(), qemu.Config{Dir: dir, Accelerator: qemu.TCG, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

// start makes machine id run with an empty disk.
func start(t *testing.T, d *qemu.Driver, id string) hypervisor.Machine {
	t.Helper()
	near, far, err := hypervisortest.Socket()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = far.Close() })
	m := hypervisortest.Machine(t, t.TempDir(), id, near)
	if err := d.Ensure(t.Context(), m); err != nil {
		t.Fatalf("Ensure: %v", err)
	}
	t.Cleanup(func() { hypervisortest.Clear(t, d) })
	return m
}

// processes finds QEMUs by what the kernel knows of them: their name for the
// machine and their lock in dir.
func processes(t *testing.T, dir, id string) []string {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, line := range lines {
		text, err := os.ReadFile(line)
		if err != nil || !slices.Contains(strings.Split(string(text), "\x00"), "guest="+id) {
			continue
		}
		lock, err := os.Readlink(filepath.Join(filepath.Dir(line), "fd", "3"))
		if err != nil || lock != filepath.Join(dir, id, "lock") {
			continue
		}
		stat, err := os.ReadFile(filepath.Join(filepath.Dir(line), "stat"))
		if err == nil {
			fields := strings.Fields(string(stat))
			found = append(found, fields[0]+"@"+fields[21])
		}
	}
	return found
}

func pid(t *testing.T, dir, id string) int {
	t.Helper()
	found := processes(t, dir, id)
	if len(found) != 1 {
		t.Fatalf("processes = %v, want one", found)
	}
	number, _, _ := strings.Cut(found[0], "@")
	n, err := strconv.Atoi(number)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// status returns the fields of a process's status.
func status(t *testing.T, pid int) map[string]string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := map[string]string{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		fields[name] = strings.Join(strings.Fields(value), " ")
	}
	return fields
}
