package qemu_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cpucloud/cpucloud/internal/hypervisor"
	"github.com/cpucloud/cpucloud/internal/hypervisor/hypervisortest"
	"github.com/cpucloud/cpucloud/internal/hypervisor/qemu"
)

// guest is an agent in the place of that of machine a's guest.
type guest struct {
	answer func(command string) string // "" for silence
	mu     sync.Mutex
	heard  []string
}

// inside has g listen instead of the guest of machine a.
func (g *guest) inside(t *testing.T, dir string) {
	t.Helper()
	path := filepath.Join(dir, "a", "agent")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			g.talk(conn)
		}
	}()
}

func (g *guest) talk(conn net.Conn) {
	defer conn.Close() //nolint:errcheck // it is a guest's
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		command := strings.TrimPrefix(lines.Text(), "\xff")
		if number, ok := strings.CutPrefix(command, `{"execute":"guest-sync-delimited","arguments":{"id":`); ok {
			command = "sync " + strings.TrimRight(number, "}")
		}
		command = strings.TrimSuffix(strings.TrimPrefix(command, `{"execute":"guest-fsfreeze-`), `"}`)
		g.mu.Lock()
		word, _, _ := strings.Cut(command, " ")
		g.heard = append(g.heard, word)
		g.mu.Unlock()
		if _, err := io.WriteString(conn, g.answer(command)); err != nil {
			return
		}
	}
}

func (g *guest) said() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return strings.Join(g.heard, " ")
}

// honest answers as the agent of QEMU does.
func honest(command string) string {
	if number, ok := strings.CutPrefix(command, "sync "); ok {
		return "\xff{\"return\": " + number + "}\n"
	}
	return "{\"return\": 1}\n"
}

// stale answers what somebody else has asked before.
func stale(command string) string {
	if strings.HasPrefix(command, "sync ") {
		return "{\"return\": 7}\n\xff{\"return\": 8}\n" + honest(command)
	}
	return honest(command)
}

// Whatever an agent in a guest answers, or does not, the copy is made; and a guest
// that was asked to hold still is asked to go on.
func TestGuestAgents(t *testing.T) {
	t.Parallel()
	const refusal = `{"error": {"class": "GenericError", "desc": "no"}}` + "\n"
	instead := func(of, say string) func(string) string {
		return func(command string) string {
			if strings.HasPrefix(command, of) {
				return say
			}
			return honest(command)
		}
	}
	for name, test := range map[string]struct {
		answer func(string) string
		order  hypervisor.Consistency
		heard  string
	}{
		"honest":                 {honest, hypervisor.FileSystem, "sync freeze sync thaw"},
		"with stale words":       {stale, hypervisor.FileSystem, "sync freeze sync thaw"},
		"mute":                   {func(string) string { return "" }, hypervisor.Crash, "sync"},
		"floods":                 {func(string) string { return strings.Repeat("x", 1<<20) }, hypervisor.Crash, "sync"},
		"floods with sentinels":  {func(string) string { return strings.Repeat("\xff\n", 1<<19) }, hypervisor.Crash, "sync"},
		"can't freeze":           {instead("freeze", refusal), hypervisor.Crash, "sync freeze sync thaw"},
		"freezes nothing":        {instead("freeze", "{\"return\": 0}\n"), hypervisor.Crash, "sync freeze sync thaw"},
		"answers with no number": {instead("freeze", "{\"return\": {}}\n"), hypervisor.Crash, "sync freeze sync thaw"},
		"is no JSON":             {instead("freeze", "yes\n"), hypervisor.Crash, "sync freeze sync thaw"},
		"did not hold still":     {instead("thaw", "{\"return\": 0}\n"), hypervisor.Crash, "sync freeze sync thaw"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			d := open(t, dir)
			m := start(t, d, "a")
			g := &guest{answer: test.answer}
			g.inside(t, dir)
			if got := backup(t, d, m, t.TempDir()); got != test.order {
				t.Errorf("the copy is in order %q, want %q", got, test.order)
			}
			if got := g.said(); got != test.heard {
				t.Errorf("the agent was told %q, want %q", got, test.heard)
			}
			if _, err := os.Stat(filepath.Join(dir, "a", "frozen")); err == nil {
				t.Error("the guest counts as holding still")
			}
		})
	}
}

// backup copies the disk of m, which runs, to a file in folder.
func backup(t *testing.T, d *qemu.Driver, m hypervisor.Machine, folder string) hypervisor.Consistency {
	t.Helper()
	f, err := os.Create(filepath.Join(folder, "copy")) //nolint:gosec // a folder of the test
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // it was synced
	order, err := d.Backup(t.Context(), m.ID, hypervisor.Backup{Disk: m.Disks[0], Target: f, Freeze: true})
	if err != nil {
		t.Fatalf("Backup: %v", err)
	}
	want, err := os.ReadFile(m.Disks[0].Path)
	if err != nil {
		t.Fatal(err)
	}
	if got := content(t, f.Name()); !bytes.Equal(got, want) {
		t.Errorf("the copy differs from the disk")
	}
	return order
}

// A guest that was asked to hold still by a driver that did not live to have it go
// on is asked to by the next one.
func TestNextDriverThaws(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	start(t, open(t, dir), "a")
	g := &guest{answer: honest}
	g.inside(t, dir)
	mark := filepath.Join(dir, "a", "frozen")
	if err := os.WriteFile(mark, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
	hypervisortest.Await(t, func() bool { _, err := os.Stat(mark); return os.IsNotExist(err) })
	if got := g.said(); got != "sync thaw" {
		t.Errorf("the agent was told %q, want to go on", got)
	}
}

// A copy that a driver has left in a machine, and what it is made through, is taken
// away by the next one.
func TestNextDriverEndsCopies(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := open(t, dir)
	m := start(t, d, "a")
	before := d.Added(t.Context(), "a")
	f, err := os.Create(filepath.Join(t.TempDir(), "copy")) //nolint:gosec // a folder of the test
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // it is of no use
	if err := d.Leave(t.Context(), "a", hypervisor.Backup{Disk: m.Disks[0], Target: f}); err != nil {
		t.Fatal(err)
	}
	if got := d.Added(t.Context(), "a"); len(got) != len(before)+4 {
		t.Fatalf("a copy adds %q to %q, want a job, two nodes and a file", got, before)
	}
	next := open(t, dir)
	hypervisortest.Await(t, func() bool { return slices.Equal(next.Added(t.Context(), "a"), before) })
	backup(t, next, m, t.TempDir())
	if got := next.Added(t.Context(), "a"); !slices.Equal(got, before) {
		t.Errorf("after a copy there is %q, want %q", got, before)
	}
}

// A copy of a machine that is ended meanwhile is an error, soon.
func TestCopyOfAMachineThatEnds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := open(t, dir)
	m := start(t, d, "a")
	f, err := os.Create(filepath.Join(t.TempDir(), "copy")) //nolint:gosec // a folder of the test
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // it is of no use
	// When it is begun its agent is asked, which ends it.
	g := &guest{answer: func(string) string {
		if err := d.Destroy(t.Context(), "a"); err != nil {
			return fmt.Sprint(err)
		}
		return ""
	}}
	g.inside(t, dir)
	_, err = d.Backup(t.Context(), "a", hypervisor.Backup{Disk: m.Disks[0], Target: f, Freeze: true})
	if err == nil || !strings.Contains(err.Error(), "powered off meanwhile") {
		t.Errorf("Backup = %v, want that the machine was powered off", err)
	}
}
