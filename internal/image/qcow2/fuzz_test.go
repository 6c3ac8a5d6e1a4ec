package qcow2_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/image/qcow2"
)

// What no input may cost.
const (
	mostMemory = 160 << 20 // bytes allocated in all: buffers of two clusters of 2 MiB, tables, and a window of zstd
	mostTime   = 10 * time.Second
)

// bounded runs fn and checks what it cost.
func bounded(t *testing.T, fn func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := time.Now()
	fn()
	took := time.Since(began)
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > mostMemory {
		t.Errorf("%d bytes were allocated", n)
	}
	if took > mostTime {
		t.Errorf("it took %v", took)
	}
}

// ordered is a disk that takes what is written in rising order, within its size.
type ordered struct {
	size, end int64
	err       error
}

func (o *ordered) WriteAt(p []byte, off int64) (int, error) {
	if off < o.end || off+int64(len(p)) > o.size {
		o.err = fmt.Errorf("%d bytes at %d, after %d, of a disk of %d", len(p), off, o.end, o.size)
		return 0, o.err
	}
	o.end = off + int64(len(p))
	return len(p), nil
}

func addImages(f *testing.F) {
	f.Helper()
	dir := f.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "raw"), bytes.Repeat([]byte("disk"), 2048), 0o600); err != nil {
		f.Fatal(err)
	}
	for _, options := range [][]string{
		{"-o", "cluster_size=512"},
		{"-c", "-o", "cluster_size=512"},
		{"-c", "-o", "cluster_size=512,compression_type=zstd"},
		{"-c", "-o", "cluster_size=512,compat=0.10"},
		{"-o", "cluster_size=512,lazy_refcounts=on"},
	} {
		qemuImg(f, dir, append(append([]string{"convert", "-f", "raw", "-O", "qcow2"}, options...), "raw", "q")...)
		b, err := os.ReadFile(filepath.Join(dir, "q"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(qcow2.Magic))
}

// Any bytes give a header whose disk is of a size that can be, or a fault.
func FuzzParse(f *testing.F) {
	addImages(f)
	f.Fuzz(func(t *testing.T, image []byte) {
		bounded(t, func() {
			h, err := qcow2.Parse(bytes.NewReader(image))
			switch {
			case err != nil && !fault.Is(err, fault.Invalid):
				t.Errorf("got %v, want an Invalid fault", err)
			case err == nil && (h.VirtualBytes <= 0 || h.VirtualBytes > 16<<40 || h.VirtualBytes%512 != 0):
				t.Errorf("a disk of %d bytes", h.VirtualBytes)
			case err == nil && binary.BigEndian.Uint64(image[backingOffset:]) != 0:
				t.Error("it has a backing file")
			}
		})
	})
}

// Any bytes give a disk or a fault, in bounded time and memory, and no more than
// the header announced.
func FuzzFlatten(f *testing.F) {
	addImages(f)
	f.Fuzz(func(t *testing.T, image []byte) {
		h, err := qcow2.Parse(bytes.NewReader(image))
		if err != nil {
			return
		}
		bounded(t, func() {
			o := &ordered{size: h.VirtualBytes}
			err := qcow2.Flatten(t.Context(), qcow2.Source{R: bytes.NewReader(image), Size: int64(len(image)), Header: h}, o, nil)
			if o.err != nil {
				t.Error(o.err)
			}
			if err != nil && !fault.Is(err, fault.Invalid) {
				t.Errorf("got %v, want an Invalid fault", err)
			}
		})
	})
}

// A small image in which one cluster is all over a large disk ends early.
func TestFlattenIsBounded(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{"plain": {"-o", "cluster_size=64k"}, "compressed": {"-c", "-o", "cluster_size=64k"}} {
		dir := t.TempDir()
		qemuImg(t, dir, "create", "-f", "raw", "raw", "512M")
		d := []byte("one cluster")
		if err := os.WriteFile(filepath.Join(dir, "one"), bytes.Repeat(d, 64<<10/len(d)), 0o600); err != nil {
			t.Fatal(err)
		}
		qemuImg(t, dir, "dd", "-f", "raw", "-O", "raw", "if=one", "of=raw", "bs=64k", "count=1")
		qemuImg(t, dir, append(append([]string{"convert", "-f", "raw", "-O", "qcow2"}, args...), "raw", "q")...)
		b, err := os.ReadFile(filepath.Join(dir, "q"))
		if err != nil {
			t.Fatal(err)
		}
		// Every entry of L1 leads to the one table, every entry of that to the one cluster.
		const entries = 1 << 11 // a TiB
		l1 := binary.BigEndian.Uint64(b[l1Offset:])
		table := binary.BigEndian.Uint64(b[l1:])
		l2 := table & 0x00fffffffffffe00
		for i := range uint64(entries) {
			binary.BigEndian.PutUint64(b[l1+8*i:], table)
		}
		first := binary.BigEndian.Uint64(b[l2:])
		for i := range uint64(8192) {
			binary.BigEndian.PutUint64(b[l2+8*i:], first)
		}
		binary.BigEndian.PutUint32(b[l1Size:], entries)
		binary.BigEndian.PutUint64(b[size:], 1<<40)
		h, err := qcow2.Parse(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		o := &ordered{size: h.VirtualBytes}
		err = qcow2.Flatten(t.Context(), qcow2.Source{R: bytes.NewReader(b), Size: int64(len(b)), Header: h}, o, nil)
		if !fault.Is(err, fault.Invalid) || o.end > 1<<30 {
			t.Errorf("%s: %d bytes came out of %d, %v; want an Invalid fault before 1 GiB", name, o.end, len(b), err)
		}
	}
}

// Images that qemu-img and qemu-io make by chance, through everything that the
// format allows here, are read as qemu-img reads them.
func TestFlattenAgreesWithQemu(t *testing.T) {
	t.Parallel()
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			dir, r := t.TempDir(), rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // the same images every time
			options := fmt.Sprintf("cluster_size=%d,compat=%s", 512<<r.IntN(13), []string{"0.10", "1.1"}[r.IntN(2)])
			if options[len(options)-1] == '1' {
				options += fmt.Sprintf(",lazy_refcounts=%s,refcount_bits=%d,compression_type=%s", []string{"on", "off"}[r.IntN(2)], 1<<r.IntN(7), []string{"zlib", "zstd"}[r.IntN(2)])
				if bytes.Contains([]byte(options), []byte("refcount_bits=1,")) || bytes.Contains([]byte(options), []byte("refcount_bits=2,")) {
					options += ",preallocation=off"
				}
			}
			const disk = 8 << 20
			qemuImg(t, dir, "create", "-f", "qcow2", "-o", options, "q", fmt.Sprint(disk))
			script := []string{"-f", "qcow2"}
			for range 30 {
				at, n := r.IntN(disk/512-1)*512, (1+r.IntN(200))*512
				n = min(n, disk-at)
				verb := []string{"write -P %d", "write -z", "write -z -u", "discard", "write -P %d", "write -P %d"}[r.IntN(6)]
				if bytes.Contains([]byte(verb), []byte("%d")) {
					verb = fmt.Sprintf(verb, 1+r.IntN(255))
				}
				script = append(script, "-c", fmt.Sprintf("%s %d %d", verb, at, n))
			}
			run(t, dir, "qemu-io", append(script, "q")...)
			if r.IntN(2) == 0 { // compressed anew, in part
				qemuImg(t, dir, "convert", "-c", "-f", "qcow2", "-O", "qcow2", "-o", options, "q", "c")
				qemuImg(t, dir, "resize", "-f", "qcow2", "c", "+64K")
				qemuImg(t, dir, "convert", "-f", "qcow2", "-O", "raw", "c", "want")
				compare(t, filepath.Join(dir, "c"), filepath.Join(dir, "want"))
			}
			qemuImg(t, dir, "convert", "-f", "qcow2", "-O", "raw", "q", "want")
			compare(t, filepath.Join(dir, "q"), filepath.Join(dir, "want"))
		})
	}
}

// compare flattens an image and compares it with a raw disk.
func compare(t *testing.T, image, raw string) {
	t.Helper()
	b, err := os.ReadFile(image)
	want, err2 := os.ReadFile(raw)
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	got, err := flatten(t, b)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s: %v; %d bytes, want the %d that qemu-img reads", filepath.Base(image), err, len(got), len(want))
	}
}
