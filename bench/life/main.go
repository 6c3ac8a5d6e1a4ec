// Command life measures what is done to a VM in its life: reboots, its console, and
// more. docs/performance.md tells how.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/cpucloud/cpucloud/bench/internal/cloud"
	"github.com/cpucloud/cpucloud/bench/internal/report"
	"github.com/cpucloud/cpucloud/bench/internal/rig"
)

// options are what the command was asked for.
type options struct {
	binary, images string
	rounds         int // of what takes seconds
	keys           int // that are pressed
}

// section is a part of the measurements. It prints its figures.
type section struct {
	name  string
	bench func(ctx context.Context, b *bench) error
}

// sections are all, in their order.
var sections = []section{
	{"reboot", benchReboot},
	{"console", benchConsole},
	{"sampling", benchSampling},
	{"metrics", benchMetrics},
}

// bench is what sections have: the options, and a cloud for those that ask for one.
type bench struct {
	options
	rig *rig.Rig
}

// cloud returns the cloud of this run, which is started when it is asked for first.
func (b *bench) cloud(ctx context.Context) (_ *rig.Rig, err error) {
	if b.rig == nil {
		report.Progress("starting a cloud")
		b.rig, err = rig.Open(ctx, cloud.Config{Binary: b.binary, Images: b.images, Flags: cloud.Loopback()})
	}
	return b.rig, err
}

func main() {
	var o options
	flag.StringVar(&o.binary, "binary", "bin/cpucloud", "what to measure")
	flag.StringVar(&o.images, "images", "build/images", "folder with the demo image")
	flag.IntVar(&o.rounds, "rounds", 7, "rounds of what takes seconds, of each side")
	flag.IntVar(&o.keys, "keys", 300, "keys to press at a console")
	only := flag.String("only", strings.Join(names(), ","), "what to measure")
	flag.Parse()
	report.Main(func(ctx context.Context) error {
		wanted, err := chosen(*only)
		if err != nil {
			return err
		}
		return run(ctx, &bench{options: o}, wanted)
	})
}

func names() []string {
	all := make([]string, len(sections))
	for i, s := range sections {
		all[i] = s.name
	}
	return all
}

// chosen reads a list of sections.
func chosen(text string) (wanted []section, err error) {
	for name := range strings.SplitSeq(text, ",") {
		i := slices.Index(names(), name)
		if i < 0 {
			return nil, fmt.Errorf("-only %s: %q is none of %s", text, name, strings.Join(names(), ", "))
		}
		wanted = append(wanted, sections[i])
	}
	return wanted, nil
}

func run(ctx context.Context, b *bench, wanted []section) (err error) {
	if err := report.Describe(os.Stderr); err != nil {
		return err
	}
	defer func() {
		if b.rig != nil {
			err = errors.Join(err, b.rig.Close(ctx))
		}
	}()
	for _, s := range wanted {
		if err := s.bench(ctx, b); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}
