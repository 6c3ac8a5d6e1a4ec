package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/image/qcow2"
)

// Overlay makes the disk of a VM: a qcow2 file at path, of exactly diskBytes,
// in which every change to base is kept. A disk that is there already stays as
// it is. Returns an Invalid fault when base doesn't fit, an Unavailable one
// when qemu-img is missing.
func (c *Cache) Overlay(ctx context.Context, base Base, path string, diskBytes int64) error {
	// qemu-img is told not to look (-u): it may open nothing but the new disk, which
	// it gets as an open file. One that outlives a crash of this process must not
	// write to what the next process makes under that name.
	return makeDisk(base, path, diskBytes, func(disk *os.File) error {
		return c.qemuImg(ctx, disk, "create", "-q", "-u", "-f", "qcow2", "-F", base.Format, "-b", base.Path,
			childPath, strconv.FormatInt(diskBytes, 10))
	})
}

// Whole returns the size of the disk in f, a qcow2 file that has to lie on nothing and
// to have nothing beside itself. Returns an Invalid fault for any other.
func (c *Cache) Whole(f io.ReaderAt) (int64, error) {
	h, err := qcow2.Parse(f)
	return h.VirtualBytes, err
}

// makeDisk makes a disk of diskBytes on base at path. fill fills it under another
// name, so that a crash leaves no disk that looks finished.
func makeDisk(base Base, path string, diskBytes int64, fill func(disk *os.File) error) error {
	if err := tooLarge(base.VirtualBytes, diskBytes); err != nil {
		return err
	}
	if !filepath.IsAbs(path) || !filepath.IsAbs(base.Path) {
		return fault.Newf(fault.Internal, "disk paths have to be absolute: %q, %q", path, base.Path)
	}
	if info, err := os.Lstat(base.Path); err != nil || !info.Mode().IsRegular() {
		return fault.Newf(fault.Internal, "the image %s of a disk is not there", base.Path)
	}
	root, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("open disk folder: %w", err)
	}
	defer root.Close() //nolint:errcheck // nothing is written through it
	name := filepath.Base(path)
	switch info, err := root.Lstat(name); {
	case err == nil && info.Mode().IsRegular():
		return nil
	case err == nil:
		return fault.Newf(fault.Internal, "disk %s is not a regular file", path)
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("look for disk: %w", err)
	}
	return replace(root, name, fill)
}

// replace puts a file that fill fills in place of the one called name, all of it
// or nothing.
func replace(root *os.Root, name string, fill func(*os.File) error) error {
	temp := name + tempSuffix
	if err := root.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove half-made disk: %w", err)
	}
	f, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("create disk: %w", err)
	}
	err = fill(f)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = root.Rename(temp, name)
	}
	if err != nil {
		return errors.Join(err, root.Remove(temp))
	}
	return syncDir(root)
}

// qemuImg runs qemu-img, confined, over f.
func (c *Cache) qemuImg(ctx context.Context, f *os.File, args ...string) error {
	path, err := exec.LookPath(c.cfg.QemuImg)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return fault.New(fault.Unavailable, "qemu-img is missing on the server; install the package qemu-utils")
	}
	return child{program: path, args: args, file: f, free: c.unconfined}.run(ctx)
}
