package qemu_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/hypervisor"
	"github.com/cpucloud/cpucloud/internal/hypervisor/hypervisortest"
	"github.com/cpucloud/cpucloud/internal/serial"
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
	for name, limit := range map[string]int64{"serial.log": serial.LogSize, "qemu.log": 0} {
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
	for _, name := range []string{"lock", "machine.json", "machine.json.new", "qemu.log", "qmp", "serial", "serial.log", ""} {
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

// Nor is a socket connected to that a link in the place of a console's leads to.
func TestLinkToASocket(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := open(t, dir)
	if err := ensure(t, d, "a", overlay(t, base(t, nil))); err != nil {
		t.Fatalf("Ensure: %v", err)
	}
	d.Close()
	elsewhere := filepath.Join(t.TempDir(), "socket")
	listener, err := net.Listen("unix", elsewhere)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	link := filepath.Join(dir, "a", "serial")
	if err := errors.Join(os.Remove(link), os.Symlink(elsewhere, link)); err != nil {
		t.Fatal(err)
	}
	again := open(t, dir) // which connects to the consoles of all that live
	if _, err := again.Console(t.Context(), "a"); err != nil {
		t.Errorf("Console: %v", err)
	}
	again.Close()
	if err := listener.(*net.UnixListener).SetDeadline(time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := listener.Accept(); err == nil { // one that had connected would have waited here
		t.Error("it was connected to")
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

// writer is a boot sector that writes 64 KiB to the serial console, each byte once the
// port takes it, and powers off.
//
//	00        cli
//	01        xor  cx, cx
//	03 next:  mov  dx, 0x3fd     ; line status
//	06 wait:  in   al, dx
//	07        test al, 0x20      ; the transmitter is free
//	09        jz   wait
//	0b        mov  dx, 0x3f8
//	0e        mov  al, 'x'
//	10        out  dx, al
//	11        loop next
//	13        mov  dx, 0x604; mov ax, 0x2000; out dx, ax; hlt
var writer = []byte{
	0xfa, 0x31, 0xc9, 0xba, 0xfd, 0x03, 0xec, 0xa8, 0x20, 0x74, 0xfb, 0xba, 0xf8, 0x03, 0xb0, 'x', 0xee, 0xe2, 0xf0,
	0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef, 0xf4,
}

// A guest that waits until its port has taken what it writes does not wait for an
// agent: where none is, what it writes is dropped.
func TestConsoleWithoutAgent(t *testing.T) {
	t.Parallel()
	for name, away := range map[string]bool{"an agent reads": false, "no agent is there": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := open(t, t.TempDir())
			if err := ensure(t, d, "a", overlay(t, base(t, writer))); err != nil {
				t.Fatalf("Ensure: %v", err)
			}
			if away {
				d.Close()
			}
			begun := time.Now()
			hypervisortest.Await(t, func() bool { return only(t, d).Reason == "the guest powered off" })
			t.Logf("it wrote 64 KiB and was off after %v", time.Since(begun).Round(time.Millisecond))
			kept := func() bool {
				text, err := d.Console(t.Context(), "a")
				return err == nil && strings.Count(string(text), "x") >= 64<<10
			}
			if away && kept() {
				t.Error("all that it wrote is kept, and nobody read it")
			} else if !away {
				hypervisortest.Await(t, kept)
			}
		})
	}
}
