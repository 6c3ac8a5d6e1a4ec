package qemu_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cpucloud/cpucloud/internal/hypervisor"
	"github.com/cpucloud/cpucloud/internal/hypervisor/hypervisortest"
)

// flood is a boot sector that writes to the serial console for ever.
//
//	cli; mov dx, 0x3f8; next: mov al, 'x'; out dx, al; jmp next
var flood = []byte{0xfa, 0xba, 0xf8, 0x03, 0xb0, 'x', 0xee, 0xeb, 0xfb}

// A guest that floods its console takes memory of a fixed size, no disk, and the
// newest of what it says is kept.
func TestConsoleFlood(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := open(t, dir)
	if err := ensure(t, d, "a", overlay(t, base(t, flood))); err != nil {
		t.Fatalf("Ensure: %v", err)
	}
	const most = 256 << 10
	hypervisortest.Await(t, func() bool {
		text, err := d.Console(t.Context(), "a")
		if err != nil || len(text) > most {
			t.Fatalf("Console = %d bytes, %v, want at most %d", len(text), err, most)
		}
		return len(text) == most && strings.HasSuffix(string(text), strings.Repeat("x", most-1<<10))
	})
	for name, limit := range map[string]int64{"console": most, "qemu.log": 0} {
		info, err := os.Stat(filepath.Join(dir, "a", name))
		if err != nil || info.Size() > limit {
			t.Errorf("%s: %+v, %v, want at most %d bytes", name, info, err, limit)
		}
	}
}

// Whatever in the driver's folder is replaced by a symbolic link, what that points
// to is neither read, changed nor connected to.
func TestLinksAreNotFollowed(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"lock", "machine.json", "machine.json.new", "qemu.log", "qmp", "console", ""} {
		t.Run("link for "+name, func(t *testing.T) {
			t.Parallel()
			dir, outside := t.TempDir(), t.TempDir()
			target := filepath.Join(outside, "target")
			if err := os.WriteFile(target, []byte("precious"), 0o600); err != nil {
				t.Fatal(err)
			}
			link := filepath.Join(dir, "a", name)
			if name == "" {
				target = outside
			} else if err := os.MkdirAll(filepath.Dir(link), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(target, link); err != nil {
				t.Fatal(err)
			}
			d := open(t, dir)
			_ = ensure(t, d, "a", hypervisor.Disk{Path: base(t, nil), Format: hypervisor.Raw, ReadOnly: true}) // it may start or not
			t.Cleanup(func() { _ = os.Remove(link) })                                                          // or the driver says nothing of its machines
			_, _ = d.Console(t.Context(), "a")
			_ = d.Destroy(t.Context(), "a")
			entries, err := os.ReadDir(outside)
			if err != nil || len(entries) != 1 {
				t.Errorf("outside there is %v, %v", entries, err)
			}
			if text, err := os.ReadFile(filepath.Join(outside, "target")); err != nil || string(text) != "precious" {
				t.Errorf("outside it says %q, %v", text, err)
			}
		})
	}
}

// A driver that is upgraded reads what the one before has kept of its machines.
// Folders in testdata are as drivers of the past wrote them, and never changed.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "machine-1"))); err != nil {
		t.Fatal(err)
	}
	d := open(t, dir)
	if in := only(t, d); in.ID != "a" || in.State != hypervisor.Exited || in.Reason != "the host was restarted" {
		t.Errorf("List = %+v, want that the host was restarted", in)
	}
	hypervisortest.Clear(t, d)
	if list, err := d.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("List = %+v, %v, want none", list, err)
	}
}
