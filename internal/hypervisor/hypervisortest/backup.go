package hypervisortest

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/hypervisor"
)

// letter is where a word is written on a disk, behind what a guest is booted from.
const letter = 512 << 10

// write has a word on the disk of m, which doesn't run.
func (h *host) write(m hypervisor.Machine, word string) {
	h.t.Helper()
	disk, err := os.OpenFile(m.Disks[0].Path, os.O_RDWR, 0)
	if err == nil {
		_, err = disk.WriteAt([]byte(word), letter)
		err = errors.Join(err, disk.Close())
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

// target returns an empty file for a backup.
func (h *host) target(name string) *os.File {
	h.t.Helper()
	f, err := os.OpenFile(filepath.Join(h.folder, name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = f.Close() })
	return f
}

// backup copies the disk of m and compares what is in the copy.
func (h *host) backup(m hypervisor.Machine, name string) {
	t := h.t
	t.Helper()
	want, err := os.ReadFile(m.Disks[0].Path)
	if err != nil {
		t.Fatal(err)
	}
	f := h.target(name)
	order, err := h.driver.Backup(t.Context(), m.ID, hypervisor.Backup{Disk: m.Disks[0], Target: f, Freeze: true})
	if err != nil || order != hypervisor.Crash { // no guest here has an agent
		t.Fatalf("Backup = %q, %v, want %q", order, err, hypervisor.Crash)
	}
	if got := h.Content(t, f.Name()); !bytes.Equal(got, want) {
		t.Errorf("the copy has %d bytes that differ from the disk's %d; at %d it says %.20q", len(got), len(want), letter, got[min(len(got), letter):])
	}
}

func (h *host) backupOfARunningMachine() {
	t := h.t
	m := h.machine(t, "a")
	h.write(m, "first word")
	h.start(t, m)
	before := h.Processes(t, "a")
	h.backup(m, "one")
	h.backup(m, "two")
	if got := h.Processes(t, "a"); !slices.Equal(got, before) {
		t.Errorf("processes = %v, want those of before, %v", got, before)
	}
	h.wantList(t, "a running")
}

func (h *host) backupOfAMachineThatIsOff() {
	t := h.t
	m := h.machine(t, "a")
	h.write(m, "first word")
	h.backup(m, "never ran")
	h.start(t, m)
	h.Kill(t, "a")
	h.await(t, "a exited")
	h.write(m, "second word")
	h.backup(m, "ran")
	h.ensure(t, "a")
	h.wantList(t, "a running")
}

func (h *host) backupThatIsGivenUp() {
	t := h.t
	m := h.machine(t, "a")
	h.start(t, m)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := h.driver.Backup(ctx, "a", hypervisor.Backup{Disk: m.Disks[0], Target: h.target("given up")})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Backup that is given up = %v, want %v", err, context.Canceled)
	}
	h.backup(m, "after")
	h.wantList(t, "a running")
}

func (h *host) backupsThatCannotBe() {
	t := h.t
	m := h.machine(t, "a")
	h.start(t, m)
	for name, b := range map[string]hypervisor.Backup{
		"no target": {Disk: m.Disks[0]}, "no such disk": {Disk: m.Disks[0], Index: 1, Target: h.target("none")}, "no format": {Disk: hypervisor.Disk{Path: "/x"}, Target: h.target("format")},
	} {
		if _, err := h.driver.Backup(t.Context(), "a", b); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: Backup = %v, want an Invalid fault", name, err)
		}
	}
	h.backup(m, "sound")
}
