package routed

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// settings are what the uplink's sysctls had before the first link was made, by
// their paths below /proc/sys/net.
type settings map[string]string

const sysctls = "/proc/sys/net"

// forcing lets one interface forward IPv6; kernels before 6.17 forward all of a
// host's or nothing.
const forcing = "force_forwarding"

func (c Config) settingsPath() string { return filepath.Join(c.Dir, settingFile) }

func (c Config) readSettings() (s settings, err error) {
	err = readJSON(c.settingsPath(), &s)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return s, err
}

// setting is one sysctl.
type setting struct{ path, value string }

// wanted returns what the uplink needs. IPv4 is forwarded from interface to
// interface, so that nothing else of the host becomes a router by it.
func (h *host) wanted() []setting {
	up := h.Uplink
	all := []setting{{"ipv4/conf/" + up + "/forwarding", "1"}}
	if h.Announce == Proxy {
		all = append(all, setting{"ipv4/neigh/" + up + "/proxy_delay", "0"})
	}
	if !h.Pool6.IsValid() {
		return all
	}
	if h.canForce() {
		all = append(all, setting{"ipv6/conf/" + up + "/" + forcing, "1"})
	} else {
		all = append(all, setting{"ipv6/conf/all/forwarding", "1"})
	}
	if h.Announce == Proxy {
		// Only a router answers for others; and one that learned its default
		// route from another must go on doing so.
		all = append(all, setting{"ipv6/conf/" + up + "/forwarding", "1"},
			setting{"ipv6/conf/" + up + "/proxy_ndp", "1"}, setting{"ipv6/neigh/" + up + "/proxy_delay", "0"})
	}
	if read("ipv6/conf/"+up+"/accept_ra") == "1" {
		all = append(all, setting{"ipv6/conf/" + up + "/accept_ra", "2"})
	}
	return all
}

func (h *host) canForce() bool { return read("ipv6/conf/"+h.Uplink+"/"+forcing) != "" }

// settle prepares the uplink, and keeps what it had before.
func (h *host) settle() error {
	if h.saved == nil {
		h.saved = settings{}
	}
	kept := len(h.saved)
	wanted := h.wanted()
	for _, s := range wanted {
		if _, known := h.saved[s.path]; !known {
			h.saved[s.path] = read(s.path)
		}
	}
	if len(h.saved) != kept {
		if err := writeJSON(h.settingsPath(), h.saved); err != nil {
			return err
		}
		var err error
		if h.base, err = h.wantedBase(); err != nil { // it depends on what was before
			return err
		}
	}
	for _, s := range wanted {
		if err := write(s); err != nil {
			return err
		}
	}
	for _, r := range h.holes() {
		if err := netlink.RouteReplace(r); err != nil {
			return fmt.Errorf("route %v: %w", r.Dst, err)
		}
	}
	return nil
}

// unsettle gives the uplink back as it was.
func (h *host) unsettle() error {
	for _, r := range h.holes() {
		if err := netlink.RouteDel(r); err != nil && !gone(err) {
			return fmt.Errorf("remove route %v: %w", r.Dst, err)
		}
	}
	if h.uplink != nil {
		for _, path := range sortedKeys(h.saved) {
			if err := write(setting{path, h.saved[path]}); err != nil {
				return err
			}
		}
	}
	h.saved = nil
	return removeFile(h.settingsPath())
}

// setTap sets how the host treats a tap: it forwards what comes in, and learns
// nothing from it.
func (h *host) setTap(name string) error {
	v4, v6 := "ipv4/conf/"+name+"/", "ipv6/conf/"+name+"/"
	all := []setting{
		{v4 + "forwarding", "1"},
		{v4 + "rp_filter", "1"},
		{v4 + "accept_redirects", "0"},
		{v4 + "send_redirects", "0"},
		{v4 + "accept_source_route", "0"},
		{v4 + "arp_ignore", "1"},
		{v4 + "proxy_arp", "0"},
	}
	if !h.Pool6.IsValid() {
		if read(v6+"disable_ipv6") != "" { // a kernel without IPv6 has none to turn off
			all = append(all, setting{v6 + "disable_ipv6", "1"})
		}
	} else {
		all = append(all, setting{v6 + "disable_ipv6", "0"}, setting{v6 + "accept_ra", "0"}, setting{v6 + "autoconf", "0"},
			setting{v6 + "accept_redirects", "0"}, setting{v6 + "addr_gen_mode", "1"}, setting{v6 + "forwarding", "1"})
		if h.canForce() {
			all = append(all, setting{v6 + forcing, "1"})
		}
	}
	for _, s := range all {
		if err := write(s); err != nil {
			return err
		}
	}
	return nil
}

func read(path string) string {
	text, err := os.ReadFile(filepath.Join(sysctls, path))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// write sets a sysctl unless it is as it should be.
func write(s setting) error {
	if read(s.path) == s.value {
		return nil
	}
	if err := os.WriteFile(filepath.Join(sysctls, s.path), []byte(s.value), 0); err != nil {
		return fmt.Errorf("set %s to %s: %w", "net/"+s.path, s.value, err)
	}
	return nil
}

// minRate is the least bandwidth of a VM, in bits a second.
const minRate = 100_000

// burst returns how many bytes may come at once at a rate in bytes a second:
// 50 ms of it, and enough for some of the largest frames.
func burst(rate uint64) uint32 { return uint32(min(max(rate/20, 128<<10), 1<<30)) }

// limit bounds what a VM receives, in bits a second, by making it wait: a queue
// costs TCP less than a loss. What it sends is bounded at its tap.
func limit(tap netlink.Link, rate int64) error {
	if rate == 0 {
		return nil
	}
	bytes := uint64(rate) / 8
	queue := &netlink.Tbf{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: tap.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT},
		Rate:       bytes, Buffer: burst(bytes), Limit: cmp.Or(2*burst(bytes), 1),
	}
	if err := netlink.QdiscReplace(queue); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("bound bandwidth (needs the kernel's sch_tbf): %w", err)
		}
		return fmt.Errorf("bound bandwidth: %w", err)
	}
	return nil
}
