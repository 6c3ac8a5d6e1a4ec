package qemu_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/hypervisor"
	"github.com/cpucloud/cpucloud/internal/hypervisor/confine"
	"github.com/cpucloud/cpucloud/internal/hypervisor/hypervisortest"
	"github.com/cpucloud/cpucloud/internal/hypervisor/qemu"
)

// The program of these tests is also the agent that is killed in them, when
// these are set.
const (
	agentFolder = "CPUCLOUD_TEST_AGENT_FOLDER"
	agentBinary = "CPUCLOUD_TEST_AGENT_BINARY"
)

const nobody = 65534

// inheritedFile is open in the agent from its beginning.
const inheritedFile = "/etc/passwd"

func TestMain(m *testing.M) {
	syscall.Umask(0o077) // as in an agent
	if len(os.Args) > 1 && os.Args[1] == confine.Helper {
		fmt.Fprintln(os.Stderr, confine.Main(os.Args[2:]))
		os.Exit(1)
	}
	if len(os.Args) > 1 && os.Args[1] == intruderArgument {
		intrude(os.Args[2:])
		os.Exit(0)
	}
	if dir := os.Getenv(agentFolder); dir != "" {
		fmt.Println(runAgent(dir, os.Getenv(agentBinary)))
		select {}
	}
	os.Exit(m.Run())
}

// runAgent starts machine a over dir.
func runAgent(dir, binary string) error {
	d, err := qemu.New(context.Background(), qemu.Config{
		Dir: filepath.Join(dir, "machines"), Binary: binary, Accelerator: qemu.TCG,
		Now: time.Now, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	near, _, err := hypervisortest.Socket()
	if err != nil {
		return err
	}
	disk := filepath.Join(dir, "disk")
	if err := os.WriteFile(disk, make([]byte, 1<<20), 0o600); err != nil {
		return err
	}
	return d.Ensure(context.Background(), hypervisor.Machine{
		ID: "a", VCPU: 1, RAMGiB: 1, Disks: []hypervisor.Disk{{Path: disk, Format: hypervisor.Raw}},
		NIC: hypervisor.NIC{MAC: "52:54:00:00:00:01", Kind: hypervisor.Stream, File: near},
	})
}

// agent runs runAgent as a process of user uid until it has started machine a
// or is dead, and kills it. It returns the folder of its machines.
func agent(t *testing.T, uid int, binary string) string {
	t.Helper()
	dir := publicDir(t)
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), agentFolder+"="+dir, agentBinary+"="+binary)
	if os.Getuid() == 0 {
		if err := os.Chown(dir, uid, uid); err != nil {
			t.Fatal(err)
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	}
	inherited, err := os.Open(inheritedFile)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = inherited.Close() }()
	cmd.ExtraFiles = []*os.File{nil, nil, nil, nil, nil, nil, nil, nil, inherited}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if line != "<nil>\n" && binary == "" {
		t.Errorf("agent says %q, %v", line, err)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	return filepath.Join(dir, "machines")
}

func TestMachineOutlivesKilledAgent(t *testing.T) {
	t.Parallel()
	machines := agent(t, os.Getuid(), "")
	d := open(t, machines)
	t.Cleanup(func() { hypervisortest.Clear(t, d) })
	before := processes(t, machines, "a")
	in := only(t, d)
	if in.State != hypervisor.Running || in.Started.IsZero() {
		t.Fatalf("List = %+v, want machine a running", in)
	}
	if err := d.Ensure(t.Context(), hypervisor.Machine{ID: "a"}); err != nil {
		t.Errorf("Ensure: %v", err)
	}
	if got := processes(t, machines, "a"); len(got) != 1 || got[0] != before[0] {
		t.Errorf("processes = %v, want still %v", got, before)
	}

	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid(t, machines, "a")))
	if err != nil || len(links) == 0 {
		t.Fatalf("files of the process: %v, %v", links, err)
	}
	for _, link := range links {
		if file, err := os.Readlink(link); err != nil || file == inheritedFile {
			t.Errorf("the process has %s -> %s, %v, which was the agent's", link, file, err)
		}
	}

	// Why it ended is told although it was nobody's child.
	if err := syscall.Kill(pid(t, machines, "a"), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	hypervisortest.Await(t, func() bool { return only(t, d).State == hypervisor.Exited })
	if got := only(t, d).Reason; !strings.Contains(got, "no agent") || !strings.Contains(got, "signal 15") {
		t.Errorf("reason = %q, want that no agent ran, and the signal", got)
	}
}

