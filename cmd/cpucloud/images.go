package main

import (
	"crypto/x509"
	"log/slog"
	"strings"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/image"
	"github.com/cpucloud/cpucloud/internal/image/guard"
)

// openImages opens the image cache in dir. Hosts in trusted may be fetched from
// though they are private; roots says whose certificates are believed.
func openImages(dir string, flags hostFlags, trusted []string, roots *x509.CertPool, log *slog.Logger) (*image.Cache, error) {
	var mirrors []image.Mirror
	for _, m := range flags.mirrors {
		prefix, replacement, ok := strings.Cut(m, "=")
		if !ok {
			return nil, fault.Newf(fault.Invalid, "--mirror: %q is not URL-PREFIX=OTHER-PREFIX", m)
		}
		mirrors = append(mirrors, image.Mirror{Prefix: prefix, Replacement: replacement})
	}
	return image.New(image.Config{
		Dir: dir, Guard: guard.New(guard.Config{Allow: append(trusted, flags.allow...), RootCAs: roots}), Mirrors: mirrors, Log: log, Now: time.Now,
	})
}
