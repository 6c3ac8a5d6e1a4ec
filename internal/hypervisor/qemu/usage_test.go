package qemu_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cpucloud/cpucloud/internal/hypervisor"
	"github.com/cpucloud/cpucloud/internal/hypervisor/hypervisortest"
)

func usageOf(t *testing.T, d hypervisor.Driver, id string) hypervisor.Usage {
	t.Helper()
	all, err := d.Usage(t.Context())
	if err != nil {
		t.Fatalf("Usage: %v", err)
	}
	for _, u := range all {
		if u.ID == id {
			return u
		}
	}
	t.Fatalf("Usage = %+v, want machine %s in it", all, id)
	return hypervisor.Usage{}
}

// A machine that has to share its processor is seen to wait for it.
func TestStealIsSeen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := open(t, dir)
	start(t, d, "a")
	crowd(t, pid(t, dir, "a"))
	before := usageOf(t, d, "a")
	hypervisortest.Await(t, func() bool {
		if err := d.Reset(t.Context(), "a"); err != nil { // its firmware is at work again
			t.Fatal(err)
		}
		now := usageOf(t, d, "a")
		if now.Steal < before.Steal || now.CPU < before.CPU {
			t.Fatalf("usage falls from %+v to %+v", before, now)
		}
		return now.Steal-before.Steal > 20*time.Millisecond
	})
}

// crowd has a process share one processor with another one that is always busy.
func crowd(t *testing.T, process int) {
	t.Helper()
	busy := exec.Command("sh", "-c", "while :; do :; done")
	if err := busy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = busy.Process.Kill(), busy.Wait() })
	var allowed, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		t.Fatal(err)
	}
	for n := range 1024 {
		if allowed.IsSet(n) {
			one.Set(n)
			break
		}
	}
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", process))
	if err != nil {
		t.Fatal(err)
	}
	ids := []int{busy.Process.Pid}
	for _, thread := range threads {
		n, err := strconv.Atoi(thread.Name())
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, n)
	}
	for _, n := range ids {
		if err := unix.SchedSetaffinity(n, &one); err != nil && !errors.Is(err, unix.ESRCH) { // a thread that has ended
			t.Fatal(err)
		}
	}
}

// A QEMU that doesn't answer costs the others little: they are counted, and so is
// what the kernel knows of it.
func TestDeafQEMUIsCountedByTheKernel(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := open(t, dir)
	start(t, d, "deaf")
	start(t, d, "b")
	// QEMU talks to one at a time.
	conn, err := net.Dial("unix", inProc(t, filepath.Join(dir, "deaf"), "qmp"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err != nil { // its greeting
		t.Fatal(err)
	}
	began := time.Now()
	const readings = 10
	for range readings {
		if u := usageOf(t, d, "deaf"); u.Disk != nil || u.Memory == 0 {
			t.Errorf("usage of a deaf one = %+v, want memory and no disk", u)
		}
		if u := usageOf(t, d, "b"); u.Disk == nil {
			t.Errorf("usage of another one = %+v, want its disk", u)
		}
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("%d readings took %v: a deaf one is to be passed over", 2*readings, took)
	}
	_ = conn.Close()
	hypervisortest.Await(t, func() bool { return usageOf(t, d, "deaf").Disk != nil })
}

// inProc returns a path of a file that is short enough for a socket.
func inProc(t *testing.T, dir, name string) string {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return fmt.Sprintf("/proc/self/fd/%d/%s", f.Fd(), name)
}
