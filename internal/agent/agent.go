// Package agent runs on a provider's server. It reads what is wanted there,
// looks at what is, plans, acts, and reports, again and again; nothing that it
// knows is needed to find out what to do next, so it may be killed at any
// moment. Machines and links outlive it.
//
// Two loops share one book. The keeper looks at the drivers, plans, and has
// one worker at a time act on each VM. The courier carries reports to the
// control plane and brings back the list of what is wanted. When the control
// plane is away the keeper goes on with the last list.
package agent

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/hypervisor"
	"github.com/cpucloud/cpucloud/internal/network"
	"github.com/cpucloud/cpucloud/internal/wire"
)

// Config is what an agent is made of. The fields of the first group are needed.
type Config struct {
	Dir        string // the agent keeps to the folder "agent" in it
	URL        string // of the control plane
	Hypervisor hypervisor.Driver
	Network    network.Driver
	Disks      Disks
	Inventory  capacity.Inventory
	Log        *slog.Logger
	Now        func() time.Time
	Rand       io.Reader // spreads the times of reconnecting

	HTTP       *http.Client                                // nil means one with defaults
	Probe      func(context.Context, netip.AddrPort) error // nil reads an SSH banner
	Launches   int                                         // machines started at once, 4 if 0
	LookEvery  time.Duration                               // 5 s if 0: how often an idle agent looks at its machines
	ReadyAfter time.Duration                               // 10 min if 0: when a machine that says nothing is taken as ready
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
	done := make(chan struct{})
	go func() {
		defer close(done)
		newCourier(a.config, b, client).run(ctx)
	}()
	newKeeper(a.config, f, b).run(ctx)
	<-done
	return nil
}

func compareID(a, b string) int { return strings.Compare(a, b) }
