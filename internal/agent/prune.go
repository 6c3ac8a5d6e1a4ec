package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/cpucloud/cpucloud/internal/image"
)

// How often images are pruned, and how often at most where they are too many.
const (
	pruneEvery = time.Hour
	pruneFull  = time.Minute
)

// pruneDue reports whether it is time to prune.
func (k *keeper) pruneDue(now time.Time) bool {
	since := now.Sub(k.pruned)
	return since >= pruneEvery || since >= pruneFull && k.Disks.Full()
}

// prune has images removed that no disk lies on. Folders of VMs that nobody
// asked for count like all others, and when one base can't be read nothing is
// removed: a missing image is a lost disk.
func (k *keeper) prune(ctx context.Context) {
	used, err := k.usedImages()
	if err == nil {
		var freed int64
		freed, err = k.Disks.Prune(func(digest string) bool { return used[digest] })
		if freed > 0 {
			k.Log.InfoContext(ctx, "unused images removed", "bytes", freed)
		}
	}
	if err != nil {
		k.Log.ErrorContext(ctx, "images not pruned", "error", err)
	}
}

func (k *keeper) usedImages() (map[string]bool, error) { return k.folder.usedImages() }

// UsedImages returns the digests of the images that disks of the agent in dir lie
// on, or are just made of, whether it runs or not.
func UsedImages(dir string) (map[string]bool, error) {
	f := &folder{path: filepath.Join(dir, agentDir)}
	root, err := os.OpenRoot(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return map[string]bool{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open agent folder: %w", err)
	}
	defer root.Close() //nolint:errcheck // nothing is written through it
	f.root = root
	return f.usedImages()
}

func (f *folder) usedImages() (map[string]bool, error) {
	ids, err := f.vmIDs()
	if err != nil {
		return nil, err
	}
	used := map[string]bool{}
	for _, id := range ids {
		numbers, err := f.bases(id)
		if err != nil {
			return nil, err
		}
		for _, n := range numbers {
			made, err := f.form(id, n)
			if err != nil {
				return nil, err
			}
			if made == cloned {
				continue
			}
			var base image.Base
			if _, err := f.read(baseName(id, n), &base); err != nil {
				return nil, fmt.Errorf("base of VM %s: %w", id, err)
			}
			used[base.Digest] = true
		}
	}
	return used, nil
}
