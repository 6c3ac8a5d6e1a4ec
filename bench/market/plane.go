package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/cpucloud/cpucloud/bench/internal/controlplane"
	"github.com/cpucloud/cpucloud/bench/internal/process"
	"github.com/cpucloud/cpucloud/bench/internal/report"
	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/server"
)

const (
	stopWithin = time.Minute
	balance    = "1000000000" // USDC, enough for all
)

// plane is a control plane with the fleet in its marketplace, and an account
// that deploys.
type plane struct {
	engine   string // sqlite or postgres
	binary   string // "" runs it in this process
	database string
	dir      string
	fleet    []machine

	pid     process.PID
	process *controlplane.Process // nil in this process
	inside  *server.Server
	cloud   *client.Client // of the account
	key     string
	ids     []string // of all VMs that were acknowledged
}

// newPlane starts a control plane and gives it the fleet.
func newPlane(ctx context.Context, engine, binary, database string, fleet []machine) (_ *plane, err error) {
	p := &plane{engine: engine, binary: binary, database: database, fleet: fleet}
	if p.dir, err = os.MkdirTemp("", "cpucloud-bench."); err != nil {
		return nil, err
	}
	if p.database == "" {
		p.database = p.path("cloud.db")
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close(ctx))
		}
	}()
	if _, err := p.start(ctx); err != nil {
		return nil, err
	}
	operator, err := p.operator(ctx)
	if err != nil {
		return nil, err
	}
	report.Progress("%s: %d servers join", engine, len(fleet))
	if err := p.feed(ctx, operator); err != nil {
		return nil, fmt.Errorf("add the fleet: %w", err)
	}
	account, err := operator.CreateAccount(ctx, "bench", "")
	if err != nil {
		return nil, err
	}
	if _, err := operator.SetBalance(ctx, account.ID, balance, "bench"); err != nil {
		return nil, err
	}
	p.key = account.APIKey
	p.cloud = client.New(operator.URL(), p.key)
	return p, nil
}

func (p *plane) path(name string) string { return filepath.Join(p.dir, name) }

// address returns where the control plane listens.
func (p *plane) address() string { return strings.TrimPrefix(p.cloud.URL(), "http://") }

// start starts the control plane on what it kept, and returns how long that took.
func (p *plane) start(ctx context.Context) (time.Duration, error) {
	begin := report.Now()
	run := p.startProcess
	if p.binary == "" {
		run = p.startInside
	}
	url, err := run(ctx)
	if err != nil {
		return 0, fmt.Errorf("start a control plane on %s: %w", p.engine, err)
	}
	p.cloud = client.New(url, p.key)
	return report.Now().Sub(begin), nil
}

func (p *plane) startProcess(ctx context.Context) (url string, err error) {
	p.process, err = controlplane.Start(ctx, p.dir, p.binary, "server", "--data", p.dir, "--listen", "127.0.0.1:0",
		"--database", p.database, "--allow-simulation", "--simulated-boot", "1h")
	if err != nil {
		return "", err
	}
	p.pid = p.process.PID
	return p.process.URL, nil
}

// stop ends the control plane in order, though ctx may be done.
func (p *plane) stop(ctx context.Context) error {
	if p.inside != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
		defer cancel()
		err := p.inside.Stop(ctx)
		p.inside = nil
		return err
	}
	return p.end(ctx, syscall.SIGTERM)
}

// kill ends the control plane's process at once.
func (p *plane) kill(ctx context.Context) error { return p.end(ctx, syscall.SIGKILL) }

func (p *plane) end(ctx context.Context, how syscall.Signal) error {
	if p.process == nil {
		return nil
	}
	return p.process.End(ctx, how)
}

// close ends the control plane and removes what it kept.
func (p *plane) close(ctx context.Context) error {
	return errors.Join(p.stop(ctx), os.RemoveAll(p.dir))
}
