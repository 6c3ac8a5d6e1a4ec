package qcow2_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/image/qcow2"
)

const diskBytes = 3<<20 + 512

// disk is one that compresses here, doesn't there, and is empty in between.
func disk() []byte {
	d := make([]byte, diskBytes)
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(d[:200<<10])
	copy(d[1<<20:], bytes.Repeat([]byte("cpucloud"), 20<<10))
	copy(d[diskBytes-600:], "the end of the disk")
	return d
}

// qemuImg runs qemu-img in dir. To choose how strong a LUKS key is made it takes
// the processor time of its thread, and gives up where the kernel has counted
// none yet: then it is asked anew.
func qemuImg(tb testing.TB, dir string, args ...string) {
	tb.Helper()
	run(tb, dir, "qemu-img", args...)
}

// run runs a program of QEMU in dir.
func run(tb testing.TB, dir, program string, args ...string) {
	tb.Helper()
	for tries := 1; ; tries++ {
		cmd := exec.CommandContext(tb.Context(), program, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err == nil {
			return
		}
		if tries == 50 || !bytes.Contains(out, []byte("Unable to get accurate CPU usage")) {
			tb.Fatalf("%s %s: %v: %s", program, strings.Join(args, " "), err, out)
		}
	}
}

// convert returns disk as qemu-img writes it.
func convert(tb testing.TB, args ...string) []byte {
	tb.Helper()
	dir := tb.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "raw"), disk(), 0o600); err != nil {
		tb.Fatal(err)
	}
	qemuImg(tb, dir, append(append([]string{"convert", "-f", "raw", "-O", "qcow2"}, args...), "raw", "q")...)
	q, err := os.ReadFile(filepath.Join(dir, "q"))
	if err != nil {
		tb.Fatal(err)
	}
	return q
}

// memory is a disk to flatten to.
type memory []byte

func (m memory) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > int64(len(m)) {
		return 0, errors.New("written beyond the disk")
	}
	return copy(m[off:], p), nil
}

func flatten(tb testing.TB, image []byte) ([]byte, error) {
	tb.Helper()
	h, err := qcow2.Parse(bytes.NewReader(image))
	if err != nil {
		return nil, err
	}
	if h.VirtualBytes > 64<<20 {
		return nil, errors.New("too large to test")
	}
	m := make(memory, h.VirtualBytes)
	return m, qcow2.Flatten(tb.Context(), qcow2.Source{R: bytes.NewReader(image), Size: int64(len(image)), Header: h}, m, nil)
}

func TestFlattenReadsWhatQemuWrites(t *testing.T) {
	t.Parallel()

	for _, args := range [][]string{
		{},
		{"-c"},
		{"-o", "compat=0.10"},
		{"-c", "-o", "compat=0.10"},
		{"-c", "-o", "compression_type=zstd"},
		{"-o", "cluster_size=512"},
		{"-c", "-o", "cluster_size=512"},
		{"-c", "-o", "cluster_size=4k"},
		{"-o", "cluster_size=2M"},
		{"-c", "-o", "cluster_size=2M"},
		{"-o", "preallocation=metadata"},
		{"-o", "lazy_refcounts=on"},
		{"-o", "refcount_bits=64"},
		{"-S", "0"},
	} {
		got, err := flatten(t, convert(t, args...))
		if err != nil {
			t.Errorf("%v: %v", args, err)
			continue
		}
		if !bytes.Equal(got, disk()) {
			t.Errorf("%v: the disk differs from what went in", args)
		}
	}
}

// The offsets of header fields.
const (
	backingOffset, backingSize, clusterBits, size, crypt, l1Size, l1Offset = 8, 16, 20, 24, 32, 36, 40
	refOffset, refClusters, snapshots                                      = 48, 56, 60
	incompatible, compatible, autoclear, refcountOrder, headerLength       = 72, 80, 88, 96, 100
	compression, extensions                                                = 104, 112
)

