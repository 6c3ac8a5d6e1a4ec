package main

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cpucloud/cpucloud/internal/agent"
	"github.com/cpucloud/cpucloud/internal/agent/discover"
	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/hypervisor"
	"github.com/cpucloud/cpucloud/internal/hypervisor/qemu"
	"github.com/cpucloud/cpucloud/internal/image"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/network"
)

// host is this machine as the agent uses it.
type host struct {
	dir        string
	hypervisor *qemu.Driver
	network    network.Driver
	images     *image.Cache
	store      *http.Client // reaches stores of exports
	flags      hostFlags
	pool       netip.Prefix
	roots      *x509.CertPool // who is believed; nil is the system's list
	log        *slog.Logger
}

// openHost opens the drivers over dir; nothing is started yet. Hosts in trusted
// may be fetched from though they are private.
func openHost(ctx context.Context, dir string, flags hostFlags, trusted []string, log *slog.Logger) (*host, error) {
	if err := flags.net.recall(dir); err != nil {
		return nil, err
	}
	h, err := lookAtHost(ctx, dir, flags, log)
	if err != nil {
		return nil, err
	}
	if h.network, err = flags.net.open(dir, log); err != nil {
		return nil, err
	}
	if err := flags.net.keep(dir); err != nil {
		return nil, err
	}
	door, err := guardOf(flags.images, trusted, h.roots)
	if err != nil {
		return nil, err
	}
	h.store = door.Client()
	h.images, err = openImages(imagesDir(dir), flags.images, trusted, h.roots, log)
	return h, err
}

// lookAtHost opens no more than it takes to look at the machine, also while an
// agent runs in dir.
func lookAtHost(ctx context.Context, dir string, flags hostFlags, log *slog.Logger) (*host, error) {
	pool, err := flags.net.pool()
	if err != nil {
		return nil, err
	}
	switch flags.benchmark {
	case benchmarkAuto, benchmarkAsked, benchmarkOff, "":
	default:
		return nil, fault.Newf(fault.Invalid, "--benchmark is auto, asked or off, not %q", flags.benchmark)
	}
	roots, err := authorities(flags.caFile)
	if err != nil {
		return nil, err
	}
	users := qemu.DefaultUsers
	if flags.users != "" {
		if users, err = qemu.ParseUsers(flags.users); err != nil {
			return nil, fault.Newf(fault.Invalid, "--vm-uids: %s", fault.Message(err))
		}
	}
	if flags.ioWeight < 0 || flags.ioWeight > 10_000 {
		return nil, fault.Newf(fault.Invalid, "--vm-io-weight is 1 to 10000, not %d", flags.ioWeight)
	}
	driver, err := qemu.New(ctx, qemu.Config{
		Dir: filepath.Join(dir, "host", "qemu"), Accelerator: qemu.Accelerator(flags.accelerator), Users: users, IOWeight: flags.ioWeight,
		Now: time.Now, Log: log,
	})
	return &host{dir: dir, hypervisor: driver, flags: flags, pool: pool, roots: roots, log: log}, err
}

// inventory proves the hypervisor and looks at the machine.
func (h *host) inventory(ctx context.Context) (capacity.Inventory, hypervisor.Facts, error) {
	if err := h.proveNetwork(ctx); err != nil {
		return capacity.Inventory{}, hypervisor.Facts{}, err
	}
	facts, err := h.hypervisor.Probe(ctx)
	if err != nil {
		return capacity.Inventory{}, facts, err
	}
	found, err := h.discover(ctx)
	if err != nil {
		return capacity.Inventory{}, facts, err
	}
	size, err := market.PoolSize(h.pool)
	if err != nil {
		return capacity.Inventory{}, facts, err
	}
	if found.Total.RAMGiB > found.Installed && !h.flags.anyRAM {
		return capacity.Inventory{}, facts, fault.Newf(fault.Invalid,
			"--ram %d is more than the %d GiB that this machine has, and a share of it is for the host: sell less", found.Total.RAMGiB, found.Installed)
	}
	if len(found.Assumed) > 0 {
		h.log.InfoContext(ctx, "some hardware could not be read and is taken as usual; flags correct it", "assumed", found.Assumed)
	}
	found.Total.Addresses = size
	return capacity.Inventory{
		Hardware: found.Hardware, Total: found.Total, VCPUPerThread: h.flags.oversell, Pool: h.pool,
		Hypervisor: "QEMU " + facts.Version, Accelerator: facts.Accelerator, Details: found.Details, Declared: found.Declared,
	}, facts, nil
}

// discover looks at the machine.
func (h *host) discover(ctx context.Context) (discover.Found, error) {
	return discover.Server(ctx, discover.Config{
		Dir: h.dir, VCPUPerThread: h.flags.oversell, Hardware: h.flags.hardware, Total: h.flags.total,
	})
}

// describe tells the operator how this machine is used. The hypervisor may give
// a long reason; the log has all of it.
func describe(w io.Writer, facts hypervisor.Facts, inv capacity.Inventory) {
	reason, _, _ := strings.Cut(facts.Reason, ";")
	warnOfPorts(w)
	fmt.Fprintf(w, "VMs run by QEMU %s with %s: %s\nThis machine sells %s\n", facts.Version, facts.Accelerator, reason, inv.Total)
}

// warnOfPorts tells an operator who is not root when no VM would be reachable.
func warnOfPorts(w io.Writer) {
	const setting, ssh = "/proc/sys/net/ipv4/ip_unprivileged_port_start", 22
	text, err := os.ReadFile(setting)
	if err != nil || os.Geteuid() == 0 {
		return
	}
	if first, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && first > ssh {
		fmt.Fprintf(w, "Warning: you are not root, and ports below %d are closed to other users, so no VM can answer SSH.\n"+
			"Allow them with: sudo sysctl -w net.ipv4.ip_unprivileged_port_start=%d\n", first, ssh)
	}
}

// agent returns the agent of this machine, whose control plane is at url. A nil
// client means one with defaults.
func (h *host) agent(url string, client *http.Client, inv capacity.Inventory) *agent.Agent {
	c := agent.Config{
		Dir: h.dir, URL: url, HTTP: client, Hypervisor: h.hypervisor, Network: h.network, Disks: h.images, Store: h.store, Inventory: inv,
		Log: h.log, Now: time.Now, Rand: rand.Reader, OnRequest: h.flags.benchmark != benchmarkAuto,
	}
	if h.flags.benchmark != benchmarkOff {
		c.Measure = func(ctx context.Context) (capacity.Measured, error) { return h.measure(ctx, url) }
	}
	return agent.New(c)
}

// hostPort returns host:port of a URL, as --allow-host takes it.
func hostPort(u string) string {
	parsed, err := url.Parse(u)
	if err != nil {
		return ""
	}
	return parsed.Host
}
