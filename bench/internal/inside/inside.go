// Package inside runs a control plane in the process of a bench, on a SQLite file
// that is synced at every commit, with a customer who has money.
package inside

import (
	"context"
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

// Plane is a control plane that answers.
type Plane struct {
	*server.Server
	Customer *client.Client // with an SSH key, "bench"
	dir      string
}

// Start starts a control plane without servers; it serves the images of a folder,
// none if that is "".
func Start(ctx context.Context, images string) (_ *Plane, err error) {
	p := &Plane{}
	if p.dir, err = os.MkdirTemp("", "cpucloud-bench."); err != nil {
		return nil, err
	}
	p.Server, err = server.Start(ctx, server.Config{
		Listen: "127.0.0.1:0", Database: filepath.Join(p.dir, "cloud.db"), Images: images, Version: "bench",
		Epoch: 24 * time.Hour, Retention: 7 * 24 * time.Hour, KeepDisks: 24 * time.Hour, Now: report.Now, Rand: rand.Reader, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(p.dir))
	}
	if err := p.addCustomer(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("make a customer: %w", err), p.Close(ctx))
	}
	return p, nil
}

// Close stops the control plane and removes all that it kept, though ctx may be
// done.
func (p *Plane) Close(ctx context.Context) error {
	return errors.Join(p.Stop(context.WithoutCancel(ctx)), os.RemoveAll(p.dir))
}

func (p *Plane) addCustomer(ctx context.Context) error {
	a, secret, err := p.Control.CreateAccount(ctx, control.System, "bench", account.Customer)
	if err != nil {
		return err
	}
	if _, err := p.Control.SetBalance(ctx, control.System, a.ID, 1_000_000*money.USDC, "bench"); err != nil {
		return err
	}
	key, err := login.NewIdentity()
	if err != nil {
		return err
	}
	p.Customer = client.New(p.URL, secret)
	_, err = p.Customer.AddSSHKey(ctx, "bench", key.Line)
	return err
}

// Invite returns a token with which a server joins.
func (p *Plane) Invite(ctx context.Context) (token string, err error) {
	return p.Control.Invite(ctx, control.System, control.Invitation{
		Provider: "bench", Datacenter: market.Datacenter{Country: "DE", City: "BER", Index: 1, Tier: 1},
		Prices: market.Prices{VCPU: 50_000, RAM: 20_000, Storage: 4_000, Address: 20_000}, Valid: time.Hour,
	})
}

// Paper returns what a server says of itself that exists on paper alone. It has
// room for more VMs than one would ask for.
func Paper() capacity.Inventory {
	return capacity.Inventory{
		Hardware: capacity.Hardware{
			CPU:    capacity.CPU{Manufacturer: "AMD", Brand: "EPYC", Architecture: "Zen", Generation: "4"},
			Memory: capacity.Memory{Type: "DDR", Generation: "5"}, Storage: capacity.Storage{Type: "NVMe"},
		},
		Total:         capacity.Vector{VCPU: 1 << 20, RAMGiB: 1 << 20, StorageGiB: 1 << 22, Addresses: 60_000},
		VCPUPerThread: 1, Pool: netip.MustParsePrefix("127.77.0.0/16"), Hypervisor: "none", Accelerator: "none",
	}
}
