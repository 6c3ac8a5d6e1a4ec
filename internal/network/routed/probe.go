package routed

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/cpucloud/cpucloud/internal/fault"
)

// Finding is what was found of one thing that the driver needs.
type Finding struct {
	Name  string
	Found string
	Fix   string // what to do, "" when all is well
	Fatal bool   // no VM can have a network before that
}

// Probe returns an Unavailable fault with what to do when VMs can't have a
// network here. It leaves nothing behind.
func (d *Driver) Probe(ctx context.Context) error {
	findings, err := d.Findings(ctx)
	if err != nil {
		return err
	}
	for _, f := range findings {
		if f.Fatal {
			return fault.Newf(fault.Unavailable, "network: %s: %s; %s", f.Name, f.Found, f.Fix)
		}
	}
	return nil
}

// Findings looks at all that the driver needs of the host.
func (d *Driver) Findings(ctx context.Context) (found []Finding, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if os.Geteuid() != 0 {
		return []Finding{{"privilege", "not root", "taps, routes and rules need root: run the agent as root, or use --network loopback", true}}, nil
	}
	err = d.c.Namespace.Do(func() error {
		found = []Finding{d.c.findTun(), d.c.findTables(), d.c.findTracking()}
		more, err := d.c.findUplink()
		found = append(found, more...)
		return err
	})
	return found, err
}

func (c Config) findTun() Finding {
	fd, err := unix.Open(tun, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return Finding{"taps", fmt.Sprintf("%s: %v", tun, err), "load the module: modprobe tun", true}
	}
	_ = unix.Close(fd)
	return Finding{Name: "taps", Found: tun + " can be opened"}
}

// probeTable is never used for packets.
const probeTable = "cpucloud-probe"

// findTables writes all rules to tables of another name, with a chain at lo that
// lets everything through, and removes them.
func (c Config) findTables() Finding {
	const name = "nftables"
	err := c.tryTables()
	if err != nil {
		return Finding{name, fmt.Sprintf("the kernel refuses a rule that isolates VMs (%v)", err), "use Linux 5.10 or later with " +
			"CONFIG_NF_TABLES_INET, NF_TABLES_NETDEV, NETFILTER_INGRESS, NFT_CT and NFT_LIMIT, or use --network loopback", true}
	}
	return Finding{Name: name, Found: "the kernel takes all rules"}
}

func (c Config) tryTables() error {
	conn, err := connect()
	if err != nil {
		return err
	}
	t := newTables(probeTable)
	t.remove(conn)
	b := base{Generation: generation, Uplink: c.Uplink}
	for _, s := range closedNets {
		b.Closed = append(b.Closed, netip.MustParsePrefix(s))
	}
	t.harmless = true
	if err := t.writeBase(conn, b); err != nil {
		return err
	}
	t.writeTap(conn, "lo", minRate)
	err = conn.Flush()
	t.remove(conn)
	return errors.Join(err, conn.Flush())
}

func (c Config) findTracking() Finding {
	const name = "connection tracking"
	if _, err := netlink.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET); err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return Finding{name, fmt.Sprintf("connections can't be listed: %v", err), "load the module: modprobe nf_conntrack_netlink", true}
	}
	return Finding{Name: name, Found: "connections can be listed and cut"}
}

func (c Config) findUplink() ([]Finding, error) {
	const name = "uplink"
	up, err := findLink(c.Uplink)
	if err != nil {
		return nil, err
	}
	if up == nil {
		return []Finding{{name, "there is no interface " + c.Uplink, "name the one to the internet: --uplink eth0", true}}, nil
	}
	found := []Finding{{Name: name, Found: c.Uplink + " is there"}}
	if !isUp(up) {
		found[0] = Finding{name, c.Uplink + " is down", "bring it up: ip link set " + c.Uplink + " up", false}
	}
	pool, err := c.findPool(up)
	if err != nil {
		return nil, err
	}
	return append(found, pool, c.findFilter(), c.findForwarding()), nil
}

