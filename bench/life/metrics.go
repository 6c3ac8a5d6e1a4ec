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

// benchMetrics measures what it takes to keep metrics, on a database of each kind.
func benchMetrics(ctx context.Context, _ *bench) (err error) {
	dir, err := os.MkdirTemp("", "cpucloud-life.")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := benchKeeping(ctx, "sqlite", filepath.Join(dir, "day.db"), filepath.Join(dir, "weeks.db")); err != nil {
		return fmt.Errorf("sqlite: %w", err)
	}
	server, err := postgres.Start(ctx, "day", "weeks")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Stop(context.WithoutCancel(ctx))) }()
	if err := benchKeeping(ctx, "postgres", server.URL("day"), server.URL("weeks")); err != nil {
		return fmt.Errorf("postgres: %w", err)
	}
	return nil
}

// benchKeeping has agents tell of many VMs for a day, and of a tenth of them for more
// than two weeks, in the time of a clock that leaps.
func benchKeeping(ctx context.Context, engine, day, weeks string) error {
	const mib, kib = 1 << 20, 1 << 10
	report.Progress("metrics: a day of %d VMs on %s", meteredVMs, engine)
	grown, took, err := keep(ctx, engine, day, meteredVMs/perServer, 24*time.Hour, time.Minute)
	if err != nil {
		return err
	}
	if err := report.Print(
		report.Figure{Name: "metrics.day." + engine, Value: float64(grown.stored) / mib, Unit: "MiB", Bar: dayBar},
		report.Figure{Name: "metrics.written." + engine, Value: float64(grown.written) / mib, Unit: "MiB"},
		report.Figure{Name: "metrics.minute." + engine, Value: took.Seconds() * 1000 / (24 * 60), Unit: "ms"},
	); err != nil {
		return err
	}
	report.Progress("metrics: 16 days of %d VMs on %s", perServer, engine) // told by the hour, which is as much to store
	if grown, _, err = keep(ctx, engine, weeks, 1, 16*24*time.Hour, time.Hour); err != nil {
		return err
	}
	return report.Print(report.Figure{Name: "metrics.each." + engine, Value: float64(grown.stored) / perServer / kib, Unit: "KiB", Bar: eachBar})
}

// keep lets time pass for servers of a new control plane, and returns what its database
// grew by, and how long that took.
func keep(ctx context.Context, engine, url string, servers int, d, period time.Duration) (grown footprint, took time.Duration, err error) {
	k, err := openKeeping(ctx, url, servers)
	if err != nil {
		return grown, 0, err
	}
	defer func() { err = errors.Join(err, k.close()) }()
	if engine == "postgres" {
		k.vacuum = vacuumOf(url)
	}
	before, err := k.measure(ctx, engine, url)
	if err != nil {
		return grown, 0, err
	}
	if took, err = k.pass(ctx, d, period); err != nil {
		return grown, 0, err
	}
	after, err := k.measure(ctx, engine, url)
	return footprint{after.stored - before.stored, after.written - before.written}, took, err
}
