// Command cpucloud is a cloud in one binary: the control plane, the agent of a
// provider's server, and the command line of customers, providers and operators.
package main

import (
	"context"
	"crypto/rand"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/cpucloud/cpucloud/internal/cli"
	_ "github.com/cpucloud/cpucloud/internal/hypervisor/confine/early" // this program is the machines' helper too
)

func main() {
	os.Exit(run())
}

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	syscall.Umask(0o077) // whatever is written here is for this user alone
	io := cli.IO{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Env: os.Getenv, Now: time.Now, Rand: rand.Reader}
	root := cli.New(io, upCommand(io), downCommand(io), serverCommand(io), agentCommand(io), networkHelperCommand())
	return cli.Execute(ctx, root, io)
}

// version returns what was built: a tag, or a revision.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