// findPool looks whether something else has addresses of the pools.
func (c Config) findPool(up netlink.Link) (Finding, error) {
	const name = "address pool"
	addresses, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return Finding{}, err
	}
	within := func(p netip.Prefix) bool {
		return c.Pool.Overlaps(p) || c.Pool6.IsValid() && c.Pool6.Overlaps(p)
	}
	for _, a := range addresses {
		if p, ok := prefixOf(a.IPNet); ok && within(netip.PrefixFrom(p.Addr(), p.Addr().BitLen())) {
			return Finding{name, fmt.Sprintf("%v of the pool is an address of this host", p.Addr()), "give a pool without it: --pool", true}, nil
		}
	}
	routes, err := netlink.RouteList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return Finding{}, err
	}
	for _, r := range routes {
		p, ok := prefixOf(r.Dst)
		switch {
		case (!ok || p.Bits() == 0) && r.Gw != nil && within(netip.PrefixFrom(gatewayOf(r), gatewayOf(r).BitLen())):
			return Finding{name, fmt.Sprintf("%v of the pool is this host's gateway", gatewayOf(r)), "give a pool without it: --pool", true}, nil
		case !ok || p.Bits() == 0 || r.Protocol == routeProtocol || !within(p):
		case r.Gw != nil && p.Contains(gatewayOf(r)): // odd, and harmless
		case r.LinkIndex == up.Attrs().Index && r.Gw == nil && !c.Pool.Contains(p.Addr()):
			// The pool is a part of the uplink's own network: as usual with proxy.
		default:
			return Finding{name, fmt.Sprintf("a route to %v leads elsewhere", p), "remove it, or give another pool: --pool", false}, nil
		}
	}
	return Finding{Name: name, Found: fmt.Sprintf("nothing else has addresses of %v", c.Pool)}, nil
}

func gatewayOf(r netlink.Route) netip.Addr {
	a, _ := netip.AddrFromSlice(r.Gw)
	return a.Unmap()
}

// DefaultUplink returns the interface of the default route.
func DefaultUplink() (string, error) {
	routes, err := netlink.RouteGet(publicDNS[0].AsSlice())
	if err == nil && len(routes) > 0 {
		var link netlink.Link
		if link, err = netlink.LinkByIndex(routes[0].LinkIndex); err == nil {
			return link.Attrs().Name, nil
		}
	}
	return "", fault.Newf(fault.Unavailable, "there is no default route, so name the interface to the internet with --uplink (%v)", err)
}

// findFilter looks at the reverse path filter, whose stricter setting of all and
// the uplink counts.
func (c Config) findFilter() Finding {
	const name = "rp_filter"
	all, own := read("ipv4/conf/all/rp_filter"), read("ipv4/conf/"+c.Uplink+"/rp_filter")
	if max(all, own) != "1" {
		return Finding{Name: name, Found: "packets to VMs may come by any way"}
	}
	route, err := netlink.RouteGet(publicDNS[0].AsSlice())
	up, upErr := findLink(c.Uplink)
	if err != nil || upErr != nil || len(route) == 0 || route[0].LinkIndex == up.Attrs().Index {
		return Finding{Name: name, Found: "strict, and the default route is by the uplink"}
	}
	return Finding{
		name, "strict, and the default route is not by " + c.Uplink + ": what comes to VMs is lost",
		"sysctl -w net.ipv4.conf.all.rp_filter=2 net.ipv4.conf." + c.Uplink + ".rp_filter=2", false,
	}
}

// findForwarding looks for rules of others that drop what VMs are sent: a chain
// at the same hook whose policy is to drop.
func (c Config) findForwarding() Finding {
	const name = "forwarding"
	conn, err := connect()
	if err != nil {
		return Finding{name, err.Error(), "try again", false}
	}
	chains, err := conn.ListChainsOfTableFamily(nftables.TableFamilyUnspecified)
	if err != nil {
		return Finding{name, err.Error(), "try again", false}
	}
	for _, ch := range chains {
		if ch.Policy != nil && *ch.Policy == nftables.ChainPolicyDrop && ch.Hooknum != nil && *ch.Hooknum == *nftables.ChainHookForward &&
			ch.Table.Name != tableName && ch.Table.Family != nftables.TableFamilyARP && ch.Table.Family != nftables.TableFamilyNetdev {
			return Finding{
				name, fmt.Sprintf("the chain %s of the table %s drops what is forwarded", ch.Name, ch.Table.Name),
				"let VMs' packets through it: iifname and oifname " + `"` + tapPrefix + `*"`, false,
			}
		}
	}
	return Finding{Name: name, Found: "the agent turns it on for the uplink and the taps alone, and nothing else drops what is forwarded"}
}
