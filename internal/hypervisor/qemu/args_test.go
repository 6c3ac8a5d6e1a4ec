package qemu_test

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/cpucloud/cpucloud/internal/hypervisor"
	"github.com/cpucloud/cpucloud/internal/hypervisor/qemu"
)

var update = flag.Bool("update", false, "write the golden files")

func TestCommandLine(t *testing.T) {
	t.Parallel()
	base := hypervisor.Disk{Path: "/images/base,id=x", Format: hypervisor.QCOW2}
	m := hypervisor.Machine{
		ID: "0xAb-1", VCPU: 2, RAMGiB: 4,
		Disks: []hypervisor.Disk{
			{Path: "/disks/a", Format: hypervisor.QCOW2, Backing: &base},
			{Path: "/disks/seed", Format: hypervisor.Raw, ReadOnly: true},
		},
		NIC: hypervisor.NIC{MAC: "52:54:00:AA:00:01", Kind: hypervisor.Stream},
	}
	golden(t, "stream-tcg", qemu.CommandLine(m, qemu.TCG))
	m.NIC.Kind = hypervisor.Tap
	golden(t, "tap-kvm", qemu.CommandLine(m, qemu.KVM))
	golden(t, "probe-kvm", qemu.ProbeLine(qemu.KVM))
}

// golden compares args, an option a line, with the file called name.
func golden(t *testing.T, name string, args []string) {
	t.Helper()
	got := strings.ReplaceAll(strings.Join(args, " "), " -", "\n-") + "\n"
	path := "testdata/" + name + ".golden"
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: command line\n%s\nwant\n%s", name, got, want)
	}
}

// The file of an overlay has tables, which grow with it, and so has the copy of any disk.
func TestFileLimit(t *testing.T) {
	t.Parallel()
	const gib = 1 << 30
	for d, want := range map[hypervisor.Disk]uint64{
		{Format: hypervisor.Raw, Bytes: 25 * gib}:   25*gib + 25*gib/2048 + 4<<20,
		{Format: hypervisor.QCOW2, Bytes: 25 * gib}: 25*gib + 25*gib/2048 + 4<<20,
		{Format: hypervisor.Raw}:                    0, {Format: hypervisor.QCOW2}: 0,
	} {
		if got := qemu.FileLimit(d); got != want {
			t.Errorf("%s of %d bytes: %d, want %d", d.Format, d.Bytes, got, want)
		}
	}
}

func TestLastWords(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                     "",
		"one\n":                "one",
		"1\n2\n3\n4\n":         "2; 3; 4",
		"a\x1b[2Jb\tc\x00\xff": "a [2Jb c ?",
		"safe \u202etext":      "safe  text",
	} {
		if got := qemu.LastWords([]byte(text)); got != want {
			t.Errorf("LastWords(%q) = %q, want %q", text, got, want)
		}
	}
	if got := qemu.LastWords([]byte(strings.Repeat("ä", 10000))); len(got) > 410 {
		t.Errorf("LastWords returns %d bytes", len(got))
	}
}
