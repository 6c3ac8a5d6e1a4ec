package image

import (
	"cmp"
	"slices"
	"time"
)

// Image is one that the cache keeps, as its operator sees it.
type Image struct {
	Digest       string    `json:"digest"`        // SHA-256 of the image, decompressed, in hex
	URLs         []string  `json:"urls"`          // that gave it, without what may be secret; none if that was lost
	DiskBytes    int64     `json:"disk_bytes"`    // that it takes of this server's disk
	VirtualBytes int64     `json:"virtual_bytes"` // of the disk that a VM sees
	FetchedAt    time.Time `json:"fetched_at,omitzero"`
	UsedAt       time.Time `json:"used_at"`
	Private      bool      `json:"private"` // not shared between tenants
}

// Stock is what a cache holds.
type Stock struct {
	Images []Image `json:"images"` // the one used last comes first
	Bytes  int64   `json:"bytes"`  // of the disk that they take, with downloads under way
	Soft   int64   `json:"soft"`   // from which on those used longest ago are removed
	Quota  int64   `json:"quota"`  // that they may take
}

// List returns what the cache holds.
func (c *Cache) List() (Stock, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Stock{Images: []Image{}, Bytes: c.quota.used.Load(), Soft: c.cfg.Soft, Quota: c.cfg.Quota}
	all, err := c.kept()
	if err != nil {
		return s, err
	}
	for _, k := range slices.Backward(all) {
		s.Images = append(s.Images, c.describe(k))
	}
	return s, nil
}

// describe returns all that is known of an image; mu is held.
func (c *Cache) describe(k kept) Image {
	i := Image{Digest: k.digest, URLs: []string{}, DiskBytes: c.taken(nameOf(k.digest)), UsedAt: k.used, Private: true}
	for _, e := range c.index {
		if e.Digest != k.digest {
			continue
		}
		i.URLs = append(i.URLs, e.URL)
		i.VirtualBytes = cmp.Or(i.VirtualBytes, e.VirtualBytes)
		i.FetchedAt = latest(i.FetchedAt, e.FetchedAt)
		i.Private = i.Private && e.Private
	}
	i.Private = i.Private && len(i.URLs) > 0
	slices.Sort(i.URLs)
	i.URLs = slices.Compact(i.URLs)
	return i
}
