package qemu_test

import (
	"encoding/json"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/hypervisor"
	"github.com/cpucloud/cpucloud/internal/hypervisor/hypervisortest"
	"github.com/cpucloud/cpucloud/internal/hypervisor/qemu"
)

// powerOff is a boot sector that switches a q35 board off: it writes 0x2000,
// sleep state 5, to the power management register that the firmware has put at 0x604.
//
//	mov dx, 0x604; mov ax, 0x2000; out dx, ax; hlt
var powerOff = []byte{0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef, 0xf4}

// base writes a disk that boots code.
func base(t *testing.T, code []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "base")
	disk := make([]byte, 1<<20)
	disk[510], disk[511] = 0x55, 0xaa
	copy(disk, code)
	if err := os.WriteFile(path, disk, 0o400); err != nil {
		t.Fatal(err)
	}
	return path
}

// overlay makes an overlay over base with a backing file in its header that
// is not there, and doesn't matter.
func overlay(t *testing.T, base string) hypervisor.Disk {
	t.Helper()
	path := filepath.Join(t.TempDir(), "overlay")
	cmd := exec.CommandContext(t.Context(), "qemu-img", "create", "-q", "-f", "qcow2", "-u",
		"-b", "/nonexistent", "-F", "raw", path, "16M")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("qemu-img: %v: %s", err, out)
	}
	return hypervisor.Disk{
		Path: path, Format: hypervisor.QCOW2,
		Backing: &hypervisor.Disk{Path: base, Format: hypervisor.Raw},
	}
}

// ensure starts machine id with disks.
func ensure(t *testing.T, d *qemu.Driver, id string, disks ...hypervisor.Disk) error {
	t.Helper()
	near, far, err := hypervisortest.Socket()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = far.Close() })
	t.Cleanup(func() { hypervisortest.Clear(t, d) })
	m := hypervisortest.Machine(t, t.TempDir(), id, near)
	m.Disks = disks
	return d.Ensure(t.Context(), m)
}

// TestGuestPowersOff boots from an overlay: what lies below is what we say,
// not what its header says.
func TestGuestPowersOff(t *testing.T) {
	t.Parallel()
	d := open(t, t.TempDir())
	if err := ensure(t, d, "a", overlay(t, base(t, powerOff))); err != nil {
		t.Fatalf("Ensure: %v", err)
	}
	hypervisortest.Await(t, func() bool { return only(t, d).Reason == "the guest powered off" })
}

func TestOverlaysShareABase(t *testing.T) {
	t.Parallel()
	d := open(t, t.TempDir())
	shared := base(t, nil)
	seed := hypervisor.Disk{Path: base(t, nil), Format: hypervisor.Raw, ReadOnly: true}
	for _, id := range []string{"a", "b"} {
		if err := ensure(t, d, id, overlay(t, shared), seed); err != nil {
			t.Errorf("Ensure %s: %v", id, err)
		}
	}
}

// TestHeaderNamesNoBackingFile: without a backing disk there is none, whatever
// the header says.
func TestHeaderNamesNoBackingFile(t *testing.T) {
	t.Parallel()
	d := open(t, t.TempDir())
	alone := overlay(t, "")
	alone.Backing = nil
	if err := ensure(t, d, "a", alone); err != nil {
		t.Errorf("Ensure: %v", err)
	}
}

// A raw disk stays raw, whatever a guest writes into it: here it has made it begin
// like a qcow2 file, and its machine, when it is started again, runs what follows.
func TestRawStaysRaw(t *testing.T) {
	t.Parallel()
	// The first word of a qcow2 file, which is harmless code: push cx; inc si; dec cx; sti.
	path := base(t, append([]byte("QFI\xfb"), powerOff...))
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	d := open(t, t.TempDir())
	for range 2 {
		if err := ensure(t, d, "a", hypervisor.Disk{Path: path, Format: hypervisor.Raw, Bytes: 1 << 20}); err != nil {
			t.Fatalf("Ensure: %v", err)
		}
		hypervisortest.Await(t, func() bool { return only(t, d).Reason == "the guest powered off" })
	}
}

func TestOneDiskForTwoMachinesIsRefused(t *testing.T) {
	t.Parallel()
	d := open(t, t.TempDir())
	disk := overlay(t, base(t, nil))
	if err := ensure(t, d, "a", disk); err != nil {
		t.Fatalf("Ensure: %v", err)
	}
	err := ensure(t, d, "b", disk)
	if err == nil || !strings.Contains(err.Error(), "lock") {
		t.Errorf("Ensure with the disk of another machine = %v, want QEMU's words about a lock", err)
	}
}

func TestDisksThatAreNone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := open(t, t.TempDir())
	pipe, link := filepath.Join(dir, "pipe"), filepath.Join(dir, "link")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(base(t, nil), link); err != nil {
		t.Fatal(err)
	}
	if err := ensure(t, d, "a", hypervisor.Disk{Path: pipe, Format: hypervisor.Raw}); !fault.Is(err, fault.Invalid) {
		t.Errorf("Ensure with a pipe = %v, want an Invalid fault", err)
	}
	for _, path := range []string{dir, link} {
		if err := ensure(t, d, "a", hypervisor.Disk{Path: path, Format: hypervisor.Raw}); err == nil {
			t.Errorf("Ensure with %s succeeded", path)
		}
	}
}

