package routed

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/network"
)

// host is the network as it is while the driver has its lock.
type host struct {
	Config
	records map[string]network.Link
	taps    map[string]netlink.Link // by VM
	rules   ruleset
	routes  map[netip.Addr]int // of single addresses, ours, to the index of an interface
	proxies map[netip.Addr]bool
	uplink  netlink.Link // nil if there is none
	saved   settings     // what the uplink had before
	base    base         // what the tables have to be
}

// look reads all that the driver works on.
func (c Config) look() (*host, error) {
	h := &host{Config: c}
	var err error
	if h.records, err = c.readRecords(); err != nil {
		return nil, err
	}
	if h.taps, err = taps(); err != nil {
		return nil, err
	}
	if h.saved, err = c.readSettings(); err != nil {
		return nil, err
	}
	if h.uplink, err = findLink(c.Uplink); err != nil {
		return nil, err
	}
	if err := h.lookRoutes(); err != nil {
		return nil, err
	}
	if h.base, err = h.wantedBase(); err != nil {
		return nil, err
	}
	h.rules, err = readRules()
	return h, err
}

// complete reports whether the kernel has all of a VM's link as its record says.
func (h *host) complete(id string) bool {
	r, known := h.records[id]
	tap := h.taps[id]
	if !known || tap == nil || !h.rules.current(h.base) || !h.rules.agree(id, h.elements(r)) {
		return false
	}
	for _, a := range h.addresses(r) {
		if h.routes[a] != tap.Attrs().Index || h.Announce == Proxy && !h.proxies[a] {
			return false
		}
	}
	return h.rules.taps[tapName(id)]
}

// refresh writes the rules anew when they are not what they have to be: others
// have changed, or the host has got other networks.
func (h *host) refresh() (err error) {
	if len(h.records) == 0 || h.rules.current(h.base) {
		return nil
	}
	if err := h.write(""); err != nil {
		return err
	}
	h.rules, err = readRules()
	return err
}

// addresses returns the addresses of a VM.
func (c Config) addresses(l network.Link) []netip.Addr {
	if a := c.address6(l.Address); a.IsValid() {
		return []netip.Addr{l.Address, a}
	}
	return []netip.Addr{l.Address}
}

// ensure makes a link whole. What is there stays as it is; the VM's rules are in
// before its tap is up.
func (h *host) ensure(ctx context.Context, l network.Link) error {
	old, had := h.records[l.ID]
	if err := h.free(l); err != nil {
		return err
	}
	if had && h.complete(l.ID) && same(old, l) {
		return nil
	}
	if !had || !same(old, l) {
		if err := writeJSON(h.recordPath(l.ID), l); err != nil {
			return err
		}
		h.records[l.ID] = l
	}
	if err := h.settle(); err != nil {
		return err
	}
	if h.taps[l.ID] == nil {
		if err := h.addTap(l.ID); err != nil {
			return err
		}
		h.Log.InfoContext(ctx, "tap made", "vm_id", l.ID, "tap", tapName(l.ID))
	}
	if err := h.write(l.ID); err != nil {
		return fmt.Errorf("write rules: %w", err)
	}
	if had && old.Address != l.Address {
		if err := h.leave(old); err != nil {
			return err
		}
	}
	if had && !same(old, l) {
		if err := h.forget(l, opened(old, l)); err != nil {
			return err
		}
	}
	return h.connect(l)
}

// free returns an Unavailable fault when another has the address of l.
func (h *host) free(l network.Link) error {
	if h.uplink == nil {
		return fault.Newf(fault.Unavailable, "there is no interface %s: name the one to the internet with --uplink", h.Uplink)
	}
	for id, r := range h.records {
		if id != l.ID && r.Address == l.Address {
			return fault.Newf(fault.Unavailable, "%v is the address of another VM, %s", l.Address, id)
		}
	}
	for _, a := range h.addresses(l) {
		if h.base.own[a] {
			return fault.Newf(fault.Unavailable, "%v is an address of this host: take it out of the pool", a)
		}
	}
	return nil
}

func (h *host) addTap(id string) error {
	if other, err := findLink(tapName(id)); err != nil {
		return err
	} else if other != nil {
		return fault.Newf(fault.Unavailable, "there is an interface %s that is not a VM's: remove it with ip link delete %[1]s", tapName(id))
	}
	if err := makeTap(id); err != nil {
		return err
	}
	tap, err := netlink.LinkByName(tapName(id))
	h.taps[id] = tap
	return err
}

// connect brings the tap up, with the routes to it. Its rules are in.
func (h *host) connect(l network.Link) error {
	tap := h.taps[l.ID]
	if !isUp(tap) {
		if err := h.setTap(tapName(l.ID)); err != nil {
			return err
		}
		if err := netlink.LinkSetUp(tap); err != nil {
			return fmt.Errorf("bring up tap: %w", err)
		}
	}
	if err := limit(tap, h.Rate); err != nil {
		return err
	}
	return h.route(tap, l)
}

// destroy removes all of a link, and with the last one what all have in common.
func (h *host) destroy(ctx context.Context, id string) error {
	tap := h.taps[id]
	r, known := h.records[id]
	if tap != nil {
		if err := netlink.LinkSetDown(tap); err != nil {
			return fmt.Errorf("shut tap: %w", err)
		}
	}
	delete(h.records, id)
	if err := h.write(id); err != nil {
		return fmt.Errorf("remove rules: %w", err)
	}
	if known {
		if err := h.leave(r); err != nil {
			return err
		}
	}
	if tap != nil {
		if err := netlink.LinkDel(tap); err != nil {
			return fmt.Errorf("remove tap: %w", err)
		}
		h.Log.InfoContext(ctx, "tap removed", "vm_id", id, "tap", tapName(id))
	}
	if len(h.records) == 0 && known {
		if err := h.unsettle(); err != nil {
			return err
		}
	}
	return removeFile(h.recordPath(id))
}

func same(a, b network.Link) bool {
	if a.ID != b.ID || a.Address != b.Address || a.MAC != b.MAC || len(a.Ports) != len(b.Ports) {
		return false
	}
	for i, p := range a.Ports {
		if b.Ports[i] != p {
			return false
		}
	}
	return true
}

// opened returns the ports of l that before doesn't have.
func opened(before, l network.Link) map[network.Port]bool {
	ports := make(map[network.Port]bool, len(l.Ports))
	for _, p := range l.Ports {
		ports[p] = true
	}
	for _, p := range before.Ports {
		delete(ports, p)
	}
	return ports
}
