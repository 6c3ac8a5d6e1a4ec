// Command life measures what is done to a VM in its life. docs/performance.md tells
// how.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/cpucloud/cpucloud/bench/internal/report"
)

// section is a part of the measurements. It prints its figures.
type section struct {
	name  string
	bench func(ctx context.Context, b *bench) error
}

// sections are all, in their order.
var sections = []section{
	{"sampling", benchSampling},
	{"metrics", benchMetrics},
}

// bench is what sections have.
type bench struct{}

func main() {
	only := flag.String("only", strings.Join(names(), ","), "what to measure")
	flag.Parse()
	report.Main(func(ctx context.Context) error {
		if err := report.Describe(os.Stderr); err != nil {
			return err
		}
		for name := range strings.SplitSeq(*only, ",") {
			i := slices.Index(names(), name)
			if i < 0 {
				return fmt.Errorf("-only: %q is none of %s", name, strings.Join(names(), ", "))
			}
			if err := sections[i].bench(ctx, &bench{}); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		return nil
	})
}

func names() []string {
	all := make([]string, len(sections))
	for i, s := range sections {
		all[i] = s.name
	}
	return all
}
