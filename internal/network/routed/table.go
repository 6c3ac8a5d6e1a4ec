package routed

import (
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// tableName is of the two tables that are the driver's alone: "inet" for what is
// routed, "netdev" for what is checked at the taps.
const tableName = "cpucloud"

// generation is part of what the tables are known by: a change of the rules in
// this file raises it, so that an agent which was renewed writes them anew.
const generation = "1"

// What frames are, in the Ethernet header.
var (
	etherIPv4 = field(ll, 12, 0x08, 0x00)
	etherARP  = field(ll, 12, 0x08, 0x06)
	etherIPv6 = field(ll, 12, 0x86, 0xdd)
)

// discovery matches all messages of neighbour discovery, of which there are five.
var discovery = on(field(nh, 6, unix.IPPROTO_ICMPV6), rule{
	payload(nh, 40, 1), &expr.Range{Op: expr.CmpOpEq, Register: register, FromData: []byte{133}, ToData: []byte{137}},
})

// Offsets within IPv4's and IPv6's headers.
const (
	src4, dst4 = 12, 16
	src6, dst6 = 8, 24
)

// tables are the driver's tables as they are written.
type tables struct {
	inet, netdev *nftables.Table
	sets         map[string]*nftables.Set
	harmless     bool // every chain lets everything through: they are only tried
}

func newTables(name string) *tables {
	t := &tables{
		inet:   &nftables.Table{Name: name, Family: nftables.TableFamilyINet},
		netdev: &nftables.Table{Name: name, Family: nftables.TableFamilyNetdev},
		sets:   map[string]*nftables.Set{},
	}
	mac, ip4, ip6, tap := nftables.TypeEtherAddr, nftables.TypeIPAddr, nftables.TypeIP6Addr, nftables.TypeIFName
	proto, port := nftables.TypeInetProto, nftables.TypeInetService
	for i, s := range []struct {
		table *nftables.Table
		name  string
		parts []nftables.SetDatatype
	}{
		{t.netdev, "source4", []nftables.SetDatatype{tap, mac, ip4}},
		{t.netdev, "source6", []nftables.SetDatatype{tap, mac, ip6}},
		{t.netdev, "card6", []nftables.SetDatatype{tap, mac}},
		{t.inet, "from4", []nftables.SetDatatype{tap, ip4}},
		{t.inet, "from6", []nftables.SetDatatype{tap, ip6}},
		{t.inet, "open4", []nftables.SetDatatype{ip4, proto, port}},
		{t.inet, "open6", []nftables.SetDatatype{ip6, proto, port}},
	} {
		t.sets[s.name] = &nftables.Set{
			Table: s.table, Name: s.name, ID: uint32(i + 1), //nolint:gosec // a handful
			KeyType: nftables.MustConcatSetType(s.parts...), Concatenation: true,
		}
	}
	for i, n := range []string{"allow4", "allow6", "closed4", "closed6"} {
		kind := ip4
		if n[len(n)-1] == '6' {
			kind = ip6
		}
		t.sets[n] = &nftables.Set{Table: t.inet, Name: n, ID: uint32(100 + i), KeyType: kind, Interval: true} //nolint:gosec // a handful
	}
	return t
}

// vmSets are those whose elements are VMs'.
var vmSets = []string{"source4", "source6", "card6", "from4", "from6", "open4", "open6"}

// writeBase adds the tables with everything but the VMs.
func (t *tables) writeBase(c *nftables.Conn, b base) error {
	c.AddTable(t.inet)
	c.AddTable(t.netdev)
	for _, s := range sortedKeys(t.sets) {
		if err := c.AddSet(t.sets[s], intervals(b.prefixes(s))); err != nil {
			return err
		}
	}
	t.writeGuard(c)
	t.writeHost(c)
	t.writeForward(c, b)
	c.AddChain(&nftables.Chain{Table: t.inet, Name: b.mark()})
	return nil
}

// chain adds a chain with its rules; hook is nil for one that is jumped to.
func (t *tables) chain(c *nftables.Conn, table *nftables.Table, name string, hook *nftables.Chain, rules ...rule) {
	ch := &nftables.Chain{Table: table, Name: name}
	if hook != nil {
		ch.Type, ch.Hooknum, ch.Priority, ch.Policy, ch.Device = nftables.ChainTypeFilter, hook.Hooknum, hook.Priority, hook.Policy, hook.Device
	}
	if t.harmless && hook != nil {
		policy := nftables.ChainPolicyAccept
		ch.Policy, rules = &policy, append([]rule{accept}, rules...)
	}
	c.AddChain(ch)
	for _, r := range rules {
		c.AddRule(&nftables.Rule{Table: table, Chain: ch, Exprs: r})
	}
}

func hook(num *nftables.ChainHook, priority nftables.ChainPriority, policy nftables.ChainPolicy) *nftables.Chain {
	return &nftables.Chain{Hooknum: num, Priority: &priority, Policy: &policy}
}

// writeGuard adds what every tap's chain jumps to: only frames of the VM's own
// MAC and addresses get past it. A frame with a VLAN tag is of no known kind.
func (t *tables) writeGuard(c *nftables.Conn) {
	iif := metaPart(expr.MetaKeyIIFNAME, unix.IFNAMSIZ)
	source := fieldPart(ll, 6, 6)
	s4, s6, card6 := t.sets["source4"], t.sets["source6"], t.sets["card6"]

	// DHCP servers speak from port 67, and 547 for IPv6.
	t.chain(c, t.netdev, "guard4", nil,
		on(notIn(s4, iif, source, fieldPart(nh, src4, 4)), drop),
		on(inPrefix(dst4, netip.MustParsePrefix("224.0.0.0/3")), drop),
		on(protocol(unix.IPPROTO_UDP), field(th, 0, 0, 67), drop),
		on(accept),
	)
	// Of ARP: Ethernet and IPv4, a question, by the VM of itself, for the gateway.
	t.chain(c, t.netdev, "guardarp", nil,
		on(notField(0, 0, 1, 8, 0, 6, 4, 0, 1), drop),
		on(notIn(s4, iif, source, fieldPart(nh, 14, 4)), drop),
		on(notIn(s4, iif, fieldPart(nh, 8, 6), fieldPart(nh, 14, 4)), drop),
		on(notField(24, gateway4.AsSlice()...), drop),
		on(accept),
	)
	// Of neighbour discovery the same: a solicitation for fe80::1 with the VM's
	// MAC as its one option. 135 is the solicitation.
	t.chain(c, t.netdev, "neighbour", nil,
		on(notField(40, 135, 0), drop),
		on(notField(4, 0, 32), drop),
		on(notField(7, 255), drop),
		on(notField(48, gateway6.AsSlice()...), drop),
		on(notField(64, 1, 1), drop),
		on(notIn(card6, iif, source), drop),
		on(notIn(card6, iif, fieldPart(nh, 66, 6)), drop),
		on(field(nh, src6, gateway6.AsSlice()...), drop),
		on(inPrefix(src6, netip.MustParsePrefix("fe80::/64")), accept),
		on(in(s6, iif, source, fieldPart(nh, src6, 16)), accept),
		on(drop),
	)
	t.chain(c, t.netdev, "guard6", nil,
		on(discovery, jump("neighbour")),
		on(notIn(s6, iif, source, fieldPart(nh, src6, 16)), drop),
		on(inPrefix(dst6, netip.MustParsePrefix("fe80::/10")), drop),
		on(inPrefix(dst6, netip.MustParsePrefix("ff00::/8")), drop),
		on(protocol(unix.IPPROTO_UDP), field(th, 0, 2, 35), drop),
		on(accept),
	)
	t.chain(c, t.netdev, "guard", nil,
		on(etherIPv4, jump("guard4")), on(etherARP, jump("guardarp")), on(etherIPv6, jump("guard6")), on(drop),
	)
}

// writeHost adds what comes to the host itself. The first chain is for taps
// whose own chain is missing, whatever the reason: it lets nobody through who
// is not known.
func (t *tables) writeHost(c *nftables.Conn) {
	iif := metaPart(expr.MetaKeyIIFNAME, unix.IFNAMSIZ)
	solicitation := on(ipv6, protocol(unix.IPPROTO_ICMPV6), field(th, 0, 135))
	t.chain(c, t.inet, "known", hook(nftables.ChainHookPrerouting, *nftables.ChainPriorityRaw, nftables.ChainPolicyAccept),
		on(fromTap, ipv4, in(t.sets["from4"], iif, fieldPart(nh, src4, 4)), accept),
		on(fromTap, ipv6, in(t.sets["from6"], iif, fieldPart(nh, src6, 16)), accept),
		on(fromTap, solicitation, inPrefix(src6, netip.MustParsePrefix("fe80::/64")), accept),
		on(fromTap, drop),
	)
	// VMs reach nothing of the host: they may ping their gateway, and answer
	// what the host asked them.
	t.chain(c, t.inet, "tohost", nil,
		on(known, accept),
		on(ipv4, field(nh, dst4, gateway4.AsSlice()...), protocol(unix.IPPROTO_ICMP), field(th, 0, 8), accept),
		on(solicitation, accept),
		on(drop),
	)
	t.chain(c, t.inet, "input", hook(nftables.ChainHookInput, *nftables.ChainPriorityFilter, nftables.ChainPolicyAccept),
		on(fromTap, jump("tohost")),
	)
}

// writeForward adds what goes through the host.
func (t *tables) writeForward(c *nftables.Conn, b base) {
	proto := metaPart(expr.MetaKeyL4PROTO, 1)
	port := fieldPart(th, 2, 2)
	fromVM := []rule{on(isCut, drop), on(known, goBack), on(invalid, drop), on(midway, drop)}
	if !b.SMTP {
		fromVM = append(fromVM, on(protocol(unix.IPPROTO_TCP), field(th, 2, 0, 25), drop))
	}
	fromVM = append(fromVM,
		on(toTap, goBack), // another VM's ports decide
		on(ipv4, in(t.sets["allow4"], fieldPart(nh, dst4, 4)), goBack),
		on(ipv6, in(t.sets["allow6"], fieldPart(nh, dst6, 16)), goBack),
		on(ipv4, in(t.sets["closed4"], fieldPart(nh, dst4, 4)), drop),
		on(ipv6, in(t.sets["closed6"], fieldPart(nh, dst6, 16)), drop),
		on(name(expr.MetaKeyOIFNAME, expr.CmpOpNeq, b.Uplink), drop),
	)
	t.chain(c, t.inet, "fromvm", nil, fromVM...)
	t.chain(c, t.inet, "tovm", nil,
		on(isCut, drop), on(known, accept), on(invalid, drop), on(midway, drop),
		on(ipv4, in(t.sets["open4"], fieldPart(nh, dst4, 4), proto, port), accept),
		on(ipv6, in(t.sets["open6"], fieldPart(nh, dst6, 16), proto, port), accept),
		on(ipv4, protocol(unix.IPPROTO_ICMP), field(th, 0, 8), accept),
		on(ipv6, protocol(unix.IPPROTO_ICMPV6), field(th, 0, 128), accept),
		on(drop),
	)
	var rules []rule
	fromUplink := name(expr.MetaKeyIIFNAME, expr.CmpOpEq, b.Uplink)
	if b.Fence4 {
		rules = append(rules, on(ipv4, fromUplink, notTap, drop))
	}
	if b.Fence6 {
		rules = append(rules, on(ipv6, fromUplink, notTap, drop))
	}
	rules = append(rules, on(fromTap, jump("fromvm")), on(toTap, jump("tovm")))
	t.chain(c, t.inet, "forward", hook(nftables.ChainHookForward, *nftables.ChainPriorityFilter, nftables.ChainPolicyAccept), rules...)
}

// Questions for its gateway that a VM may ask, of ARP and of neighbour discovery.
// It needs one in some seconds, and makes up the address that it asks from: each
// one is a neighbour to the host, which has room for some hundred in all.
const (
	questions      = 5 // a second
	questionsBurst = 20
)

// writeTap adds the chain of one tap: what is over the VM's bandwidth, and over
// the questions that it may ask, is lost; the rest goes to the guard.
func (t *tables) writeTap(c *nftables.Conn, tap string, rate int64) {
	at := hook(nftables.ChainHookIngress, *nftables.ChainPriorityFilter, nftables.ChainPolicyDrop)
	at.Device = tap
	var rules []rule
	if rate > 0 {
		bytes := uint64(rate) / 8 // the bucket holds a second of it besides the burst
		over := &expr.Limit{Type: expr.LimitTypePktBytes, Rate: bytes, Unit: expr.LimitTimeSecond, Burst: burst(bytes), Over: true}
		rules = append(rules, on(rule{over}, drop))
	}
	asked := rule{&expr.Limit{Type: expr.LimitTypePkts, Rate: questions, Unit: expr.LimitTimeSecond, Burst: questionsBurst, Over: true}}
	rules = append(rules, on(etherARP, asked, drop), on(etherIPv6, discovery, asked, drop), jump("guard"))
	t.chain(c, t.netdev, tap, at, rules...)
}
