package image

import (
	"context"
	"log/slog"
	"time"

	"github.com/cpucloud/cpucloud/internal/image/guard"
)

// Config of a Cache. Zero values of the limits stand for the ones named.
type Config struct {
	Dir         string                                           // where images are kept; made if it isn't there
	Guard       *guard.Guard                                     // decides which servers may be asked; nil: all on the public internet
	Mirrors     []Mirror                                         // where else to fetch images from
	QemuImg     string                                           // the program; "" looks for qemu-img in PATH
	MaxDownload int64                                            // bytes of one download: 32 GiB
	Quota       int64                                            // bytes of the disk that all images may take: 256 GiB
	Soft        int64                                            // bytes from which on Prune removes what was used longest ago: 4/5 of Quota
	MaxAge      time.Duration                                    // since its last use, after which Prune removes an image: 7 days
	PartialAge  time.Duration                                    // after which a download that broke is not gone on with: 24 h
	Private     []string                                         // hosts, as the guard allows them, whose images are never shared between tenants
	Timeout     time.Duration                                    // for one download: 2 h
	StallBytes  int64                                            // a download has to bring more than this …: 32 KiB
	StallAfter  time.Duration                                    // … in this time: 30 s
	Log         *slog.Logger                                     // told of each new image; nil: nobody
	Now         func() time.Time                                 // the clock
	Pause       func(ctx context.Context, d time.Duration) error // waits; nil: with a timer
}

func (c Config) withDefaults() Config {
	def := func(p *int64, v int64) {
		if *p == 0 {
			*p = v
		}
	}
	def(&c.MaxDownload, 32<<30)
	def(&c.Quota, 256<<30)
	def((*int64)(&c.Timeout), int64(2*time.Hour))
	def(&c.StallBytes, 32<<10)
	def((*int64)(&c.StallAfter), int64(30*time.Second))
	def(&c.Soft, c.Quota/5*4)
	def((*int64)(&c.MaxAge), int64(7*24*time.Hour))
	def((*int64)(&c.PartialAge), int64(24*time.Hour))
	if c.Pause == nil {
		c.Pause = Pause
	}
	if c.QemuImg == "" {
		c.QemuImg = "qemu-img"
	}
	if c.Guard == nil {
		c.Guard = guard.New(guard.Config{})
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Pause waits for d, or until ctx is done, whose error it returns then.
func Pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
