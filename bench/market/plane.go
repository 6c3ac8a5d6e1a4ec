package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/cpucloud/cpucloud/bench/internal/process"
	"github.com/cpucloud/cpucloud/bench/internal/report"
	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/server"
)

const (
	startWithin = 2 * time.Minute
	lookEvery   = 2 * time.Millisecond
	balance     = "1000000000" // USDC, enough for all
)

// plane is a control plane with the fleet in its marketplace, and an account
// that deploys.
type plane struct {
	engine   string // sqlite or postgres
	binary   string // "" runs it in this process
	database string
	dir      string
	fleet    []machine

	pid    process.PID
	ended  chan struct{}
	inside *server.Server
	cloud  *client.Client // of the account
	key    string
	ids    []string // of all VMs that were acknowledged
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
	log, err := os.Create(p.path("log"))
	if err != nil {
		return "", err
	}
	defer log.Close() //nolint:errcheck // the control plane has it by then
	// stop ends it, in order.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), p.binary, "server", "--data", p.dir, "--listen", "127.0.0.1:0",
		"--database", p.database, "--allow-simulation", "--simulated-boot", "1h")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the bench
	if err := cmd.Start(); err != nil {
		return "", err
	}
	ended := make(chan struct{})
	p.pid, p.ended = process.PID(cmd.Process.Pid), ended
	go func() {
		_ = cmd.Wait() // its log says more
		close(ended)
	}()
	return p.ready(ctx)
}

// ready waits until the control plane says where it answers.
func (p *plane) ready(ctx context.Context) (url string, err error) {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	for {
		said, err := os.ReadFile(p.path("log"))
		if err != nil {
			return "", err
		}
		if _, rest, ok := bytes.Cut(said, []byte("answers at ")); ok {
			if line, _, whole := bytes.Cut(rest, []byte("\n")); whole {
				return string(line), nil
			}
		}
		select {
		case <-p.ended:
			return "", fmt.Errorf("it ended: %s", said)
		default:
		}
		if err := report.Pause(ctx, lookEvery); err != nil {
			return "", fmt.Errorf("%w: %s", err, said)
		}
	}
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
	if p.ended == nil {
		return nil
	}
	_ = syscall.Kill(int(p.pid), how) // it may have ended
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	select {
	case <-p.ended:
		p.ended = nil
		return nil
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("the control plane, process %d, did not end", p.pid), syscall.Kill(int(p.pid), syscall.SIGKILL))
	}
}

// close ends the control plane and removes what it kept.
func (p *plane) close(ctx context.Context) error {
	return errors.Join(p.stop(ctx), os.RemoveAll(p.dir))
}
