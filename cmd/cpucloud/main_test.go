package main

import (
	"fmt"
	"os"
	"testing"

	"github.com/cpucloud/cpucloud/internal/hypervisor/confine"
)

// The program of these tests starts VMs as cpucloud does: by itself.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == confine.Helper {
		fmt.Fprintln(os.Stderr, confine.Main(os.Args[2:]))
		os.Exit(1)
	}
	os.Exit(m.Run())
}
