package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/cpucloud/cpucloud/internal/agent"
	"github.com/cpucloud/cpucloud/internal/agent/discover"
	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/hypervisor"
	"github.com/cpucloud/cpucloud/internal/hypervisor/qemu"
	"github.com/cpucloud/cpucloud/internal/image"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/network/loopback"
)

// hostFlags say how this machine is used as a server of the marketplace.
type hostFlags struct {
	accelerator string
	pool        string
	mirrors     []string
	allow       []string
	oversell    int64
	hardware    capacity.Hardware
	total       capacity.Vector
}

func (h *hostFlags) register(flags *pflag.FlagSet, oversell int64) {
	flags.StringVar(&h.accelerator, "accelerator", "auto", "how VMs run: auto, kvm or tcg (software emulation); auto proves KVM first")
	flags.StringVar(&h.pool, "pool", loopback.DefaultPool.String(), "public addresses of the VMs, within 127.0.0.0/8")
	flags.StringArrayVar(&h.mirrors, "mirror", nil, "fetch images from elsewhere: URL-PREFIX=OTHER-PREFIX (repeatable)")
	flags.StringArrayVar(&h.allow, "allow-host", nil, "a private host that images may be fetched from, HOST or HOST:PORT (repeatable)")
	flags.Int64Var(&h.oversell, "vcpu-per-thread", oversell, "how often each hardware thread is sold; offers show it")
	flags.Int64Var(&h.total.VCPU, "vcpu", 0, "vCPUs to sell (0: found by looking)")
	flags.Int64Var(&h.total.RAMGiB, "ram", 0, "GiB of memory to sell (0: found by looking, a share is kept for the host)")
	flags.Int64Var(&h.total.StorageGiB, "storage", 0, "GiB of disk to sell (0: found by looking, a share is kept for the host)")
	flags.StringVar(&h.hardware.CPU.Manufacturer, "cpu-manufacturer", "", "correct what was found, such as AMD")
	flags.StringVar(&h.hardware.CPU.Brand, "cpu-brand", "", "correct what was found, such as EPYC")
	flags.StringVar(&h.hardware.CPU.Architecture, "cpu-architecture", "", "correct what was found, such as Zen")
	flags.StringVar(&h.hardware.CPU.Generation, "cpu-generation", "", "correct what was found, such as 4")
	flags.StringVar(&h.hardware.Memory.Type, "memory-type", "", "correct what was found, such as DDR")
	flags.StringVar(&h.hardware.Memory.Generation, "memory-generation", "", "correct what was found, such as 5")
	flags.StringVar(&h.hardware.Storage.Type, "storage-type", "", "correct what was found: HDD, SSD or NVMe")
}

// host is this machine as the agent uses it.
type host struct {
	dir        string
	hypervisor *qemu.Driver
	network    *loopback.Driver
	images     *image.Cache
	flags      hostFlags
	pool       netip.Prefix
	log        *slog.Logger
}

// openHost opens the drivers over dir; nothing is started yet. Hosts in trusted
// may be fetched from though they are private.
func openHost(dir string, flags hostFlags, trusted []string, log *slog.Logger) (*host, error) {
	pool := loopback.DefaultPool
	if flags.pool != "" {
		var err error
		if pool, err = netip.ParsePrefix(flags.pool); err != nil {
			return nil, fault.Newf(fault.Invalid, "--pool: %q is not a prefix such as 127.77.0.0/16", flags.pool)
		}
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find own program: %w", err)
	}
	h := &host{dir: dir, flags: flags, pool: pool, log: log}
	h.hypervisor, err = qemu.New(qemu.Config{
		Dir: filepath.Join(dir, "host", "qemu"), Accelerator: qemu.Accelerator(flags.accelerator), Now: time.Now, Log: log,
	})
	if err != nil {
		return nil, err
	}
	h.network, err = loopback.New(loopback.Config{
		Dir: filepath.Join(dir, "host", "network"), Command: []string{self, networkHelper}, Pool: pool, Now: time.Now, Log: log,
	})
	if err != nil {
		return nil, err
	}
	h.images, err = openImages(filepath.Join(dir, "host", "images"), flags, trusted, log)
	return h, err
}

// inventory proves the hypervisor and looks at the machine.
func (h *host) inventory(ctx context.Context) (capacity.Inventory, hypervisor.Facts, error) {
	facts, err := h.hypervisor.Probe(ctx)
	if err != nil {
		return capacity.Inventory{}, facts, err
	}
	found, err := discover.Server(ctx, discover.Config{
		Dir: h.dir, VCPUPerThread: h.flags.oversell, Hardware: h.flags.hardware, Total: h.flags.total,
	})
	if err != nil {
		return capacity.Inventory{}, facts, err
	}
	size, err := market.PoolSize(h.pool)
	if err != nil {
		return capacity.Inventory{}, facts, err
	}
	if len(found.Assumed) > 0 {
		h.log.InfoContext(ctx, "some hardware could not be read and is taken as usual; flags correct it", "assumed", found.Assumed)
	}
	found.Total.Addresses = size
	return capacity.Inventory{
		Hardware: found.Hardware, Total: found.Total, VCPUPerThread: h.flags.oversell, Pool: h.pool,
		Hypervisor: "QEMU " + facts.Version, Accelerator: facts.Accelerator,
	}, facts, nil
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

// agent returns the agent of this machine, whose control plane is at url.
func (h *host) agent(url string, inv capacity.Inventory) *agent.Agent {
	return agent.New(agent.Config{
		Dir: h.dir, URL: url, Hypervisor: h.hypervisor, Network: h.network, Disks: h.images, Inventory: inv,
		Log: h.log, Now: time.Now, Rand: rand.Reader,
	})
}

// hostPort returns host:port of a URL, as --allow-host takes it.
func hostPort(u string) string {
	parsed, err := url.Parse(u)
	if err != nil {
		return ""
	}
	return parsed.Host
}
