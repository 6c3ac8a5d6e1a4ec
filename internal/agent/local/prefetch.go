package local

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/image"
)

const (
	lookAgain    = 6 * time.Hour // until an image that is there is looked for again, so that it is not removed as unused
	firstRetry   = time.Minute
	lastRetry    = time.Hour
	tellEvery    = 10 * time.Second
	waitForQuiet = 10 * time.Second
	mostYields   = 3 // times that a download gives way
)

// Prefetcher fetches images before anybody asks for them, one after the other,
// and gives way to those that somebody waits for.
type Prefetcher struct {
	URLs   []string
	Images Images
	Busy   func() bool // somebody waits for another image
	Log    *slog.Logger
	Now    func() time.Time
	Pause  func(ctx context.Context, d time.Duration) error // waits
}

// Run fetches the images and keeps them there until ctx is cancelled. Nothing is
// tried again that no VM can be made of.
func (p Prefetcher) Run(ctx context.Context) {
	wanted := p.URLs
	for pause := firstRetry; len(wanted) > 0 && ctx.Err() == nil; {
		var still []string
		failed := false
		for _, url := range wanted {
			err := p.fetch(ctx, url)
			if err != nil && !image.Temporary(err) {
				p.Log.ErrorContext(ctx, "image not prefetched", "url", image.Redact(url), "error", err)
				continue
			}
			still = append(still, url)
			if err != nil && ctx.Err() == nil {
				failed = true
				p.Log.WarnContext(ctx, "image not prefetched, it is tried again", "url", image.Redact(url), "error", err)
			}
		}
		wanted = still
		next := lookAgain
		if failed {
			next, pause = pause, min(2*pause, lastRetry)
		}
		if p.Pause(ctx, next) != nil {
			return
		}
	}
}

// fetch fetches one image while nobody waits for another.
func (p Prefetcher) fetch(ctx context.Context, url string) error {
	for yields := 0; ; yields++ {
		for p.Busy() {
			if err := p.Pause(ctx, waitForQuiet); err != nil {
				return err
			}
		}
		yielded, err := p.attempt(ctx, url, yields < mostYields)
		if !yielded {
			return err
		}
	}
}

// attempt fetches one image; yielded says that it gave way, and may be gone on with.
func (p Prefetcher) attempt(ctx context.Context, url string, yield bool) (yielded bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var gave atomic.Bool
	told := p.Now()
	_, err = p.Images.Prefetch(ctx, url, func(at image.Progress) {
		if yield && p.Busy() {
			gave.Store(true)
			cancel()
		}
		if now := p.Now(); now.Sub(told) >= tellEvery {
			told = now
			p.Log.InfoContext(ctx, "prefetching image", "url", image.Redact(url), "step", at.Step, "done", at.Done, "total", at.Total)
		}
	})
	if err == nil || fault.Is(err, fault.Invalid) {
		return false, err
	}
	return gave.Load(), err
}
