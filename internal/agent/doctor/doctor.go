// Package doctor finds out whether a machine can be a server of a marketplace,
// and what to do where it can't.
package doctor

import (
	"cmp"
	"context"
	"net/http"
	"net/netip"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/hypervisor"
)

// Status is how a check went.
type Status string

// The statuses. A server can't work with a Fail; a Warn makes it slower, less
// safe, or of less use.
const (
	Pass Status = "pass"
	Warn Status = "warn"
	Fail Status = "fail"
)

// Result is one check.
type Result struct {
	Name   string `json:"name"`
	Status Status `json:"status"`
	Found  string `json:"found"`
	Fix    string `json:"fix,omitempty"` // what to do unless it passed
}

// Config says what is looked at. The fields of the first group are needed.
type Config struct {
	Dir   string // where the VMs' disks are
	Pool  netip.Prefix
	Now   func() time.Time
	Probe func(context.Context) (hypervisor.Facts, error) // runs a guest

	Network func(context.Context) []Result // the checks of routed addresses, in place of the loopback network's; nil is loopback

	URL    string                                                             // of the control plane; "" is not looked at
	HTTP   *http.Client                                                       // nil means one with defaults
	Sold   capacity.Vector                                                    // what the machine is to sell, 0 if that isn't known
	Root   string                                                             // of the host's file system; "" is /
	Sync   func() (synchronised, known bool)                                  // of the clock; nil asks the kernel
	Tool   func(ctx context.Context, name string) (version string, err error) // nil runs it
	Fsync  func(context.Context) (milliseconds float64, err error)            // nil measures Dir
	Rights func() (root bool)                                                 // nil asks the kernel
}

// Examine makes all checks, in the order in which they are best mended.
func Examine(ctx context.Context, c Config) []Result {
	c = c.withDefaults()
	facts, err := c.Probe(ctx)
	results := []Result{
		c.tool(ctx, "qemu-system-x86_64", "qemu-system-x86"),
		c.tool(ctx, "qemu-img", "qemu-utils"),
		virtualisation(facts, err),
		c.space(),
		c.latency(ctx),
		c.memory(),
	}
	if c.Network != nil {
		results = append(results, c.Network(ctx)...)
	} else {
		results = append(results, c.ports(), c.pool(ctx))
	}
	if err == nil {
		results = append(results, confinement(facts), limits(facts))
	}
	if r, known := c.synchronised(); known {
		results = append(results, r)
	}
	return append(results, c.controlPlane(ctx)...)
}

// Failed returns the results that keep a machine from being a server.
func Failed(all []Result) []Result {
	var failed []Result
	for _, r := range all {
		if r.Status == Fail {
			failed = append(failed, r)
		}
	}
	return failed
}

func (c Config) withDefaults() Config {
	c.Root = cmp.Or(c.Root, "/")
	if c.HTTP == nil {
		c.HTTP = &http.Client{}
	}
	if c.Sync == nil {
		c.Sync = kernelClock
	}
	if c.Tool == nil {
		c.Tool = runTool
	}
	if c.Fsync == nil {
		c.Fsync = c.fsync
	}
	if c.Rights == nil {
		c.Rights = isRoot
	}
	return c
}

// host returns the path of a file of the host.
func (c Config) host(name string) string { return filepath.Join(c.Root, name) }

func pass(name, found string) Result { return Result{Name: name, Status: Pass, Found: found} }

func warn(name, found, fix string) Result {
	return Result{Name: name, Status: Warn, Found: found, Fix: fix}
}

func fail(name, found, fix string) Result {
	return Result{Name: name, Status: Fail, Found: found, Fix: fix}
}

// runTool asks a program on the PATH for the first line about its version.
func runTool(ctx context.Context, name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "--version")
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	return firstLine(string(out)), err
}
