package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/cpucloud/cpucloud/bench/internal/login"
	"github.com/cpucloud/cpucloud/bench/internal/report"
	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/server"
)

// coldPosts are made before the clock runs: they open connections and compile
// statements.
const coldPosts = 10

// benchPost times POST /vms/v3, one at a time, on a control plane whose one server
// has room for all. No agent runs, so nothing but the answer takes time.
func benchPost(ctx context.Context, posts int) (err error) {
	report.Progress("posts: %d deployments, one at a time", posts)
	dir, err := os.MkdirTemp("", "cpucloud-bench.")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s, err := server.Start(ctx, server.Config{
		Listen: "127.0.0.1:0", Database: filepath.Join(dir, "cloud.db"), Version: "bench",
		Epoch: 24 * time.Hour, Retention: 7 * 24 * time.Hour, Now: report.Now, Rand: rand.Reader, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop(context.WithoutCancel(ctx))) }()
	if err := join(ctx, s.Control); err != nil {
		return fmt.Errorf("join a server: %w", err)
	}
	customer, err := newCustomer(ctx, s)
	if err != nil {
		return fmt.Errorf("make a customer: %w", err)
	}
	took := make([]float64, 0, coldPosts+posts)
	for i := range coldPosts + posts {
		begin := report.Now()
		if _, err := customer.Deploy(ctx, deployment(fmt.Sprintf("post-%d", i), "https://images.example/none.qcow2", "bench")); err != nil {
			return fmt.Errorf("deploy: %w", err)
		}
		took = append(took, report.Now().Sub(begin).Seconds()*1000)
	}
	took = took[coldPosts:]
	return report.Print(
		report.Figure{Name: "post.p50", Value: report.Quantile(took, 0.5), Unit: "ms"},
		report.Figure{Name: "post.p99", Value: report.Quantile(took, 0.99), Unit: "ms", Bar: "<=25"},
	)
}

// join has a server join that exists on paper alone.
func join(ctx context.Context, c *control.Service) error {
	token, err := c.Invite(ctx, control.System, control.Invitation{
		Provider: "bench", Datacenter: market.Datacenter{Country: "DE", City: "BER", Index: 1, Tier: 1},
		Prices: market.Prices{VCPU: 50_000, RAM: 20_000, Storage: 4_000, Address: 20_000}, Valid: time.Hour,
	})
	if err != nil {
		return err
	}
	key, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	_, err = c.Enroll(ctx, token, key, capacity.Inventory{
		Hardware: capacity.Hardware{
			CPU:    capacity.CPU{Manufacturer: "AMD", Brand: "EPYC", Architecture: "Zen", Generation: "4"},
			Memory: capacity.Memory{Type: "DDR", Generation: "5"}, Storage: capacity.Storage{Type: "NVMe"},
		},
		Total:         capacity.Vector{VCPU: 1 << 20, RAMGiB: 1 << 20, StorageGiB: 1 << 22, Addresses: 60_000},
		VCPUPerThread: 1, Pool: netip.MustParsePrefix("127.77.0.0/16"), Hypervisor: "none", Accelerator: "none",
	})
	return err
}

// newCustomer returns a client of an account with money and an SSH key, "bench".
func newCustomer(ctx context.Context, s *server.Server) (*client.Client, error) {
	a, secret, err := s.Control.CreateAccount(ctx, control.System, "bench", account.Customer)
	if err != nil {
		return nil, err
	}
	if _, err := s.Control.SetBalance(ctx, control.System, a.ID, 1_000_000*money.USDC, "bench"); err != nil {
		return nil, err
	}
	key, err := login.NewIdentity()
	if err != nil {
		return nil, err
	}
	c := client.New(s.URL, secret)
	_, err = c.AddSSHKey(ctx, "bench", key.Line)
	return c, err
}

// deployment asks for one VM of the smallest configuration.
func deployment(name, image, key string) client.Deployment {
	return client.Deployment{
		Constraints: client.Constraints{BasicConfiguration: market.Configurations()[0].Slug()},
		Instances:   1,
		VM:          client.VMConfiguration{Name: name, Hostname: login.Hostname, OSImage: image, SSHKeys: []string{key}},
	}
}
