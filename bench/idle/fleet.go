package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"math"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/cpucloud/cpucloud/bench/internal/cloud"
	"github.com/cpucloud/cpucloud/bench/internal/process"
	"github.com/cpucloud/cpucloud/bench/internal/report"
	"github.com/cpucloud/cpucloud/client"
)

// fleet is the VMs of a cloud.
type fleet struct {
	*cloud.Cloud
	image   string
	key     string
	running int
}

func newFleet(ctx context.Context, c *cloud.Cloud) (*fleet, error) {
	image, err := c.Image(ctx)
	if err != nil {
		return nil, err
	}
	public, _, err := ed25519.GenerateKey(rand.Reader) // nobody logs in
	if err != nil {
		return nil, err
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		return nil, err
	}
	return &fleet{Cloud: c, image: image.DownloadURL, key: strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))}, nil
}

// grow deploys VMs until there are that many, and waits until all are active.
func (f *fleet) grow(ctx context.Context, vms int) error {
	report.Progress("idle: deploys %d VM(s) beside the %d that run", vms-f.running, f.running)
	made, err := f.Deploy(ctx, client.Deployment{
		Instances: vms - f.running,
		VM:        client.VMConfiguration{Name: fmt.Sprintf("idle-%d", f.running), OSImage: f.image, SSHKeys: []string{f.key}},
	})
	if err != nil {
		return err
	}
	for _, d := range made {
		if _, err := f.Active(ctx, d.ID); err != nil {
			return err
		}
	}
	f.running = vms
	return nil
}

// ours returns our processes: the cloud's and those it has started, but QEMU.
func (f *fleet) ours() ([]process.PID, error) {
	program, err := f.PID.Program()
	if err != nil {
		return nil, err
	}
	ours := []process.PID{f.PID}
	children, err := f.PID.Children()
	if err != nil {
		return nil, err
	}
	for _, p := range children {
		if runs, err := p.Program(); err == nil && runs == program { // it may have ended meanwhile
			ours = append(ours, p)
		}
	}
	return ours, nil
}

// steady returns the memory of our processes once what the launches have left
// behind is gone and it no longer changes, in bytes.
func (f *fleet) steady(ctx context.Context) (float64, error) {
	report.Progress("idle: waits %s until Go has collected what the launches left behind", collected)
	if err := report.Pause(ctx, collected); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, steadyIn)
	defer cancel()
	for last := math.Inf(1); ; {
		now, err := f.memory()
		if err != nil {
			return 0, err
		}
		if math.Abs(now-last) < steadyAt*now {
			return now, nil
		}
		last = now
		if err := report.Pause(ctx, steadyStep); err != nil {
			return 0, fmt.Errorf("memory does not settle: %w", err)
		}
	}
}

func (f *fleet) memory() (sum float64, err error) {
	ours, err := f.ours()
	if err != nil {
		return 0, err
	}
	for _, p := range ours {
		bytes, err := p.Resident()
		if err != nil {
			return 0, fmt.Errorf("memory of %d: %w", p, err)
		}
		sum += float64(bytes)
	}
	return sum, nil
}
