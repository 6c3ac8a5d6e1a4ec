// Package early makes a program that imports it do [confine.Main]'s work, when it
// is called for that, before most of its other packages are initialised. Those
// take four times as long as the work, and a machine waits for it.
//
// Packages are initialised in the order of their paths, each as soon as what it
// imports is (Go 1.21). If that were to change, a machine would start later and
// nothing else: main never runs for a helper.
package early

import (
	"fmt"
	"os"

	"github.com/cpucloud/cpucloud/internal/hypervisor/confine"
)

var _ = become()

// become returns only in a program that was called for something else.
func become() bool {
	if len(os.Args) > 1 && os.Args[1] == confine.Helper {
		fmt.Fprintln(os.Stderr, "Error:", confine.Main(os.Args[2:]))
		os.Exit(1)
	}
	return false
}
