package servertest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/agent"
	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/hypervisor"
	hypervisorfake "github.com/cpucloud/cpucloud/internal/hypervisor/fake"
	"github.com/cpucloud/cpucloud/internal/image"
	"github.com/cpucloud/cpucloud/internal/image/guard"
	"github.com/cpucloud/cpucloud/internal/network"
	networkfake "github.com/cpucloud/cpucloud/internal/network/fake"
)

// Agent is a server that joined the marketplace, and the agent on it.
type Agent struct {
	Dir      string
	Machines *hypervisorfake.Host // the hardware, which the agent may leave and find again
	Network  *networkfake.Host
	Config   agent.Config // read at every Start; its Disks are opened then unless they are set

	tb   testing.TB
	stop func()
}

// Room is what a server of these tests sells, unless a test says otherwise.
var Room = capacity.Vector{VCPU: 256, RAMGiB: 512, StorageGiB: 4000, Addresses: 128}

// Agent has a server join and starts its agent. change may alter what they are
// made of before that.
func (c *Cloud) Agent(change ...func(*Agent)) *Agent {
	c.tb.Helper()
	c.agents++
	a := &Agent{
		Dir: filepath.Join(c.Dir, fmt.Sprintf("agent-%d", c.agents)), tb: c.tb,
		Machines: hypervisorfake.NewHost(now), Network: networkfake.NewHost(),
	}
	a.Config = AgentConfig(a.Dir, c.URL, hypervisorfake.New(a.Machines), networkfake.New(a.Network), c.log)
	a.Config.Inventory.Pool = netip.PrefixFrom(netip.AddrFrom4([4]byte{127, 77, byte(c.agents), 0}), 24)
	for _, f := range change {
		f(a)
	}
	_, err := agent.Enroll(c.tb.Context(), agent.Enrollment{
		Dir: a.Dir, URL: c.URL, Token: c.JoinToken(), Inventory: a.Config.Inventory, Rand: rand.Reader,
	})
	if err != nil {
		c.tb.Fatalf("join: %v", err)
	}
	a.Start()
	c.tb.Cleanup(a.Stop)
	return a
}

// JoinToken returns a token with which one more server may join.
func (c *Cloud) JoinToken() string {
	c.tb.Helper()
	token, err := c.Operator.CreateJoinToken(c.tb.Context(), client.Invitation{
		Provider: "provider", Country: "DE", City: "BER", Index: 1, Tier: 3,
		Prices: client.UnitPrices{VCPU: "0.05", RAM: "0.02", Storage: "0.004", Address: "0.02"},
	})
	if err != nil {
		c.tb.Fatalf("make join token: %v", err)
	}
	return token.Token
}

// AgentConfig returns what an agent in dir is made of, but for its disks. Its
// VMs answer at once.
func AgentConfig(dir, cloud string, h hypervisor.Driver, n network.Driver, log *slog.Logger) agent.Config {
	return agent.Config{
		Dir: dir, URL: cloud, Hypervisor: h, Network: n, Log: log, Now: now, Rand: rand.Reader,
		LookEvery: 200 * time.Millisecond, // machines that end by themselves are found sooner
		Probe: func(ctx context.Context, address netip.AddrPort) error {
			return answers(ctx, h, n, address.Addr())
		},
		Inventory: capacity.Inventory{
			Hardware: capacity.Hardware{
				CPU:    capacity.CPU{Manufacturer: "AMD", Brand: "EPYC", Architecture: "Zen", Generation: "4"},
				Memory: capacity.Memory{Type: "DDR", Generation: "5"}, Storage: capacity.Storage{Type: "NVMe"},
			},
			Total: Room, VCPUPerThread: 1, Pool: netip.MustParsePrefix("127.77.0.0/24"), Hypervisor: "memory", Accelerator: "tcg",
		},
	}
}

// answers is nil when a machine runs behind an address.
func answers(ctx context.Context, h hypervisor.Driver, n network.Driver, address netip.Addr) error {
	links, err := n.List(ctx)
	if err != nil {
		return err
	}
	machines, err := h.List(ctx)
	if err != nil {
		return err
	}
	for _, l := range links {
		for _, m := range machines {
			if l.Address == address && l.ID == m.ID && m.State == hypervisor.Running {
				return nil
			}
		}
	}
	return errors.New("connection refused")
}

// OpenDisks opens the images of the agent in dir, which may be fetched from the
// control plane's host though it is private.
func OpenDisks(dir, cloud string, log *slog.Logger) (*image.Cache, error) {
	u, err := url.Parse(cloud)
	if err != nil {
		return nil, err
	}
	return image.New(image.Config{
		Dir: filepath.Join(dir, "images"), Guard: guard.New(guard.Config{Allow: []string{u.Hostname()}}), Log: log, Now: now,
	})
}

// Start starts the agent again after Stop.
func (a *Agent) Start() {
	a.tb.Helper()
	config := a.Config
	release := func() error { return nil }
	if config.Disks == nil {
		cache, err := OpenDisks(a.Dir, config.URL, config.Log)
		if err != nil {
			a.tb.Fatalf("open images: %v", err)
		}
		config.Disks, release = cache, cache.Close
	}
	ctx, cancel := context.WithCancel(a.tb.Context())
	ended := make(chan error, 1)
	go func() { ended <- agent.New(config).Run(ctx) }()
	a.stop = func() {
		cancel()
		if err := errors.Join(<-ended, release()); err != nil {
			a.tb.Errorf("agent: %v", err)
		}
	}
}

// Stop stops the agent; what runs on the server goes on.
func (a *Agent) Stop() {
	a.tb.Helper()
	if a.stop != nil {
		a.stop()
		a.stop = nil
	}
}

// Restart stops the agent and starts it again.
func (a *Agent) Restart() {
	a.tb.Helper()
	a.Stop()
	a.Start()
}

// Running returns the machines that run on the server, each with which of the
// server's starts it was.
func (a *Agent) Running() map[string]int {
	a.tb.Helper()
	machines, err := hypervisorfake.New(a.Machines).List(a.tb.Context())
	if err != nil {
		a.tb.Fatalf("list machines: %v", err)
	}
	running := map[string]int{}
	for _, m := range machines {
		if _, start := a.Machines.Machine(m.ID); start > 0 {
			running[m.ID] = start
		}
	}
	return running
}

// Links returns the server's links by VM.
func (a *Agent) Links() map[string]network.Link {
	a.tb.Helper()
	list, err := networkfake.New(a.Network).List(a.tb.Context())
	if err != nil {
		a.tb.Fatalf("list links: %v", err)
	}
	links := map[string]network.Link{}
	for _, l := range list {
		links[l.ID] = l
	}
	return links
}

// Files returns the names of the VMs that have files on the server.
func (a *Agent) Files() []string {
	a.tb.Helper()
	paths, err := filepath.Glob(filepath.Join(a.Dir, "agent", "vms", "*"))
	if err != nil {
		a.tb.Fatal(err)
	}
	names := make([]string, len(paths))
	for i, p := range paths {
		names[i] = filepath.Base(p)
	}
	return names
}
