package image

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/image/qcow2"
)

// Flatten makes a raw disk at path of what is in source: a qcow2 file of somebody who
// isn't trusted, which has to lie on nothing and to fit a disk of diskBytes. It
// is made whole or not at all, in the place of one that was there. Nothing but
// memory-safe code reads the file. Returns an Invalid fault for any other file.
func Flatten(ctx context.Context, source *os.File, path string, diskBytes int64, progress func(Progress)) (Base, error) {
	info, err := source.Stat()
	if err != nil {
		return Base{}, fmt.Errorf("look at disk: %w", err)
	}
	h, err := qcow2.Parse(source)
	if err != nil {
		return Base{}, err
	}
	if err := tooLarge(h.VirtualBytes, diskBytes); err != nil {
		return Base{}, err
	}
	root, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return Base{}, fmt.Errorf("open disk folder: %w", err)
	}
	defer root.Close() //nolint:errcheck // nothing is written through it
	if info, err := root.Lstat(filepath.Base(path)); err == nil && !info.Mode().IsRegular() {
		return Base{}, fault.Newf(fault.Internal, "disk %s is not a regular file", path)
	}
	err = replace(root, filepath.Base(path), func(f *os.File) error {
		to := &file{File: f, quota: &quota{most: math.MaxInt64}} // the disk that is made of it is bought
		err := qcow2.Flatten(ctx, qcow2.Source{R: source, Size: info.Size(), Header: h}, to, func(at int64) {
			progress(Progress{Unpack, at, h.VirtualBytes})
		})
		if err != nil {
			return err
		}
		return f.Truncate(h.VirtualBytes)
	})
	return Base{Path: path, Format: string(rawFormat), VirtualBytes: h.VirtualBytes}, err
}
