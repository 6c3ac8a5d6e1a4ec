// Package local is how the commands of a provider's server speak to the agent
// that runs on it: over a unix socket in the agent's folder, which only the
// agent's own user and root may use. Without an agent they do the same by
// themselves.
package local

import (
	"context"
	"slices"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/image"
)

// Image is one of the images on this server.
type Image struct {
	image.Image
	InUse bool `json:"in_use"` // a disk lies on it
}

// Stock is what images there are.
type Stock struct {
	Images []Image `json:"images"` // the one used last comes first
	Bytes  int64   `json:"bytes"`  // of the disk that they take, with downloads under way
	Soft   int64   `json:"soft"`   // from which on those used longest ago are removed
	Quota  int64   `json:"quota"`  // that they may take
}

// Images is what can be asked about images.
type Images interface {
	// List returns what images there are.
	List(ctx context.Context) (Stock, error)
	// Collect removes what is not needed, or all that no disk lies on, and
	// returns how many bytes of the disk that freed.
	Collect(ctx context.Context, all bool) (int64, error)
	// Prefetch fetches an image for everybody unless it is there, and tells how
	// far it is. Returns an Invalid fault when no VM can be made of it.
	Prefetch(ctx context.Context, url string, progress func(image.Progress)) (image.Base, error)
}

// Desk answers for an open cache.
type Desk struct {
	Cache *image.Cache
	InUse func() (map[string]bool, error) // digests of the images that disks lie on
}

var _ Images = Desk{}

// prefetchBytes is how large a disk may be that is fetched for nobody yet; the
// quota is what bounds it.
const prefetchBytes = 16 << 40

// List implements Images.
func (d Desk) List(context.Context) (Stock, error) {
	used, err := d.InUse()
	if err != nil {
		return Stock{}, err
	}
	there, err := d.Cache.List()
	s := Stock{Images: []Image{}, Bytes: there.Bytes, Soft: there.Soft, Quota: there.Quota}
	for _, i := range there.Images {
		s.Images = append(s.Images, Image{i, used[i.Digest]})
	}
	return s, err
}

// Collect implements Images.
func (d Desk) Collect(_ context.Context, all bool) (int64, error) {
	used, err := d.InUse()
	if err != nil {
		return 0, err // a missing image is a lost disk
	}
	inUse := func(digest string) bool { return used[digest] }
	if all {
		return d.Cache.PruneAll(inUse)
	}
	return d.Cache.Prune(inUse)
}

// Prefetch implements Images.
func (d Desk) Prefetch(ctx context.Context, url string, progress func(image.Progress)) (image.Base, error) {
	return d.Cache.Get(ctx, image.Request{URL: url, DiskBytes: prefetchBytes, Progress: progress})
}

// kinds are the faults that keep their kind on the way.
var kinds = []fault.Kind{fault.Invalid, fault.Unavailable, fault.Conflict}

// kindOf returns what a fault is told as.
func kindOf(err error) fault.Kind {
	if k := fault.KindOf(err); slices.Contains(kinds, k) {
		return k
	}
	return fault.Internal
}
