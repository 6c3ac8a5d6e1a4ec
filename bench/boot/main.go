// Command boot measures how long a customer waits: for the answer to
// POST /vms/v3, and from there to the first command by SSH, beside a bare QEMU
// that starts the same disk. docs/performance.md tells how.
package main

import (
	"context"
	"flag"

	"github.com/cpucloud/cpucloud/bench/internal/report"
)

func main() {
	binary := flag.String("binary", "bin/cpucloud", "what to measure")
	images := flag.String("images", "build/images", "folder with the demo image")
	rounds := flag.Int("rounds", 5, "boots of each side")
	posts := flag.Int("posts", 300, "deployments to time, 0 for none")
	flag.Parse()
	report.Main(func(ctx context.Context) error {
		if *posts > 0 {
			if err := benchPost(ctx, *posts); err != nil {
				return err
			}
		}
		if *rounds > 0 {
			return benchBoot(ctx, *binary, *images, *rounds)
		}
		return nil
	})
}
