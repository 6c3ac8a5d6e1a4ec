package qemu_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cpucloud/cpucloud/internal/hypervisor"
	"github.com/cpucloud/cpucloud/internal/hypervisor/confine"
	"github.com/cpucloud/cpucloud/internal/hypervisor/hypervisortest"
	"github.com/cpucloud/cpucloud/internal/hypervisor/qemu"
)

// victim is a host that an intruder is on.
type victim struct {
	target

	driver *qemu.Driver
	own    *os.File      // the intruder's disk
	users  atomic.Uint32 // that intruders had
}

// hosts counts victims, so that no two share.
var hosts atomic.Int32

func newVictim(t *testing.T) *victim {
	t.Helper()
	dir := t.TempDir()
	machines := filepath.Join(dir, "machines")
	d := open(t, machines)
	m := start(t, d, "a")
	public := publicDir(t)
	v := &victim{driver: d, target: target{
		Secret: filepath.Join(dir, "identity.json"), Disk: m.Disks[0].Path, Socket: filepath.Join(machines, "a", "qmp"),
		Public: "/etc/passwd", Binary: filepath.Join(public, "qemu"), Suid: filepath.Join(public, "suid"),
		Temporary: filepath.Join(os.TempDir(), filepath.Base(public)+"-intruder"),
	}}
	t.Cleanup(func() { _ = os.Remove(v.Temporary) })
	if err := os.WriteFile(v.Secret, []byte("key"), 0o600); err != nil {
		t.Fatal(err)
	}
	copyProgram(t, v.Binary, 0o755)
	copyProgram(t, v.Suid, 0o755|os.ModeSetuid)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	v.Port, v.Name = listener.Addr().String(), fmt.Sprintf("@cpucloud-test-%s", filepath.Base(public))
	local, err := net.Listen("unix", v.Name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = local.Close() })
	v.Shared = int(hosts.Add(1))<<24 | os.Getpid()
	shared, err := unix.SysvShmGet(v.Shared, 4096, unix.IPC_CREAT|0o666)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = unix.SysvShmCtl(shared, unix.IPC_RMID, nil) })
	stranger := exec.CommandContext(t.Context(), "sleep", "1000")
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stranger.Process.Kill(); _ = stranger.Wait() })
	v.PID = stranger.Process.Pid
	if v.own, err = os.Create(filepath.Join(dir, "own")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = v.own.Close() })
	return v
}

// copyProgram copies this program to where others may run it.
func copyProgram(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	in, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o755) //nolint:gosec // to be run by others
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// intruded returns what came of each of an intruder's tries, "" for one that
// went well for it.
func (v *victim) intruded(t *testing.T, weaken func(*confine.Spec)) map[string]string {
	t.Helper()
	near, far, err := hypervisortest.Socket()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = near.Close(), far.Close() }()
	n := v.users.Add(1)
	m := hypervisortest.Machine(t, t.TempDir(), fmt.Sprint("b", n), near)
	defer func() {
		if err := v.driver.Destroy(t.Context(), m.ID); err != nil {
			t.Error(err)
		}
	}()
	m.Disks[0].Bytes = 1 << 30
	ask, err := json.Marshal(v.target)
	if err != nil {
		t.Fatal(err)
	}
	const first = 0x70000100
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd, err := v.driver.Intruder(ctx, m, first+n, weaken, v.Binary, intruderArgument, string(ask))
	if err != nil {
		t.Fatal(err)
	}
	cmd.ExtraFiles, cmd.WaitDelay = []*os.File{v.own}, time.Second
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		t.Fatalf("the intruder ended with %v: %s", err, complaint.Bytes())
	}
	said := map[string]string{}
	if err := json.Unmarshal(out.Bytes(), &said); err != nil {
		t.Fatalf("the intruder said %q: %v", out.Bytes(), err)
	}
	return said
}

// alone are tries that are refused without a user and namespaces as well: what an
// agent that isn't root can do for its host.
var alone = []string{
	"make a raw socket", "find a variable in its environment", "become root", "become root by a program", "gain privileges by a program", "dump its memory",
	"lock memory", "make larger files", "open more files", "mount something", "leave its root", "make a user namespace", "make one by clone",
	"ask for the kernel's keys", "load a BPF program", "make an io_uring", "handle page faults", "read the kernel's log", "rename the host", "set the clock",
	"restart the host", "grow its disk without end",
}

// TestCompromisedQEMU runs a program in the place of a machine's QEMU that tries
// what it can. QEMU's own filter of system calls isn't there: what QEMU
// forbids itself comes on top.
func TestCompromisedQEMU(t *testing.T) {
	t.Parallel()
	v := newVictim(t)
	said := v.intruded(t, nil)
	if len(said) < 45 {
		t.Errorf("only %d tries", len(said))
	}
	for name, why := range said {
		if why == "" && (os.Getuid() == 0 || slices.Contains(alone, name)) {
			t.Errorf("it could %s", name)
		}
	}
	if err := unix.Kill(v.PID, 0); err != nil {
		t.Errorf("a process of the host: %v", err)
	}
	if only(t, v.driver).State != hypervisor.Running {
		t.Error("the other machine doesn't run any more")
	}
}

// TestDefencesMatter takes one defence out at a time and sees what it was for.
// What several refuse, such as the host's passwords, isn't among it.
func TestDefencesMatter(t *testing.T) {
	t.Parallel()
	v := newVictim(t)
	tests := map[string]struct {
		weaken func(*confine.Spec)
		could  []string
		root   bool // the defence is there for an agent that is root
	}{
		"namespaces and root": {func(s *confine.Spec) { s.Isolated = false }, []string{
			"read a public file of the host", "see the host's processes", "talk to a local name of the host", "use memory that the host shares",
			"write to the host's temporary", "see files that it was not given",
		}, true},
		"shown files": {func(s *confine.Spec) { s.Show = append(s.Show, "/etc/passwd") }, []string{"read a public file of the host"}, true},
		"user":        {func(s *confine.Spec) { s.User = 0 }, []string{"become root", "keep a capability"}, true},
		"limits": {func(s *confine.Spec) { s.Limits, s.Admit = nil, nil }, []string{
			"grow its disk without end", "make larger files", "make processes without end",
		}, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if test.root && os.Getuid() != 0 {
				test.weaken, test.could = nil, nil
			}
			said := v.intruded(t, test.weaken)
			for _, try := range test.could {
				if why := said[try]; why != "" {
					t.Errorf("without it an intruder could not %s: %s", try, why)
				}
			}
		})
	}
}
