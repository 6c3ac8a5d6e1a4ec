package main

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cpucloud/cpucloud/internal/agent"
	"github.com/cpucloud/cpucloud/internal/agent/local"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/image"
	"github.com/cpucloud/cpucloud/internal/image/guard"
)

// imagesDir is where images are kept in a data folder.
func imagesDir(dir string) string { return filepath.Join(dir, "host", "images") }

// openImages opens the image cache in dir. Hosts in trusted may be fetched from
// though they are private; roots says whose certificates are believed.
func openImages(dir string, flags imageFlags, trusted []string, roots *x509.CertPool, log *slog.Logger) (*image.Cache, error) {
	if err := flags.check(); err != nil {
		return nil, err
	}
	door, err := guardOf(flags, trusted, roots)
	if err != nil {
		return nil, err
	}
	var mirrors []image.Mirror
	for _, m := range flags.mirrors {
		prefix, replacement, ok := strings.Cut(m, "=")
		if !ok {
			return nil, fault.Newf(fault.Invalid, "--mirror: %q is not URL-PREFIX=OTHER-PREFIX", m)
		}
		mirrors = append(mirrors, image.Mirror{Prefix: prefix, Replacement: replacement})
	}
	return image.New(image.Config{
		Dir: dir, Guard: door, Private: flags.allow,
		Mirrors: mirrors, Quota: flags.quota << 30, Soft: flags.soft << 30, MaxAge: flags.maxAge, Log: log, Now: time.Now,
	})
}

// guardOf returns what decides which servers may be asked for images, and which stores
// for exports.
func guardOf(flags imageFlags, trusted []string, roots *x509.CertPool) (*guard.Guard, error) {
	denied, err := flags.denied()
	if err != nil {
		return nil, err
	}
	return guard.New(guard.Config{Allow: slices.Concat(trusted, flags.allow), Deny: denied, RootCAs: roots}), nil
}

// run runs the agent of this machine, and beside it what commands ask it for and
// what fetches images for nobody yet. Downloads that it ends are gone on with by
// the next start.
func (h *host) run(ctx context.Context, a *agent.Agent) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	desk := local.Desk{Cache: h.images, InUse: func() (map[string]bool, error) { return agent.UsedImages(h.dir) }}
	var others sync.WaitGroup
	others.Go(func() {
		counter, err := local.Listen(ctx, h.dir)
		if err == nil {
			err = counter.Serve(ctx, desk)
		}
		if err != nil && ctx.Err() == nil {
			h.log.ErrorContext(ctx, "commands such as `cpucloud agent image list` can't ask this agent", "error", err)
		}
	})
	others.Go(func() {
		local.Prefetcher{URLs: h.flags.images.prefetch, Images: desk, Busy: h.images.Busy, Log: h.log, Now: time.Now, Pause: image.Pause}.Run(ctx)
	})
	err := a.Run(ctx)
	stop()
	others.Wait()
	return errors.Join(err, h.images.Close())
}
