package image_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/cpucloud/cpucloud/internal/archive/archivetest"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/image"
)

// flatten puts a qcow2 file into a folder and makes a raw disk of it there.
func flatten(t *testing.T, file []byte, diskBytes int64) (path string, base image.Base, err error) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "source"), file, 0o600); err != nil {
		t.Fatal(err)
	}
	source, err := os.Open(filepath.Join(dir, "source"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = source.Close() })
	path = filepath.Join(dir, "flat.raw")
	base, err = image.Flatten(t.Context(), source, path, diskBytes, func(image.Progress) {})
	return path, base, err
}

func TestFlatten(t *testing.T) {
	t.Parallel()
	const size = 64 << 20
	path, base, err := flatten(t, archivetest.Disk(size, "what was on the disk"), size)
	if err != nil || base != (image.Base{Path: path, Format: "raw", VirtualBytes: size}) {
		t.Fatalf("Flatten: %+v, %v", base, err)
	}
	got, err := os.ReadFile(path)
	if err != nil || len(got) != size || !bytes.HasPrefix(got, []byte("what was on the disk\x00")) || !bytes.Equal(got[100:], make([]byte, size-100)) {
		t.Errorf("the disk has %d bytes, begins with %q (%v)", len(got), got[:min(len(got), 30)], err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others may read it: %v (%v)", info.Mode(), err)
	}
}

// A file of somebody who isn't trusted becomes a disk that fits, or nothing.
func TestFlattenRefuses(t *testing.T) {
	t.Parallel()
	change := func(at int, value uint64) []byte {
		file := archivetest.Disk(64<<20, "x")
		binary.BigEndian.PutUint64(file[at:], value)
		return file
	}
	whole := archivetest.Disk(64<<20, "x")
	for name, file := range map[string][]byte{
		"a backing file":         change(8, 104),
		"a data file":            change(72, 4),
		"no qcow2":               []byte("#!/bin/sh"),
		"cut off":                whole[:5<<16],
		"a table behind its end": change(40, 1<<40),
		"larger than the disk":   archivetest.Disk(65<<20, "x"),
	} {
		path, _, err := flatten(t, file, 64<<20)
		if !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v, want an Invalid fault", name, err)
		}
		for _, left := range []string{path, path + ".part"} {
			if _, err := os.Lstat(left); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s: %s is left (%v)", name, filepath.Base(left), err)
			}
		}
	}
}
