package image

import (
	"cmp"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"
)

// settled is how long after its last use an image is not removed for want of
// space: whoever got it may not have made a disk of it yet.
const settled = 10 * time.Minute

// Full reports whether images take more than what Prune leaves.
func (c *Cache) Full() bool { return c.quota.used.Load() > c.cfg.Soft }

// Prune removes the images that were not used for Config.MaxAge, then those used
// longest ago as long as all together take more than Config.Soft, and downloads
// that are too old to be gone on with. It never removes one that inUse wants: an
// image is in use as long as there is a disk on it. It returns how many bytes of
// the disk that freed.
func (c *Cache) Prune(inUse func(digest string) bool) (int64, error) {
	return c.prune(c.cfg.MaxAge, c.cfg.Soft, inUse)
}

// PruneAll is Prune for all that no disk lies on, but for what was just used.
func (c *Cache) PruneAll(inUse func(digest string) bool) (int64, error) {
	return c.prune(settled, 0, inUse)
}

func (c *Cache) prune(age time.Duration, soft int64, inUse func(digest string) bool) (int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.quota.used.Load()
	if err := c.sweepSpools(); err != nil {
		return 0, err
	}
	kept, err := c.kept()
	if err != nil {
		return 0, err
	}
	for _, k := range kept { // the one that was used longest ago comes first
		idle := c.cfg.Now().Sub(k.used)
		old, crowded := idle >= age, idle >= settled && c.quota.used.Load() > soft
		if inUse(k.digest) || !old && !crowded {
			continue
		}
		if err := c.forget(k.digest); err != nil {
			return before - c.quota.used.Load(), err
		}
	}
	return before - c.quota.used.Load(), c.index.save(c.root)
}

// forget removes an image; mu is held.
func (c *Cache) forget(digest string) error {
	n := c.taken(nameOf(digest))
	if err := c.root.Remove(nameOf(digest)); err != nil {
		return fmt.Errorf("remove image: %w", err)
	}
	c.quota.give(n)
	delete(c.used, digest)
	for k, e := range c.index {
		if e.Digest == digest {
			delete(c.index, k)
		}
	}
	return nil
}

// image is one that is there.
type kept struct {
	digest string
	used   time.Time
}

// kept returns what images there are, the one used longest ago first; mu is held.
func (c *Cache) kept() ([]kept, error) {
	names, err := fs.Glob(c.root.FS(), nameOf("*"))
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	var all []kept
	for _, name := range names {
		digest := strings.TrimSuffix(strings.TrimPrefix(name, "sha256-"), ".raw")
		last, ok := c.used[digest]
		if !ok {
			last = c.opened
		}
		all = append(all, kept{digest, last})
	}
	slices.SortFunc(all, func(a, b kept) int { return cmp.Or(a.used.Compare(b.used), cmp.Compare(a.digest, b.digest)) })
	return all, nil
}
