package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/cpucloud/cpucloud/internal/agent/doctor"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/network"
	"github.com/cpucloud/cpucloud/internal/network/loopback"
	"github.com/cpucloud/cpucloud/internal/network/routed"
)

// The values of --network.
const (
	networkLoopback = "loopback"
	networkRouted   = "routed"
)

// networkFlags say how VMs get their addresses. They are kept in the data
// folder for commands that have no flags of their own, as `cpucloud down`.
type networkFlags struct {
	Kind      string   `json:"kind"`
	Uplink    string   `json:"uplink,omitempty"`
	Pool      string   `json:"pool,omitempty"`
	Pool6     string   `json:"pool6,omitempty"`
	Announce  string   `json:"announce,omitempty"`
	SMTP      bool     `json:"smtp,omitempty"`
	Bandwidth string   `json:"bandwidth,omitempty"`
	Allow     []string `json:"allow,omitempty"`
	DNS       []string `json:"dns,omitempty"`
}

func (n *networkFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&n.Kind, "network", networkLoopback, "how VMs get their addresses: loopback (for this machine alone) or routed (public ones; needs root)")
	flags.StringVar(&n.Pool, "pool", "", "IPv4 addresses of the VMs: with loopback within 127.0.0.0/8 ("+loopback.DefaultPool.String()+" if not given), with routed those that are yours")
	flags.StringVar(&n.Pool6, "pool6", "", "with routed: IPv6 addresses of the VMs, at least as many")
	flags.StringVar(&n.Uplink, "uplink", "", "with routed: the interface to the internet (the default route's if not given)")
	flags.StringVar(&n.Announce, "announce", string(routed.Proxy), "with routed: proxy (answer ARP and neighbour discovery for each address) or route (a router sends the pool here)")
	flags.BoolVar(&n.SMTP, "smtp", false, "with routed: let VMs send mail, to port 25")
	flags.StringVar(&n.Bandwidth, "bandwidth", "1gbit", "with routed: what one VM may send, and receive, such as 200mbit; 0 is no limit")
	flags.StringArrayVar(&n.Allow, "allow-net", nil, "a private network that VMs may reach all the same, such as 10.1.2.0/24 (repeatable)")
	flags.StringArrayVar(&n.DNS, "dns", nil, "with routed: a name server of the VMs (repeatable; 1.1.1.1 and 9.9.9.9 if not given)")
}

// pool returns the VMs' IPv4 addresses.
func (n *networkFlags) pool() (netip.Prefix, error) {
	switch {
	case n.Kind != networkRouted && n.Kind != networkLoopback && n.Kind != "":
		return netip.Prefix{}, fault.Newf(fault.Invalid, "--network is %s or %s, not %q", networkLoopback, networkRouted, n.Kind)
	case n.Pool == "" && n.Kind == networkRouted:
		return netip.Prefix{}, fault.New(fault.Invalid, "--network routed needs --pool with the public addresses that are for VMs, such as 198.51.100.64/27")
	case n.Pool == "":
		return loopback.DefaultPool, nil
	}
	p, err := netip.ParsePrefix(n.Pool)
	if err != nil {
		return p, fault.Newf(fault.Invalid, "--pool: %q is not a prefix such as 127.77.0.0/16", n.Pool)
	}
	return p, nil
}

// open returns the driver that the flags ask for, over folders within dir.
func (n *networkFlags) open(dir string, log *slog.Logger) (network.Driver, error) {
	pool, err := n.pool()
	if err != nil {
		return nil, err
	}
	if n.Kind == networkRouted {
		return n.routed(dir, log)
	}
	allow, err := prefixes("--allow-net", n.Allow)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find own program: %w", err)
	}
	return loopback.New(loopback.Config{
		Dir: filepath.Join(dir, "host", "network"), Command: []string{self, networkHelper}, Pool: pool, Allow: allow, Now: time.Now, Log: log,
	})
}

