// Package agent runs on a provider's server. It reads what is wanted there,
// looks at what is, plans, acts, and reports, again and again; nothing that it
// knows is needed to find out what to do next, so it may be killed at any
// moment. Machines and links outlive it.
//
// Three loops share one book. The keeper looks at the drivers, plans, and has
// one worker at a time act on each VM. The courier carries reports to the
// control plane and brings back the list of what is wanted, and who waits for a
// console, which the switchboard connects. When the control
// plane is away the keeper goes on with the last list. The measurer takes a
// benchmark now and then. The sampler reads what VMs use, beside all that.
package agent

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/hypervisor"
	"github.com/cpucloud/cpucloud/internal/network"
	"github.com/cpucloud/cpucloud/internal/vm"
	"github.com/cpucloud/cpucloud/internal/wire"
)

// Config is what an agent is made of. The fields of the first group are needed.
type Config struct {
	Dir        string // the agent keeps to the folder "agent" in it
	URL        string // of the control plane
	Hypervisor hypervisor.Driver
	Network    network.Driver
	Disks      Disks
	Inventory  capacity.Inventory // as it is told; what Measure finds is added
	Log        *slog.Logger
	Now        func() time.Time
	Rand       io.Reader // names starts, spreads the times of reconnecting

	HTTP       *http.Client                                // nil means one with defaults
	Probe      func(context.Context, netip.AddrPort) error // nil reads an SSH banner
	Launches   int                                         // machines started at once, 4 if 0
	LookEvery  time.Duration                               // 5 s if 0: how often an idle agent looks at its machines
	ReadyAfter time.Duration                               // 10 min if 0: when a machine that says nothing is taken as ready

	// Store reaches the store of exports by links that the control plane gives; nil
	// means that nothing is exported from here, nor made of exports.
	Store *http.Client

	// Measure takes a benchmark, beside all else; nil means none is ever taken.
	Measure func(context.Context) (capacity.Measured, error)
	// OnRequest keeps the agent from taking one before it is asked to.
	OnRequest bool

	fault func(step string) error // of the folder, for tests
}

// Agent keeps the VMs of one server.
type Agent struct{ config Config }

// New returns an agent, which does nothing until Run.
func New(c Config) *Agent {
	c.Launches = cmp.Or(c.Launches, 4)
	c.LookEvery = cmp.Or(c.LookEvery, 5*time.Second)
	c.ReadyAfter = cmp.Or(c.ReadyAfter, 10*time.Minute)
	if c.Probe == nil {
		c.Probe = ReadSSHBanner
	}
	return &Agent{config: c}
}

// Run keeps the server until ctx is cancelled, and leaves the VMs running then.
// Returns an Invalid fault when the server has not joined, a Conflict fault
// when another agent uses the folder.
func (a *Agent) Run(ctx context.Context) error {
	f, err := openFolder(a.config.Dir)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // everything that matters is written and synced
	f.fault = a.config.fault
	id, err := f.identity()
	if err != nil {
		return err
	}
	client, err := wire.NewClient(a.config.URL, id, a.config.HTTP)
	if err != nil {
		return err
	}
	b, err := openBook(ctx, f, a.config.Log, a.config.Now)
	if err != nil {
		return err
	}
	instance, err := newInstance(a.config.Rand)
	if err != nil {
		return err
	}
	var others sync.WaitGroup
	courier, consoles := newCourier(a.config, b, client, instance), newSwitchboard(a.config, client)
	client.OnCall(func(calls []vm.Call) {
		courier.called = true
		consoles.answer(ctx, calls)
	})
	others.Go(func() {
		courier.run(ctx)
		consoles.all.Wait()
	})
	others.Go(func() { newMeasurer(a.config, b).run(ctx) })
	sampler := newSampler(a.config, client)
	others.Go(func() { sampler.read(ctx) })
	others.Go(func() { sampler.tell(ctx) })
	others.Go(func() { newExporter(a.config, f, b, client).run(ctx) })
	newKeeper(a.config, f, b, client).run(ctx)
	others.Wait()
	return nil
}

// newInstance returns the name of this start of the agent. Two machines that
// were made of one disk have the same key, but never the same of these.
func newInstance(random io.Reader) (string, error) {
	var name [16]byte
	if _, err := io.ReadFull(random, name[:]); err != nil {
		return "", fmt.Errorf("name this start of the agent: %w", err)
	}
	return hex.EncodeToString(name[:]), nil
}

func compareID(a, b string) int { return strings.Compare(a, b) }
