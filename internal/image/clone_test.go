package image_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/worldtest"
)

func TestClonesOnXFS(t *testing.T) {
	t.Parallel()
	if worldtest.On(t, worldtest.XFS) {
		clones(t)
	}
}

func TestClonesOnBtrfs(t *testing.T) {
	t.Parallel()
	if worldtest.On(t, worldtest.Btrfs) {
		clones(t)
	}
}

// free returns how many bytes are free where path is.
func free(t *testing.T, path string) int64 {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // it is only looked at
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		t.Fatal(err)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		t.Fatal(err)
	}
	return int64(fs.Bavail) * fs.Bsize
}

// clones makes disks where the temporary folder can share blocks.
func clones(t *testing.T) {
	t.Helper()
	const size = 64 * mib
	c, base := cached(t, "/a.qcow2", qcow(t, disk(size)))
	dir := t.TempDir()
	if !c.Clones(dir) {
		t.Fatal("images can't be cloned")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("the probe has left %v", entries)
	}
	path, other := filepath.Join(dir, "disk.raw"), filepath.Join(dir, "other.raw")
	if err := os.WriteFile(path+".part", []byte("half"), 0o600); err != nil { // a crash's
		t.Fatal(err)
	}
	before := free(t, dir)
	for _, p := range []string{path, other} {
		began := time.Now()
		if err := c.Clone(t.Context(), base, p, gib); err != nil {
			t.Fatal(err)
		}
		t.Logf("a clone of %d MiB took %v", size/mib, time.Since(began))
	}
	info, err := os.Stat(path)
	if err != nil || info.Size() != gib || info.Mode().Perm() != 0o600 {
		t.Errorf("the disk is %+v, %v, want 1 GiB for the agent alone", info, err)
	}
	all, shared := worldtest.Blocks(t, path)
	took := before - free(t, dir)
	t.Logf("of %d KiB the disk shares %d; two of them took %d KiB", all>>10, shared>>10, took>>10)
	if all == 0 || shared != all || took > mib {
		t.Errorf("of %d bytes the disk shares %d, and two of them took %d", all, shared, took)
	}
	packed := base
	packed.Format = "qcow2"
	if err := c.Clone(t.Context(), packed, filepath.Join(dir, "new"), gib); err == nil {
		t.Error("an image that isn't raw was cloned as one")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 2 {
		t.Errorf("beside two disks there is something: %v", entries)
	}
	// What one guest writes is its own.
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(bytes.Repeat([]byte("guest"), mib), 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{other, base.Path} {
		if got := head(t, p, size); !bytes.Equal(got, disk(size)) {
			t.Errorf("what a guest wrote into its disk is in %s", p)
		}
	}
	// A disk is never made twice, and needs its image no more.
	if err := os.Remove(base.Path); err != nil {
		t.Fatal(err)
	}
	if got := head(t, other, size); !bytes.Equal(got, disk(size)) {
		t.Error("without its image, the disk isn't what it was")
	}
	if err := c.Clone(t.Context(), base, filepath.Join(dir, "new"), gib); !fault.Is(err, fault.Internal) {
		t.Errorf("a clone of nothing: %v, want an Internal fault", err)
	}
}

// head returns the first n bytes of a file.
func head(t *testing.T, path string, n int) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // it is only read
	text := make([]byte, n)
	if _, err := f.ReadAt(text, 0); err != nil {
		t.Fatal(err)
	}
	return text
}

// Where images are on another file system than disks, or on one that can't, nothing
// is cloned, and nothing is left of the try.
func TestClonesNowhereElse(t *testing.T) {
	t.Parallel()
	c, base := cached(t, "/a.img", disk(4*mib))
	dir, err := os.MkdirTemp("/dev/shm", "cpucloud-test") //nolint:usetesting // a tmpfs, wherever images are
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if c.Clones(dir) || c.Clones(filepath.Join(dir, "missing")) {
		t.Error("images can be cloned to another file system, or to nowhere")
	}
	if err := c.Clone(t.Context(), base, filepath.Join(dir, "disk.raw"), gib); err == nil {
		t.Error("an image was cloned to another file system")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("left over: %v", entries)
	}
}

func TestCloneIsTooSmall(t *testing.T) {
	t.Parallel()
	c, base := cached(t, "/a.img", disk(4*mib))
	dir := t.TempDir()
	if err := c.Clone(t.Context(), base, filepath.Join(dir, "small"), mib); !fault.Is(err, fault.Invalid) {
		t.Errorf("smaller than the base: got %v, want an Invalid fault", err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("left over: %v", entries)
	}
}

// What lies where a disk is made, such as what a crash has left of another's, is
// not in it: beyond its image a disk is zeros, in both forms.
func TestOldBlocksAreNotRead(t *testing.T) {
	t.Parallel()
	if !worldtest.On(t, worldtest.XFS) {
		return
	}
	const size = 4 * mib
	c, base := cached(t, "/a.img", disk(size))
	want := append(disk(size), make([]byte, 12*mib)...)
	for name, create := range map[string]func(path string) error{
		"disk.qcow2": func(path string) error { return c.Overlay(t.Context(), base, path, 16*mib) },
		"disk.raw":   func(path string) error { return c.Clone(t.Context(), base, path, 16*mib) },
	} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path+".part", bytes.Repeat([]byte("secret.."), 2*mib), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := create(path); err != nil {
			t.Fatal(err)
		}
		if name == "disk.qcow2" {
			qemuImg(t, "convert", "-f", "qcow2", "-O", "raw", path, path+".raw")
			path += ".raw"
		}
		if got := head(t, path, 16*mib); !bytes.Equal(got, want) {
			t.Errorf("%s isn't its image and zeros", name)
		}
	}
}