func (n *networkFlags) routed(dir string, log *slog.Logger) (*routed.Driver, error) {
	pool, err := n.pool()
	if err != nil {
		return nil, err
	}
	c := routed.Config{
		Dir: filepath.Join(dir, "host", "routed"), Uplink: n.Uplink, Pool: pool, Announce: routed.Announce(n.Announce), SMTP: n.SMTP, Log: log,
	}
	if c.Uplink == "" {
		if c.Uplink, err = routed.DefaultUplink(); err != nil {
			return nil, err
		}
	}
	if n.Pool6 != "" {
		if c.Pool6, err = netip.ParsePrefix(n.Pool6); err != nil {
			return nil, fault.Newf(fault.Invalid, "--pool6: %q is not a prefix such as 2001:db8:1::/64", n.Pool6)
		}
	}
	if c.Allow, err = prefixes("--allow-net", n.Allow); err != nil {
		return nil, err
	}
	for _, s := range n.DNS {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return nil, fault.Newf(fault.Invalid, "--dns: %q is not an address", s)
		}
		c.DNS = append(c.DNS, a)
	}
	if c.Rate, err = bitsPerSecond(n.Bandwidth); err != nil {
		return nil, err
	}
	return routed.New(c)
}

func prefixes(flag string, texts []string) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, s := range texts {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fault.Newf(fault.Invalid, "%s: %q is not a prefix such as 10.1.2.0/24", flag, s)
		}
		all = append(all, p)
	}
	return all, nil
}

// bitsPerSecond reads a rate as tc(8) writes it.
func bitsPerSecond(s string) (int64, error) {
	if s == "" || s == "0" {
		return 0, nil
	}
	for unit, factor := range map[string]int64{"kbit": 1e3, "mbit": 1e6, "gbit": 1e9} {
		digits, ok := strings.CutSuffix(strings.ToLower(s), unit)
		if !ok {
			continue
		}
		if v, err := strconv.ParseInt(digits, 10, 32); err == nil && v > 0 {
			return v * factor, nil
		}
	}
	return 0, fault.Newf(fault.Invalid, "--bandwidth: %q is not a rate such as 200mbit or 1gbit", s)
}

func networkFile(dir string) string { return filepath.Join(dir, "host", "network.json") }

// recall takes the flags that were kept, where a command has none of its own.
func (n *networkFlags) recall(dir string) error {
	if n.Kind != "" {
		return nil
	}
	text, err := os.ReadFile(networkFile(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read network flags: %w", err)
	}
	return json.Unmarshal(text, n)
}

// keep writes the flags down for commands that have none.
func (n *networkFlags) keep(dir string) error {
	if n.Kind == "" {
		return nil
	}
	path := networkFile(dir)
	text, err := json.Marshal(n)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("make host folder: %w", err)
	}
	if err := replaceFile(path, text); err != nil {
		return fmt.Errorf("keep network flags: %w", err)
	}
	return nil
}

// proveNetwork returns an Unavailable fault when the network that was chosen
// can't work here.
func (h *host) proveNetwork(ctx context.Context) error {
	if d, ok := h.network.(*routed.Driver); ok {
		return d.Probe(ctx)
	}
	return nil
}

// examineNetwork returns what the doctor has to look at for routed addresses,
// nil for loopback's.
func (h *host) examineNetwork() func(context.Context) []doctor.Result {
	if h.flags.net.Kind != networkRouted {
		return nil
	}
	return func(ctx context.Context) []doctor.Result {
		d, err := h.flags.net.routed(h.dir, h.log)
		var findings []routed.Finding
		if err == nil {
			findings, err = d.Findings(ctx)
		}
		if err != nil {
			return []doctor.Result{{Name: "network", Status: doctor.Fail, Found: fault.Message(err), Fix: "see cpucloud agent run --help for --network routed"}}
		}
		var results []doctor.Result
		for _, f := range findings {
			r := doctor.Result{Name: f.Name, Status: doctor.Pass, Found: f.Found, Fix: f.Fix}
			switch {
			case f.Fatal:
				r.Status = doctor.Fail
			case f.Fix != "":
				r.Status = doctor.Warn
			}
			results = append(results, r)
		}
		return results
	}
}
