package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/internal/agent"
	"github.com/cpucloud/cpucloud/internal/cli"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/server"
)

// demoProvider is whose server `up` lists.
const demoProvider = "demo-provider"

// up is the command `cpucloud up`.
type up struct {
	sys     cli.IO
	cloud   cloudFlags
	host    hostFlags
	listing listing
}

func upCommand(sys cli.IO) *cobra.Command {
	u := &up{sys: sys}
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start a whole cloud on this machine: control plane, agent, marketplace",
		Long: `Start a whole cloud on this machine and list the machine as its first server.

It needs no other server and no flag. It writes DIR/demo.env with the address and
the API key of a demo customer who holds 256 USDC, DIR/provider.env for whom the
machine earns, and DIR/admin.env for the operator. Ctrl-C stops it; VMs are left running and are found again by the next
` + "`up`" + ` on the same folder. ` + "`cpucloud down`" + ` ends them.`,
		Example: `  cpucloud up
  cpucloud up --data ./cloud --images build/images
  cpucloud up --epoch 60s --price-vcpu 0.1 --country DE --city BER`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return u.run(cmd.Context()) },
	}
	u.cloud.register(cmd.Flags(), cli.DefaultData(sys.Env))
	u.host.register(cmd.Flags(), 4, benchmarkAsked)
	u.listing.register(cmd.Flags())
	return cmd
}

func (u *up) run(ctx context.Context) error {
	f, err := openFolder(u.cloud.data)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only a lock is let go
	if u.cloud.images == "" {
		if info, err := os.Stat(f.file("images")); err == nil && info.IsDir() {
			u.cloud.images = f.file("images")
		}
	}
	log := u.cloud.logger(u.sys.Err)
	s, err := u.cloud.start(ctx, f, u.sys, log)
	if err != nil {
		return err
	}
	err = u.serve(ctx, f, s, log)
	return errors.Join(err, stop(ctx, s))
}

// serve writes the variables, joins this machine and waits for the end.
func (u *up) serve(ctx context.Context, f *folder, s *server.Server, log *slog.Logger) error {
	if err := writeAdmin(ctx, f, s); err != nil {
		return err
	}
	if err := writeDemo(ctx, f, s); err != nil {
		return err
	}
	u.host.anyRAM = true
	u.host.caFile = u.cloud.tlsCert // images of this control plane are fetched from it
	trusted := []string{hostPort(s.URL)}
	if store := s.Control.Archive; store != nil {
		trusted = append(trusted, store.Location().Host()) // who starts both may have it on this machine
	}
	h, err := openHost(ctx, f.path, u.host, trusted, log)
	if err != nil {
		return err
	}
	inv, facts, err := h.inventory(ctx)
	if err != nil {
		return err
	}
	if err := u.join(ctx, s, agent.Enrollment{Dir: h.dir, URL: s.URL, HTTP: s.Client(), Inventory: inv, Rand: rand.Reader}); err != nil {
		return err
	}
	if err := writeProvider(ctx, f, s); err != nil {
		return err
	}
	describe(u.sys.Err, facts, inv)
	fmt.Fprintf(u.sys.Err, "\nYour cloud is up: %s\n\n  source %s\n  cpucloud offers\n\nCtrl-C stops it; VMs stay.\n", s.URL, f.file("demo.env"))
	ended := make(chan error, 1)
	running, stopAgent := context.WithCancel(ctx)
	go func() {
		defer close(ended)
		ended <- h.run(running, h.agent(s.URL, s.Client(), inv))
	}()
	err = waitFor(ctx, s, ended)
	stopAgent()
	for last := range ended {
		err = errors.Join(err, last)
	}
	return err
}

// join lists this machine, once; later starts only bring its prices up to date.
func (u *up) join(ctx context.Context, s *server.Server, e agent.Enrollment) error {
	prices, err := u.listing.prices()
	if err != nil {
		return err
	}
	err = s.Control.Reprice(ctx, control.System, demoProvider, prices)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return err
	}
	if joined, err := agent.Enrolled(e.Dir); joined || err != nil {
		return err
	}
	e.Token, err = s.Control.Invite(ctx, control.System, control.Invitation{
		Provider: demoProvider, Datacenter: u.listing.datacenter, Prices: prices, Valid: time.Hour,
	})
	if err != nil {
		return err
	}
	_, err = agent.Enroll(ctx, e)
	return err
}