func TestConsoleInALongFolder(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 40))
	d := open(t, dir)
	start(t, d, "a")
	const want = "No bootable device"
	var text []byte
	hypervisortest.Await(t, func() bool {
		var err error
		if text, err = d.Console(t.Context(), "a"); err != nil {
			t.Fatalf("Console: %v", err)
		}
		return strings.Contains(string(text), want)
	})
	again, err := open(t, dir).Console(t.Context(), "a")
	if err != nil || !strings.HasPrefix(string(again), string(text)) {
		t.Errorf("Console once more = %q, %v, want %q still", again, err, text)
	}
	if _, err := d.Console(t.Context(), "b"); !fault.Is(err, fault.NotFound) {
		t.Errorf("Console of no machine = %v, want a NotFound fault", err)
	}
}

// BenchmarkEnsure measures the time from the order to the running guest, and
// that of its end.
func BenchmarkEnsure(b *testing.B) {
	d, err := qemu.New(b.Context(), qemu.Config{Dir: b.TempDir(), Accelerator: qemu.TCG, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := d.Probe(b.Context()); err != nil {
		b.Fatal(err)
	}
	disk := filepath.Join(b.TempDir(), "disk")
	if err := os.WriteFile(disk, make([]byte, 1<<20), 0o600); err != nil {
		b.Fatal(err)
	}
	var end time.Duration
	for b.Loop() {
		near, far, err := hypervisortest.Socket()
		if err != nil {
			b.Fatal(err)
		}
		err = d.Ensure(b.Context(), hypervisor.Machine{
			ID: "a", VCPU: 1, RAMGiB: 1, Disks: []hypervisor.Disk{{Path: disk, Format: hypervisor.Raw}},
			NIC: hypervisor.NIC{MAC: "52:54:00:00:00:01", Kind: hypervisor.Stream, File: near},
		})
		if err != nil {
			b.Fatal(err)
		}
		begun := time.Now()
		if err := d.Destroy(b.Context(), "a"); err != nil {
			b.Fatal(err)
		}
		end += time.Since(begun)
		_ = far.Close()
	}
	b.ReportMetric(float64(end.Milliseconds())/float64(b.N), "ms/destroy")
}

// hello is a boot sector that writes one letter to the serial console, on which the
// firmware writes too.
//
//	cli; mov dx, 0x3f8; mov al, '#'; out dx, al; end: hlt; jmp end
var hello = []byte{0xfa, 0xba, 0xf8, 0x03, 0xb0, '#', 0xee, 0xf4, 0xeb, 0xfd}

// A machine that is reset starts its guest anew, from the same disk.
func TestReset(t *testing.T) {
	t.Parallel()
	d := open(t, t.TempDir())
	if err := ensure(t, d, "a", overlay(t, base(t, hello))); err != nil {
		t.Fatalf("Ensure: %v", err)
	}
	boots := func(times int) {
		t.Helper()
		hypervisortest.Await(t, func() bool {
			text, err := d.Console(t.Context(), "a")
			if err != nil {
				t.Fatalf("Console: %v", err)
			}
			return strings.Count(string(text), "#") == times
		})
	}
	boots(1)
	if err := d.Reset(t.Context(), "a"); err != nil {
		t.Fatalf("Reset: %v", err)
	}
	boots(2)
}

// A disk that is to be larger than it was is, when its machine is started the next time,
// with what was in it; one that is to be smaller stays as it is.
func TestDisksGrow(t *testing.T) {
	t.Parallel()
	d := open(t, t.TempDir())
	whole := hypervisor.Disk{Path: base(t, nil), Format: hypervisor.Raw}
	if err := os.Chmod(whole.Path, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, disk := range []hypervisor.Disk{overlay(t, base(t, nil)), whole} {
		for _, step := range []struct{ asked, got int64 }{{32 << 20, 32 << 20}, {32 << 20, 32 << 20}, {20 << 20, 32 << 20}, {48 << 20, 48 << 20}} {
			disk.Bytes = step.asked
			if err := ensure(t, d, "a", disk); err != nil {
				t.Fatalf("Ensure: %v", err)
			}
			if err := d.Destroy(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
			var info struct {
				Size int64 `json:"virtual-size"`
			}
			out, err := exec.CommandContext(t.Context(), "qemu-img", "info", "--output=json", "-U", "--image-opts",
				"driver="+string(disk.Format)+",file.filename="+disk.Path+backing(disk)).Output()
			if err != nil || json.Unmarshal(out, &info) != nil || info.Size != step.got {
				t.Errorf("%s disk that was to have %d bytes: %s, %v", disk.Format, step.asked, out, err)
			}
		}
	}
	if head, err := os.ReadFile(whole.Path); err != nil || head[510] != 0x55 {
		t.Errorf("the disk begins with %x: %v", head[:512], err)
	}
}

// backing is what qemu-img has to be told of a disk to look at nothing else.
func backing(d hypervisor.Disk) string {
	if d.Format == hypervisor.QCOW2 {
		return ",backing="
	}
	return ""
}