// TestAgentKilledBeforeItsNote: the machine's process exists, its number was
// never noted. That state is made twice: for sure, by taking the note away, and
// as it happens, by a QEMU that kills the agent first.
func TestAgentKilledBeforeItsNote(t *testing.T) {
	t.Parallel()
	edited := agent(t, os.Getuid(), "")
	edit(t, edited, func(r map[string]any) { delete(r, "process") })
	killed := agent(t, nobody, script(t, `case "$*" in *guest=*) kill -9 $PPID;; esac; exec "$QEMU" "$@"`))

	for name, machines := range map[string]string{"edited": edited, "killed": killed} {
		d := open(t, machines)
		t.Cleanup(func() { hypervisortest.Clear(t, d) })
		if got := only(t, d).State; got != hypervisor.Running {
			t.Errorf("%s: machine is %s, want running", name, got)
		}
		if err := d.Ensure(t.Context(), hypervisor.Machine{ID: "a"}); err != nil {
			t.Errorf("%s: Ensure: %v", name, err)
		}
		hypervisortest.Await(t, func() bool { return len(processes(t, machines, "a")) == 1 })
		if err := d.Destroy(t.Context(), "a"); err != nil {
			t.Errorf("%s: Destroy: %v", name, err)
		}
		if got := processes(t, machines, "a"); len(got) != 0 {
			t.Errorf("%s: processes = %v after Destroy, want none", name, got)
		}
	}
}

// TestAgentKilledBeforeTheProcess: the start is noted, the process never came.
func TestAgentKilledBeforeTheProcess(t *testing.T) {
	t.Parallel()
	machines := agent(t, nobody, script(t, `case "$*" in *guest=*) kill -9 $PPID; exit;; esac; exec "$QEMU" "$@"`))
	d := open(t, machines)
	hypervisortest.Await(t, func() bool { return only(t, d).State == hypervisor.Exited })
	if in := only(t, d); in.Reason == "" {
		t.Errorf("%+v, want a reason", in)
	}
	start(t, d, "a")
	if in := only(t, d); in.State != hypervisor.Running {
		t.Errorf("%+v, want it running", in)
	}
}

// TestNumberOfAnother: the noted number belongs to a stranger by now, who must
// not be taken for the machine.
func TestNumberOfAnother(t *testing.T) {
	t.Parallel()
	machines := agent(t, os.Getuid(), "")
	stranger := exec.CommandContext(t.Context(), "sleep", "1000")
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- stranger.Wait() }()
	t.Cleanup(func() { _ = stranger.Process.Kill() })
	edit(t, machines, func(r map[string]any) {
		r["process"] = map[string]any{"pid": stranger.Process.Pid, "ticks": 12345}
	})
	d := open(t, machines)
	if err := d.Destroy(t.Context(), "a"); err != nil {
		t.Errorf("Destroy: %v", err)
	}
	if got := processes(t, machines, "a"); len(got) != 0 {
		t.Errorf("processes = %v after Destroy, want none", got)
	}
	select {
	case err := <-ended:
		t.Errorf("Destroy ended a stranger: %v", err)
	default:
	}
}

func TestHostWasRestarted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := open(t, dir)
	start(t, d, "a")
	if err := syscall.Kill(pid(t, dir, "a"), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	hypervisortest.Await(t, func() bool { return strings.Contains(only(t, d).Reason, "signal killed") })
	edit(t, dir, func(r map[string]any) { r["boot"] = "another"; r["reason"] = "" })
	if got, want := only(t, d).Reason, "the host was restarted"; got != want {
		t.Errorf("reason = %q, want %q", got, want)
	}
}

func TestDeadMachineLeavesNoZombie(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := open(t, dir)
	start(t, d, "a")
	n := pid(t, dir, "a")
	if err := syscall.Kill(n, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	hypervisortest.Await(t, func() bool {
		_, err := os.Stat(fmt.Sprintf("/proc/%d", n))
		return os.IsNotExist(err)
	})
}

// only returns the one machine of d.
func only(t *testing.T, d *qemu.Driver) hypervisor.Instance {
	t.Helper()
	list, err := d.List(t.Context())
	if err != nil || len(list) != 1 {
		t.Fatalf("List = %+v, %v, want one machine", list, err)
	}
	return list[0]
}

// edit changes the record of machine a.
func edit(t *testing.T, machines string, change func(map[string]any)) {
	t.Helper()
	path := filepath.Join(machines, "a", "machine.json")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var r map[string]any
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	change(r)
	if text, err = json.Marshal(r); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// publicDir returns a folder whose files other users can reach.
func publicDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "cpucloud-test-") //nolint:usetesting // t.TempDir is closed to others
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // see above
		t.Fatal(err)
	}
	return dir
}

// script returns the path of a stand-in for QEMU, in which $QEMU is the real one.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(publicDir(t), "qemu")
	replace(t, path, text)
	return path
}

// replace makes the file at path such a stand-in.
func replace(t *testing.T, path, text string) {
	t.Helper()
	real, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		t.Fatal(err)
	}
	// While a process that was just forked has the file open for writing, it can't be run.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	err = os.WriteFile(path, []byte("#!/bin/sh\nQEMU="+real+"\n"+text+"\n"), 0o755) //nolint:gosec // to be run by others
	if err = errors.Join(err, os.Chmod(path, 0o755)); err != nil {                  //nolint:gosec // see above
		t.Fatal(err)
	}
}
