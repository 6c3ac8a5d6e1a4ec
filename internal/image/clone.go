package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/cpucloud/cpucloud/internal/fault"
)

// Clone makes the disk of a VM: a raw file at path, of exactly diskBytes, that
// shares the blocks of base until one of both changes, ioctl_ficlone(2). It needs
// base no longer then. A disk that is there already stays as it is. Returns an
// Invalid fault when base doesn't fit. Clones says where it works.
func (c *Cache) Clone(_ context.Context, base Base, path string, diskBytes int64) error {
	if base.Format != string(rawFormat) {
		return fault.Newf(fault.Internal, "the image %s is %s, and can't be cloned as a raw disk", base.Path, base.Format)
	}
	return makeDisk(base, path, diskBytes, func(disk *os.File) error {
		if err := cloneFile(disk, base.Path); err != nil {
			return err
		}
		if err := disk.Truncate(diskBytes); err != nil {
			return fmt.Errorf("give the disk its size: %w", err)
		}
		return nil
	})
}

// cloneFile makes file, which is empty, share the blocks of the one at path.
func cloneFile(file *os.File, path string) error {
	from, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return fmt.Errorf("open image: %w", err)
	}
	defer from.Close() //nolint:errcheck // it was only read
	if err := unix.IoctlFileClone(int(file.Fd()), int(from.Fd())); err != nil {
		return fmt.Errorf("clone image: %w", err)
	}
	return nil
}

// probeName is what is cloned to see whether it works; no other file is called so.
const probeName = "clone-probe"

// Clones reports whether images can be cloned to files in the folder dir, by
// cloning a small file: one file system has both, and can do it. What is read
// back decides, not the name of the file system.
func (c *Cache) Clones(dir string) bool {
	c.mu.Lock() // one probe at a time
	defer c.mu.Unlock()
	err := c.tryClone(dir)
	c.cfg.Log.Info("disks of new VMs", "cloned", err == nil, "folder", dir, "reason", err)
	return err == nil
}

func (c *Cache) tryClone(dir string) error {
	text := bytes.Repeat([]byte("clone me"), block/8) // more than file systems keep beside the name
	err := replace(c.root, probeName, func(f *os.File) error { _, err := f.Write(text); return err })
	if err != nil {
		return err
	}
	defer c.root.Remove(probeName) //nolint:errcheck // it harms nobody, and is replaced the next time
	to, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer to.Close() //nolint:errcheck // nothing is written through it
	err = replace(to, probeName, func(f *os.File) error { return cloneFile(f, filepath.Join(c.cfg.Dir, probeName)) })
	if err != nil {
		return err
	}
	got, err := to.ReadFile(probeName)
	if err = errors.Join(err, to.Remove(probeName)); err == nil && !bytes.Equal(got, text) {
		err = errors.New("a clone differs from what was cloned")
	}
	return err
}
