// Command money measures billing: charging an epoch of up to 1,000,000 VMs,
// answering customers meanwhile, checking the whole ledger, and being killed in
// the middle. docs/performance.md tells how.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"

	"github.com/cpucloud/cpucloud/bench/internal/report"
)

// options are what the command was asked for.
type options struct {
	binary  string
	vms     int // that are billed
	entries int // that are checked
	rounds  int
	kills   int
	only    []string
	engines []string
	profile string
}

// parts are the measurements, in their order.
var parts = []string{"bill", "api", "kill", "fsck"}

const entriesPerVM = 10 // of those that are killed and checked: a week

func (o options) wants(part string) bool { return slices.Contains(o.only, part) }

func main() {
	var o options
	var only, engines string
	flag.StringVar(&o.binary, "binary", "bin/cpucloud", "what to measure")
	flag.IntVar(&o.vms, "vms", 1_000_000, "VMs to bill, each epoch of them at once")
	flag.IntVar(&o.entries, "entries", 1_000_000, "entries to check, of a tenth as many VMs")
	flag.IntVar(&o.rounds, "rounds", 3, "rounds of each measurement, of which the median counts")
	flag.IntVar(&o.kills, "kill", 10, "how often the control plane is killed while it bills")
	flag.StringVar(&only, "only", strings.Join(parts, ","), "what to measure")
	flag.StringVar(&engines, "engines", "sqlite,postgres", "databases to measure with")
	flag.StringVar(&o.profile, "cpuprofile", "", "file for a profile of this process, which bills, from the first epoch that is measured")
	flag.Parse()
	report.Main(func(ctx context.Context) error {
		if err := o.parse(only, engines); err != nil {
			return err
		}
		return benchAll(ctx, o)
	})
}

func (o *options) parse(only, engines string) (err error) {
	if o.only, err = choose("-only", only, parts); err != nil {
		return err
	}
	if o.engines, err = choose("-engines", engines, []string{"sqlite", "postgres"}); err != nil {
		return err
	}
	if o.vms < 1_000 || o.entries < 1_000*entriesPerVM || o.rounds < 1 || o.kills < 1 {
		return errors.New("-vms is 1000 or more, -entries 10000, -rounds and -kill 1")
	}
	return nil
}

func choose(flag, text string, known []string) (chosen []string, err error) {
	for one := range strings.SplitSeq(text, ",") {
		if !slices.Contains(known, one) {
			return nil, fmt.Errorf("%s %s: %q is none of %s", flag, text, one, strings.Join(known, ", "))
		}
		chosen = append(chosen, one)
	}
	return chosen, nil
}