func TestParseRefuses(t *testing.T) {
	t.Parallel()

	good := convert(t)
	put32 := func(at int, v uint32) func([]byte) []byte {
		return func(b []byte) []byte { binary.BigEndian.PutUint32(b[at:], v); return b }
	}
	put64 := func(at int, v uint64) func([]byte) []byte {
		return func(b []byte) []byte { binary.BigEndian.PutUint64(b[at:], v); return b }
	}
	for _, c := range []struct {
		name   string
		change func([]byte) []byte
		want   string // part of the sentence
	}{
		{"not qcow2", put32(0, 0x41414141), "not a qcow2"},
		{"empty", func([]byte) []byte { return nil }, "not a qcow2"},
		{"cut in the header", func(b []byte) []byte { return b[:80] }, "version"},
		{"version 1", put32(4, 1), "version 1"},
		{"version 4", put32(4, 4), "version 4"},
		{"backing file", put64(backingOffset, 200), "backing file"},
		{"backing name", put32(backingSize, 11), "backing file"},
		{"encrypted", put32(crypt, 1), "encrypted"},
		{"luks", put32(crypt, 2), "encrypted"},
		{"snapshots", put32(snapshots, 1), "snapshots"},
		{"dirty", put64(incompatible, 1), "closed properly"},
		{"corrupt", put64(incompatible, 2), "corrupt"},
		{"data file", put64(incompatible, 4), "another file"},
		{"compression bit alone", put64(incompatible, 8), "compression"},
		{"extended L2", put64(incompatible, 16), "not supported"},
		{"unknown bit", put64(incompatible, 1<<63), "not supported"},
		{"unknown compatible bit", put64(compatible, 2), "compatible feature"},
		{"bitmaps", put64(autoclear, 1), "bitmaps"},
		{"raw external", put64(autoclear, 2), "bitmaps"},
		{"refcounts of 128 bits", put32(refcountOrder, 7), "refcount"},
		{"compression 2", func(b []byte) []byte { b[compression] = 2; return put64(incompatible, 8)(b) }, "compression"},
		{"clusters of 256", put32(clusterBits, 8), "cluster size"},
		{"clusters of 4 MiB", put32(clusterBits, 22), "cluster size"},
		{"cluster bits huge", put32(clusterBits, 1<<31), "cluster size"},
		{"size zero", put64(size, 0), "size zero"},
		{"size odd", put64(size, diskBytes-1), "sectors"},
		{"size 8 EiB", put64(size, 1<<63), "16 TiB"},
		{"size max", put64(size, 1<<64-512), "16 TiB"},
		{"L1 too short", put32(l1Size, 0), "L1"},
		{"L1 too long", put32(l1Size, 1<<31), "L1"},
		{"L1 shorter than the disk", put64(size, 1<<40), "L1"},
		{"L1 nowhere", put64(l1Offset, 0), "tables"},
		{"L1 between clusters", put64(l1Offset, 0x30001), "tables"},
		{"refcounts nowhere", put64(refOffset, 0), "tables"},
		{"refcounts huge", put32(refClusters, 1<<30), "refcount"},
		{"refcounts none", put32(refClusters, 0), "refcount"},
		{"header short", put32(headerLength, 96), "header"},
		{"header odd", put32(headerLength, 105), "header"},
		{"header huge", put32(headerLength, 1<<31), "header"},
		{"backing format", put32(extensions, 0xe2792aca), "extension"},
		{"data file name", put32(extensions, 0x44415441), "extension"},
		{"encryption header", put32(extensions, 0x0537be77), "extension"},
		{"unknown extension", put32(extensions, 0x12345678), "extension"},
		{"extension without end", put32(extensions+4, 0xffffffff), "no end"},
		{"extension beyond the cluster", put32(extensions+4, 65500), "no end"},
	} {
		_, err := qcow2.Parse(bytes.NewReader(c.change(bytes.Clone(good))))
		if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an Invalid fault about %q", c.name, err, c.want)
		}
	}
}

