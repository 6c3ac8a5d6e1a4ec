package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/cpucloud/cpucloud/bench/internal/postgres"
	"github.com/cpucloud/cpucloud/bench/internal/report"
)

// What is promised of metrics.
const (
	meteredVMs  = 1000 // for a day
	perServer   = 100
	samplingBar = "<= 1"   // % of a core for 100 VMs
	dayBar      = "<= 200" // MiB
	eachBar     = "<= 200" // KiB
)

// benchMetrics measures what metrics cost: an agent that reads and tells them, and a
// control plane that keeps them.
func benchMetrics(ctx context.Context, _ *bench) error {
	if err := benchSampling(ctx); err != nil {
		return fmt.Errorf("sampling: %w", err)
	}
	return onBoth(ctx, benchKeeping)
}

// onBoth measures on a database of each kind.
func onBoth(ctx context.Context, measure func(ctx context.Context, engine, url string) error) (err error) {
	dir, err := os.MkdirTemp("", "cpucloud-life.")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := measure(ctx, "sqlite", filepath.Join(dir, "cloud.db")); err != nil {
		return fmt.Errorf("sqlite: %w", err)
	}
	server, err := postgres.Start(ctx, "day")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Stop(context.WithoutCancel(ctx))) }()
	if err := measure(ctx, "postgres", server.URL("day")); err != nil {
		return fmt.Errorf("postgres: %w", err)
	}
	return nil
}

// benchKeeping has agents tell of VMs for a day, then of a tenth of them for two weeks
// more, in the time of a clock that leaps.
func benchKeeping(ctx context.Context, engine, url string) (err error) {
	k, err := openKeeping(ctx, url, meteredVMs/perServer)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, k.close()) }()
	before, err := k.measure(ctx, engine, url)
	if err != nil {
		return err
	}
	report.Progress("metrics: a day of %d VMs on %s", meteredVMs, engine)
	took, err := k.pass(ctx, 24*time.Hour, k.servers)
	if err != nil {
		return err
	}
	day, err := k.measure(ctx, engine, url)
	if err != nil {
		return err
	}
	const mib, kib = 1 << 20, 1 << 10
	name := func(figure string) string { return "metrics_" + figure + "_" + engine }
	if err := report.Print(
		report.Figure{Name: name("day_stored"), Value: float64(day.stored-before.stored) / mib, Unit: "MiB", Bar: dayBar},
		report.Figure{Name: name("day_written"), Value: float64(day.written-before.written) / mib, Unit: "MiB", Bar: dayBar},
		report.Figure{Name: name("minute"), Value: took.Seconds() * 1000 / (24 * 60), Unit: "ms"},
	); err != nil {
		return err
	}
	report.Progress("metrics: two weeks more of %d VMs on %s", perServer, engine)
	if _, err := k.pass(ctx, 15*24*time.Hour, k.servers[:1]); err != nil {
		return err
	}
	end, err := k.measure(ctx, engine, url)
	if err != nil {
		return err
	}
	return report.Print(report.Figure{Name: name("each"), Value: float64(end.stored-before.stored) / perServer / kib, Unit: "KiB", Bar: eachBar})
}
