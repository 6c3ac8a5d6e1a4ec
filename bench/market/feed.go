package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/cpucloud/cpucloud/bench/internal/controlplane"
	"github.com/cpucloud/cpucloud/bench/internal/process"
	"github.com/cpucloud/cpucloud/bench/internal/report"
	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/server"
)

// feedAtOnce is how many servers one request adds.
const feedAtOnce = 8_000

// feed adds the fleet as simulated servers.
func (p *plane) feed(ctx context.Context, operator *client.Client) error {
	for from := 0; from < len(p.fleet); from += feedAtOnce {
		to := min(from+feedAtOnce, len(p.fleet))
		var lines bytes.Buffer
		if err := writeFleet(&lines, p.fleet[from:to]); err != nil {
			return err
		}
		n, err := operator.SimulateFleet(ctx, lines.String(), to < len(p.fleet))
		if err != nil {
			return err
		}
		if n != to-from {
			return fmt.Errorf("%d servers were added, not %d", n, to-from)
		}
	}
	return nil
}

// operator returns a client that may do all.
func (p *plane) operator(ctx context.Context) (*client.Client, error) {
	if p.inside != nil {
		_, key, err := p.inside.Control.CreateAccount(ctx, control.System, "operator", account.Operator)
		return client.New(p.inside.URL, key), err
	}
	key, err := controlplane.OperatorKey(p.dir)
	return client.New(p.cloud.URL(), key), err
}

// startInside starts the control plane in this process.
func (p *plane) startInside(ctx context.Context) (url string, err error) {
	p.pid = process.PID(os.Getpid())
	p.inside, err = server.Start(ctx, server.Config{
		Listen: "127.0.0.1:0", Database: p.database, Version: "bench", Epoch: 24 * time.Hour, Retention: 7 * 24 * time.Hour, KeepDisks: 24 * time.Hour,
		Simulation: true, SimulatedBoot: time.Hour, Now: report.Now, Rand: rand.Reader, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return "", err
	}
	return p.inside.URL, nil
}