// The real thing, as qemu-img makes it.
func TestParseRefusesImagesThatLeadElsewhere(t *testing.T) {
	t.Parallel()

	dir := t.TempDir()
	for name, args := range map[string][]string{
		"backing":  {"create", "-f", "qcow2", "-F", "raw", "-b", "/etc/passwd", "-u", "x", "1M"},
		"json":     {"create", "-f", "qcow2", "-F", "raw", "-b", `json:{"driver":"file","filename":"/etc/passwd"}`, "-u", "x", "1M"},
		"nbd":      {"create", "-f", "qcow2", "-F", "raw", "-b", "nbd://127.0.0.1:1/x", "-u", "x", "1M"},
		"datafile": {"create", "-f", "qcow2", "-o", "data_file=secret.raw", "x", "1M"},
		"luks":     {"create", "-f", "qcow2", "--object", "secret,id=s,data=abc", "-o", "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10", "x", "1M"},
		"extended": {"create", "-f", "qcow2", "-o", "extended_l2=on", "x", "1M"},
	} {
		qemuImg(t, dir, args...)
		b, err := os.ReadFile(filepath.Join(dir, "x"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := qcow2.Parse(bytes.NewReader(b)); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: got %v, want an Invalid fault", name, err)
		}
	}
	qemuImg(t, dir, "create", "-f", "qcow2", "s", "1M")
	qemuImg(t, dir, "snapshot", "-c", "one", "s")
	b, err := os.ReadFile(filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := qcow2.Parse(bytes.NewReader(b)); !fault.Is(err, fault.Invalid) {
		t.Errorf("snapshot: got %v, want an Invalid fault", err)
	}
}

func TestFlattenRefusesDamage(t *testing.T) {
	t.Parallel()

	plain, packed := convert(t), convert(t, "-c")
	l1 := binary.BigEndian.Uint64(plain[l1Offset:])
	l2 := binary.BigEndian.Uint64(plain[l1:]) & 0x00fffffffffffe00
	for name, change := range map[string]func([]byte){
		"L2 beyond the end":      func(b []byte) { binary.BigEndian.PutUint64(b[l1:], 1<<40) },
		"L2 between clusters":    func(b []byte) { binary.BigEndian.PutUint64(b[l1:], 512) },
		"cluster beyond the end": func(b []byte) { binary.BigEndian.PutUint64(b[l2:], 1<<50) },
		"cluster between":        func(b []byte) { binary.BigEndian.PutUint64(b[l2:], 0x50200) },
		"compressed beyond":      func(b []byte) { binary.BigEndian.PutUint64(b[l2:], 1<<62|1<<50) },
		"compressed garbage":     func(b []byte) { binary.BigEndian.PutUint64(b[l2:], 1<<62|0x50000) },
		"L1 beyond the end":      func(b []byte) { binary.BigEndian.PutUint64(b[l1Offset:], 1<<40) },
		"L1 wraps":               func(b []byte) { binary.BigEndian.PutUint64(b[l1Offset:], 1<<64-1<<16) },
		"refcounts wrap":         func(b []byte) { binary.BigEndian.PutUint64(b[refOffset:], 1<<64-1<<16) },
	} {
		b := bytes.Clone(plain)
		change(b)
		if _, err := flatten(t, b); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: got %v, want an Invalid fault", name, err)
		}
	}
	for name, whole := range map[string][]byte{"plain": plain, "compressed": packed} {
		for _, keep := range []int{len(whole) / 10, len(whole) / 2, len(whole) - 70<<10} {
			if _, err := flatten(t, whole[:keep]); !fault.Is(err, fault.Invalid) {
				t.Errorf("%s image cut to %d of %d bytes: got %v, want an Invalid fault", name, keep, len(whole), err)
			}
		}
	}
}
