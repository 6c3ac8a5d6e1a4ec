package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/cpucloud/cpucloud/internal/image"
)

const (
	pruneEvery = time.Hour
	pruneAge   = 7 * 24 * time.Hour // since an image was last asked for
)

// prune has images removed that no disk lies on. Folders of VMs that nobody
// asked for count like all others, and when one base can't be read nothing is
// removed: a missing image is a lost disk.
func (k *keeper) prune(ctx context.Context) {
	used, err := k.usedImages()
	if err == nil {
		var freed int64
		freed, err = k.Disks.Prune(pruneAge, func(digest string) bool { return used[digest] })
		if freed > 0 {
			k.Log.InfoContext(ctx, "unused images removed", "bytes", freed)
		}
	}
	if err != nil {
		k.Log.ErrorContext(ctx, "images not pruned", "error", err)
	}
}

func (k *keeper) usedImages() (map[string]bool, error) {
	ids, err := k.folder.vmIDs()
	if err != nil {
		return nil, err
	}
	used := map[string]bool{}
	for _, id := range ids {
		var base image.Base
		if _, err := k.folder.read(baseName(id), &base); err != nil {
			return nil, fmt.Errorf("base of VM %s: %w", id, err)
		}
		used[base.Digest] = true
	}
	return used, nil
}
