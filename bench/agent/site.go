package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/cpucloud/cpucloud/bench/internal/bare"
	"github.com/cpucloud/cpucloud/bench/internal/cloud"
	"github.com/cpucloud/cpucloud/bench/internal/login"
	"github.com/cpucloud/cpucloud/bench/internal/report"
	"github.com/cpucloud/cpucloud/bench/internal/rig"
	"github.com/cpucloud/cpucloud/internal/image/seed"
)

// site is a cloud with one server, whose image is in the server's cache, and a
// bare QEMU like that of its VMs.
type site struct {
	*rig.Rig
	ground
	bare []*bare.Machine // each in a folder of its own
}

func openSite(ctx context.Context, o options) (_ *site, err error) {
	report.Progress("site: starting a cloud")
	s := &site{}
	if s.ground, err = groundOf(ctx, o.network); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close(ctx))
		}
	}()
	config := s.cloud()
	config.Binary, config.Images = o.binary, o.images
	if s.Rig, err = rig.Open(ctx, config); err != nil {
		return nil, err
	}
	return s, s.addBare(s.Bare)
}

func (s *site) close(ctx context.Context) (err error) {
	if s.Rig != nil {
		err = s.Close(ctx)
	}
	return errors.Join(err, s.ground.close())
}

// addBare takes a bare QEMU to the others. Its guest is told what the cloud's are
// told, but for the network.
func (s *site) addBare(m *bare.Machine) error {
	number := len(s.bare)
	s.bare = append(s.bare, m)
	return s.seed(m, number, seed.Seed{
		InstanceID: fmt.Sprintf("bare-%d", number), Hostname: login.Hostname, SSHKeys: []string{s.Key.Line}, At: report.Now(),
	})
}

// bares returns that many bare QEMUs, alike but for their folders and addresses.
func (s *site) bares(n int) ([]*bare.Machine, error) {
	for len(s.bare) < n {
		dir := filepath.Join(s.Dir, strconv.Itoa(len(s.bare)))
		if err := os.Mkdir(dir, 0o700); err != nil {
			return nil, err
		}
		next, err := s.bare[0].In(dir)
		if err != nil {
			return nil, err
		}
		if err := s.addBare(next); err != nil {
			return nil, err
		}
	}
	return s.bare[:n], nil
}

// greets returns once a VM that was ordered at begin greets by SSH. Where it is,
// its customer is told when it is Active.
func (s *site) greets(ctx context.Context, id string, begin time.Time) (l lap, err error) {
	since := func(at time.Time) float64 { return at.Sub(begin).Seconds() }
	v, err := s.Active(ctx, id)
	if err != nil {
		return l, err
	}
	l.active = since(report.Now())
	at, err := rig.SSH(v)
	if err != nil {
		return l, err
	}
	if err := login.Banner(ctx, at, begin); err != nil {
		return l, err
	}
	l.banner = since(report.Now())
	for _, told := range []struct {
		text string
		at   *float64
	}{{cloud.MachineStarted, &l.started}, {"SSH answered", &l.answered}} {
		at, err := cloud.Told(v, told.text)
		if err != nil {
			return l, err
		}
		*told.at = since(at)
	}
	return l, nil
}
