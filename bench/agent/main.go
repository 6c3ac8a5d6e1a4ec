// Command agent measures what the agent of a provider's server adds to its VMs:
// to their starts, alone and together, to what they send, and to the memory of
// the server. docs/performance.md tells how.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cpucloud/cpucloud/bench/internal/report"
	"github.com/cpucloud/cpucloud/bench/internal/space"
)

// options are what the command was asked for.
type options struct {
	binary, images string
	rounds         int // of boots
	orders         int
	vms            int // started at once
	together       int // rounds of that
	streams        int // rounds of them
	fakes          int
	network        string
	transfer       time.Duration // of each stream
	patches        int
	only           []string
}

// parts are the measurements, in their order.
var parts = []string{"memory", "order", "ports", "throughput", "boot", "eight"}

func (o options) wants(part string) bool { return slices.Contains(o.only, part) }

func main() {
	var o options
	flag.StringVar(&o.binary, "binary", "bin/cpucloud", "what to measure")
	flag.StringVar(&o.images, "images", "build/images", "folder with the demo image")
	flag.IntVar(&o.rounds, "rounds", 7, "boots of each side")
	flag.IntVar(&o.orders, "orders", 30, "orders to time")
	flag.IntVar(&o.vms, "vms", 8, "VMs to start at once")
	flag.IntVar(&o.together, "together", 3, "rounds in which VMs are started at once")
	flag.IntVar(&o.streams, "streams", 8, "streams of each side and direction")
	flag.IntVar(&o.fakes, "fakes", 50, "VMs in memory alone that an agent keeps")
	flag.DurationVar(&o.transfer, "d", 3*time.Second, "how long each stream takes")
	flag.IntVar(&o.patches, "patches", 30, "changes of ports to time")
	flag.StringVar(&o.network, "network", "routed", "driver of the VMs' network: routed (by root) or loopback")
	only := flag.String("only", strings.Join(parts, ","), "what to measure")
	role := flag.String("role", "", "what a process that this command starts is for: keeper")
	flag.Parse()
	report.Main(func(ctx context.Context) error {
		if *role == "keeper" {
			return keep(ctx, os.Stdin)
		}
		var err error
		if o.only, err = chosen(*only); err != nil {
			return err
		}
		if o.network == "routed" {
			if err := space.Enter(ctx); err != nil {
				return err
			}
		}
		return bench(ctx, o)
	})
}

// chosen reads a list of parts.
func chosen(text string) ([]string, error) {
	only := strings.Split(text, ",")
	for _, part := range only {
		if !slices.Contains(parts, part) {
			return nil, fmt.Errorf("-only %s: %q is none of %s", text, part, strings.Join(parts, ", "))
		}
	}
	return only, nil
}

func bench(ctx context.Context, o options) error {
	if err := report.Describe(os.Stderr); err != nil {
		return err
	}
	if o.wants("memory") {
		if err := benchMemory(ctx, o); err != nil {
			return fmt.Errorf("memory: %w", err)
		}
	}
	if slices.ContainsFunc(o.only, func(part string) bool { return part != "memory" }) {
		return benchSite(ctx, o)
	}
	return nil
}

// benchSite measures what needs real machines.
func benchSite(ctx context.Context, o options) (err error) {
	s, err := openSite(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close(ctx)) }()
	for _, part := range []struct {
		name  string
		bench func(context.Context, *site, options) error
	}{{"order", benchOrder}, {"ports", benchPorts}, {"throughput", benchThroughput}, {"boot", benchBoot}, {"eight", benchEight}} {
		if !o.wants(part.name) {
			continue
		}
		if err := part.bench(ctx, s, o); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil
}
