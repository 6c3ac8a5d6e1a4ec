package image

import (
	"fmt"
	"io/fs"
	"strings"
	"time"
)

// Prune removes the images that inUse doesn't want and Get hasn't returned
// within the last age, and reports how many bytes of the disk that freed. An
// image is in use as long as there is an overlay on it.
func (c *Cache) Prune(age time.Duration, inUse func(digest string) bool) (int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	names, err := fs.Glob(c.root.FS(), nameOf("*"))
	if err != nil {
		return 0, fmt.Errorf("list images: %w", err)
	}
	freed := int64(0)
	for _, name := range names {
		digest := strings.TrimSuffix(strings.TrimPrefix(name, "sha256-"), ".raw")
		last, ok := c.used[digest]
		if !ok {
			last = c.opened
		}
		if inUse(digest) || c.cfg.Now().Sub(last) < age {
			continue
		}
		n := c.taken(name)
		if err := c.root.Remove(name); err != nil {
			return freed, fmt.Errorf("remove image: %w", err)
		}
		c.quota.give(n)
		freed += n
		delete(c.used, digest)
		for k, e := range c.index {
			if e.Digest == digest {
				delete(c.index, k)
			}
		}
	}
	return freed, c.index.save(c.root)
}
