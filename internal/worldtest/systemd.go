package worldtest

import (
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cpucloud/cpucloud/internal/hypervisor/hypervisortest"
)

// Hierarchy is how control groups are mounted where a systemd runs.
type Hierarchy string

// The hierarchies. Mixed is all that the host has, as it has it. Legacy is what of
// that is of version 1, if anything is: there systemd isn't told when a group is
// empty. Unified is version 2 alone, with those controllers that the host doesn't
// use by version 1.
const (
	Mixed   Hierarchy = "mixed"
	Legacy  Hierarchy = "legacy"
	Unified Hierarchy = "unified"
)

// script makes the world of a systemd.
//
//go:embed systemd.sh
var script string

// Systemd runs the calling test once more where a real systemd is the first
// process: of namespaces of its own, over the host's files, which it can't change,
// and in control groups of its own. It ends with the test, also with one that is
// killed.
func Systemd(t *testing.T, h Hierarchy) (inside bool) {
	t.Helper()
	return once(t, string(h), func() world {
		m := start(t, h)
		return world{enter: m.enter, said: m.said}
	})
}

// machine is a systemd and its namespaces.
type machine struct {
	*testing.T

	hierarchy Hierarchy
	groups    []string // of the host, that are the roots inside
	dir       string
	leader    *exec.Cmd
	pid       int // of systemd, outside
}

// count keeps names of machines apart.
var count atomic.Int32

func start(t *testing.T, h Hierarchy) *machine {
	t.Helper()
	m := &machine{T: t, hierarchy: h, dir: t.TempDir()}
	t.Cleanup(m.stop)
	m.group()
	m.leader = exec.CommandContext(t.Context(), "/bin/sh", append([]string{"-c", script, "outside", string(h), os.TempDir()}, m.groups...)...)
	log, err := os.Create(filepath.Join(m.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	m.leader.Stdout, m.leader.Stderr = log, log
	m.leader.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "SCRIPT=" + script}
	m.leader.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL} // which unshare hands on to its child
	if err := errors.Join(m.leader.Start(), log.Close()); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if m.pid == 0 {
			t.Logf("systemd says: %s", m.said())
		}
	}()
	hypervisortest.Await(t, m.ready)
	return m
}

// group makes the groups that systemd finds at the root of each hierarchy.
func (m *machine) group() {
	m.Helper()
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		m.Fatal(err)
	}
	name := fmt.Sprintf("%s%d-%d", prefix, os.Getpid(), count.Add(1))
	for line := range strings.Lines(string(text)) {
		before, after, _ := strings.Cut(line, " - cgroup")
		left := strings.Fields(before)
		if after == "" || len(left) < 5 {
			continue
		}
		sweep(left[4])
		dir := filepath.Join(left[4], name)
		for _, c := range controllers(left[4]) {
			_ = os.WriteFile(filepath.Join(left[4], "cgroup.subtree_control"), []byte("+"+c), 0)
		}
		if err := os.Mkdir(dir, 0o755); err != nil { //nolint:gosec // as the kernel's own
			m.Fatal(err)
		}
		m.groups = append(m.groups, dir)
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} { // without which nothing enters it
			if text, err := os.ReadFile(filepath.Join(left[4], file)); err == nil {
				_ = os.WriteFile(filepath.Join(dir, file), text, 0)
			}
		}
	}
}

// prefix begins the names of groups; the number of the process that made one follows.
const prefix = "systemd-test-"

// sweep removes what tests have left that were killed.
func sweep(place string) {
	groups, _ := filepath.Glob(filepath.Join(place, prefix+"*")) // of a pattern that is in order
	for _, group := range groups {
		var pid int
		if _, err := fmt.Sscanf(filepath.Base(group), prefix+"%d-", &pid); err != nil {
			continue
		}
		if err := syscall.Kill(pid, 0); errors.Is(err, syscall.ESRCH) {
			_ = remove(group) // or its processes are just ending
		}
	}
}

// controllers returns those that version 2 has at place.
func controllers(place string) []string {
	text, _ := os.ReadFile(filepath.Join(place, "cgroup.controllers"))
	return strings.Fields(string(text))
}

// ready notes the number of the systemd that runs and listens, if it does.
func (m *machine) ready() bool {
	processes, err := filepath.Glob("/proc/[0-9]*/status")
	if err != nil {
		m.Fatal(err)
	}
	for _, path := range processes {
		text, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(text), fmt.Sprintf("\nPPid:\t%d\n", m.leader.Process.Pid)) {
			continue
		}
		run := filepath.Join(filepath.Dir(path), "root/run")
		_, err1 := os.Stat(filepath.Join(run, "units")) // this world's, not that of a host with a systemd
		_, err2 := os.Stat(filepath.Join(run, "systemd/private"))
		if m.pid, err = strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil && err1 == nil && err2 == nil {
			return true
		}
	}
	return false
}

// enter returns the command that runs args inside, in the folder that this process
// is in.
func (m *machine) enter(args ...string) []string {
	dir, err := os.Getwd()
	if err != nil {
		m.Fatal(err)
	}
	return append([]string{
		"nsenter", "-t", strconv.Itoa(m.pid), "-m", "-p", "-u", "-i", "-n", "-C", "--", "/bin/sh", "-c", `cd "$0" && exec "$@"`, dir,
	}, args...)
}

// said returns what systemd has said.
func (m *machine) said() string {
	text, _ := os.ReadFile(filepath.Join(m.dir, "log"))
	return string(text)
}

// stop ends all processes inside, and removes the groups.
func (m *machine) stop() {
	if m.leader != nil && m.leader.Process != nil {
		_ = m.leader.Process.Kill() // and its child with it, and all that are in the child's namespace
		_ = m.leader.Wait()
	}
	for _, group := range m.groups {
		hypervisortest.Await(m.T, func() bool { return remove(group) == nil })
	}
}

// remove removes a control group with those that are in it.
func remove(group string) error {
	entries, err := os.ReadDir(group)
	for _, e := range entries {
		if e.IsDir() {
			err = errors.Join(err, remove(filepath.Join(group, e.Name())))
		}
	}
	if err = errors.Join(err, os.Remove(group)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
