// Command market measures the marketplace on a synthetic fleet: searching and
// placing, in memory, over HTTP and durably, beside the least that the same work
// can cost on the same machine. docs/performance.md tells how.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cpucloud/cpucloud/bench/internal/report"
)

// largeFleet is searched besides a tenth of it, unless it is left out.
const largeFleet = 1_000_000

// options are what the command was asked for.
type options struct {
	binary    string
	sizes     []int // of fleets, ascending
	large     bool
	rounds    int
	phase     time.Duration
	only      []string
	inProcess bool
	profile   string
}

// searched returns the sizes of fleets that are searched in memory.
func (o options) searched() []int {
	if o.large && o.size() == largeFleet/10 {
		return append(slices.Clone(o.sizes), largeFleet)
	}
	return o.sizes
}

// size returns the size of the fleet that control planes are given.
func (o options) size() int { return o.sizes[len(o.sizes)-1] }

// parts are the measurements, in their order: those that deploy come last.
var parts = []string{"search", "start", "offers", "place", "bulk", "mixed"}

func (o options) wants(part string) bool { return slices.Contains(o.only, part) }

func main() {
	var o options
	var sizes, only string
	flag.StringVar(&o.binary, "binary", "bin/cpucloud", "what to measure")
	flag.StringVar(&sizes, "n", "1000,10000,100000", "sizes of fleets; control planes are given the last one")
	flag.BoolVar(&o.large, "large", true, "search 1,000,000 servers as well, where the largest size is 100,000")
	flag.IntVar(&o.rounds, "rounds", 3, "rounds of each measurement, of which the median counts")
	flag.DurationVar(&o.phase, "d", 5*time.Second, "how long each round of a load takes")
	flag.StringVar(&only, "only", strings.Join(parts, ","), "what to measure")
	flag.BoolVar(&o.inProcess, "inprocess", false, "run control planes in this process, to profile them; none is killed then")
	flag.StringVar(&o.profile, "cpuprofile", "", "file for a profile of this process: of searches in memory, and with -inprocess of control planes")
	role := flag.String("role", "", "what a process that this command starts is for: load or floor")
	flag.Parse()
	report.Main(func(ctx context.Context) error {
		switch *role {
		case "load":
			return serveLoad(ctx, os.Stdin, os.Stdout)
		case "floor":
			return serveFloor(ctx, os.Stdout)
		}
		if err := o.parse(sizes, only); err != nil {
			return err
		}
		return benchAll(ctx, o)
	})
}

func (o *options) parse(sizes, only string) error {
	for text := range strings.SplitSeq(sizes, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || n < 1 || n > largeFleet {
			return fmt.Errorf("-n %s: %q is no size from 1 to %d", sizes, text, largeFleet)
		}
		o.sizes = append(o.sizes, n)
	}
	slices.Sort(o.sizes)
	for part := range strings.SplitSeq(only, ",") {
		if !slices.Contains(parts, part) {
			return fmt.Errorf("-only %s: %q is none of %s", only, part, strings.Join(parts, ", "))
		}
		o.only = append(o.only, part)
	}
	if o.rounds < 1 || o.phase < 100*time.Millisecond {
		return errors.New("-rounds is 1 or more, -d 100ms or more")
	}
	return nil
}
