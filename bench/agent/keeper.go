package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"

	"github.com/cpucloud/cpucloud/bench/internal/inside"
	"github.com/cpucloud/cpucloud/bench/internal/report"
	"github.com/cpucloud/cpucloud/internal/agent"
	hypervisor "github.com/cpucloud/cpucloud/internal/hypervisor/fake"
	"github.com/cpucloud/cpucloud/internal/image"
	"github.com/cpucloud/cpucloud/internal/image/guard"
	network "github.com/cpucloud/cpucloud/internal/network/fake"
)

// keeping is what a keeper is told.
type keeping struct {
	Dir, URL, Token string
}

// keep joins a control plane and keeps a server whose machines and links exist in
// memory alone, until ctx is done or in ends.
func keep(ctx context.Context, in io.Reader) (err error) {
	var told keeping
	if err := json.NewDecoder(in).Decode(&told); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, in) // nothing comes any more
		cancel()
	}()
	_, err = agent.Enroll(ctx, agent.Enrollment{
		Dir: told.Dir, URL: told.URL, Token: told.Token, Inventory: inside.Paper(), Rand: rand.Reader,
	})
	if err != nil {
		return err
	}
	u, err := url.Parse(told.URL)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	disks, err := image.New(image.Config{
		Dir: filepath.Join(told.Dir, "images"), Guard: guard.New(guard.Config{Allow: []string{u.Host}}), Log: log, Now: report.Now,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, disks.Close()) }()
	return agent.New(agent.Config{
		Dir: told.Dir, URL: told.URL, Hypervisor: hypervisor.New(hypervisor.NewHost(report.Now)), Network: network.New(network.NewHost()),
		Disks: disks, Inventory: inside.Paper(), Log: log, Now: report.Now, Rand: rand.Reader,
		Probe: func(context.Context, netip.AddrPort) error { return nil }, // nobody is there
	}).Run(ctx)
}
