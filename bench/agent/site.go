package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/cpucloud/cpucloud/bench/internal/bare"
	"github.com/cpucloud/cpucloud/bench/internal/cloud"
	"github.com/cpucloud/cpucloud/bench/internal/login"
	"github.com/cpucloud/cpucloud/bench/internal/report"
	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/image/seed"
)

const sshPort = 22

// site is a cloud with one server, whose image is in the server's cache, and a
// bare QEMU like that of its VMs.
type site struct {
	*cloud.Cloud
	ground
	image client.Image
	key   login.Identity
	bare  []*bare.Machine // each in a folder of its own
	dir   string
	begun int // deployments
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
	if s.Cloud, err = cloud.Start(ctx, config); err != nil {
		return nil, err
	}
	if s.dir, err = os.MkdirTemp("", "cpucloud-bench."); err != nil {
		return nil, err
	}
	if s.key, err = login.NewIdentity(); err != nil {
		return nil, err
	}
	if s.image, err = s.Image(ctx); err != nil {
		return nil, err
	}
	report.Progress("site: one VM to fetch the image and to see how QEMU is called")
	return s, s.warmUp(ctx)
}

func (s *site) close(ctx context.Context) (err error) {
	if s.Cloud != nil {
		err = s.Close(ctx)
	}
	return errors.Join(err, os.RemoveAll(s.dir), s.ground.close())
}

// warmUp runs one VM until it answers, and makes the bare side of it.
func (s *site) warmUp(ctx context.Context) error {
	begin := report.Now()
	ids, err := s.deploy(ctx, 1)
	if err != nil {
		return err
	}
	if _, err := s.greets(ctx, ids[0], begin); err != nil {
		return err
	}
	qemu, err := s.QEMU(ids[0])
	if err != nil {
		return err
	}
	first, err := bare.Of(ctx, qemu, s.dir)
	if err != nil {
		return fmt.Errorf("see how the cloud calls QEMU: %w", err)
	}
	if err := s.addBare(first); err != nil {
		return err
	}
	return s.Delete(ctx, ids[0])
}

// addBare takes a bare QEMU to the others. Its guest is told what the cloud's are
// told, but for the network.
func (s *site) addBare(m *bare.Machine) error {
	number := len(s.bare)
	s.bare = append(s.bare, m)
	return s.seed(m, number, seed.Seed{
		InstanceID: fmt.Sprintf("bare-%d", number), Hostname: login.Hostname, SSHKeys: []string{s.key.Line}, At: report.Now(),
	})
}

// bares returns that many bare QEMUs, alike but for their folders and addresses.
func (s *site) bares(n int) ([]*bare.Machine, error) {
	for len(s.bare) < n {
		dir := filepath.Join(s.dir, strconv.Itoa(len(s.bare)))
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

// deploy deploys that many VMs by one request and returns their ids.
func (s *site) deploy(ctx context.Context, instances int) ([]string, error) {
	s.begun++
	made, err := s.Deploy(ctx, cloud.Deployment(fmt.Sprintf("bench-%d", s.begun), s.image.DownloadURL, s.key.Line, instances))
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(made))
	for i, d := range made {
		ids[i] = d.ID
	}
	return ids, nil
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
	address, err := netip.ParseAddr(v.Address())
	if err != nil {
		return l, fmt.Errorf("vm %s: %w", id, err)
	}
	if err := login.Banner(ctx, netip.AddrPortFrom(address, sshPort), begin); err != nil {
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
