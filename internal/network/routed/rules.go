package routed

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/cpucloud/cpucloud/internal/network"
)

// ruleset is what the driver's tables have now.
type ruleset struct {
	there    bool
	version  string
	taps     map[string]bool              // that have their chain
	elements map[string]map[string]string // by set and key: whose it is
}

// buffer is for a transaction with some thousand VMs.
const buffer = 8 << 20

// connect returns a connection to nftables in the namespace of this thread.
func connect() (*nftables.Conn, error) {
	return nftables.New(nftables.WithSockOptions(func(c *netlink.Conn) error {
		return errors.Join(forced(c, unix.SO_SNDBUFFORCE), forced(c, unix.SO_RCVBUFFORCE))
	}))
}

func forced(c *netlink.Conn, option int) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, option, buffer) })
	return errors.Join(err, failed)
}

// readRules reads the tables; without them all is empty.
func readRules() (ruleset, error) {
	r := ruleset{taps: map[string]bool{}, elements: map[string]map[string]string{}}
	c, err := connect()
	if err != nil {
		return r, err
	}
	t := newTables(tableName)
	chains, err := c.ListChainsOfTableFamily(nftables.TableFamilyUnspecified)
	if err != nil {
		return r, fmt.Errorf("list chains: %w", err)
	}
	for _, ch := range chains {
		if ch.Table.Name != tableName {
			continue
		}
		if ch.Table.Family == nftables.TableFamilyNetdev {
			r.there, r.taps[ch.Name] = true, ch.Hooknum != nil
		}
		if ch.Table.Family == nftables.TableFamilyINet {
			r.there = true
			if strings.HasPrefix(ch.Name, "version-") {
				r.version = ch.Name
			}
		}
	}
	if !r.there {
		return r, nil
	}
	for _, s := range vmSets {
		list, err := c.GetSetElements(t.sets[s])
		if err != nil {
			r.version = "" // half of it is gone: all is written anew
			continue
		}
		r.elements[s] = make(map[string]string, len(list))
		for _, e := range list {
			r.elements[s][string(e.Key)] = e.Comment
		}
	}
	return r, nil
}

// current reports whether the tables are as b says, VMs aside.
func (r ruleset) current(b base) bool { return r.version == b.mark() }

// agree reports whether the elements of a VM are exactly these.
func (r ruleset) agree(id string, want map[string][]string) bool {
	for _, s := range vmSets {
		if add, remove := r.differ(s, id, want[s]); len(add)+len(remove) > 0 {
			return false
		}
	}
	return true
}

// differ returns the keys to add to a set, and to remove.
func (r ruleset) differ(set, id string, want []string) (add, remove []string) {
	have := r.elements[set]
	for _, k := range want {
		if owner, ok := have[k]; !ok || owner != id {
			if ok {
				remove = append(remove, k) // it is another's, who has gone or moved
			}
			add = append(add, k)
		}
	}
	for k, owner := range have {
		if owner == id && !slices.Contains(want, k) {
			remove = append(remove, k)
		}
	}
	slices.Sort(remove)
	return add, remove
}

// elements returns the keys that a VM has in each set.
func (c Config) elements(l network.Link) map[string][]string {
	tap := string(ifname(tapName(l.ID)))
	hardware, _ := net.ParseMAC(l.MAC) // checked before it became a link
	card := string(hardware) + "\x00\x00"
	e := map[string][]string{}
	add := func(set string, key string) { e[set] = append(e[set], key) }
	for _, a := range c.addresses(l) {
		ip, v := string(a.AsSlice()), "4"
		if a.Is6() {
			v = "6"
			add("card6", tap+card)
		}
		add("source"+v, tap+card+ip)
		add("from"+v, tap+ip)
		for _, p := range l.Ports {
			number := byte(unix.IPPROTO_TCP)
			if p.Protocol == "udp" {
				number = unix.IPPROTO_UDP
			}
			add("open"+v, ip+string([]byte{number, 0, 0, 0, byte(p.Number >> 8), byte(p.Number), 0, 0}))
		}
	}
	return e
}

// write makes the tables agree with the records in one transaction. Where only
// the VM id may have changed, only its part is written.
func (h *host) write(id string) error {
	c, err := connect()
	if err != nil {
		return err
	}
	t := newTables(tableName)
	switch {
	case len(h.records) == 0:
		if h.rules.there {
			t.remove(c)
		}
	case h.rules.current(h.base):
		err = h.writeOne(c, t, id)
	default:
		if h.rules.there {
			t.remove(c)
		}
		err = h.writeAll(c, t)
	}
	if err != nil {
		return err
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	return nil
}

// remove deletes both tables. They are added first: one alone may be there.
func (t *tables) remove(c *nftables.Conn) {
	for _, table := range []*nftables.Table{t.inet, t.netdev} {
		c.AddTable(table)
		c.DelTable(table)
	}
}

func (h *host) writeAll(c *nftables.Conn, t *tables) error {
	if err := t.writeBase(c, h.base); err != nil {
		return err
	}
	for _, id := range sortedKeys(h.records) {
		want := h.elements(h.records[id])
		for _, s := range vmSets {
			if err := addElements(c, t.sets[s], id, want[s]); err != nil {
				return err
			}
		}
		if h.taps[id] != nil {
			t.writeTap(c, tapName(id), h.Rate)
		}
	}
	return nil
}

func (h *host) writeOne(c *nftables.Conn, t *tables, id string) error {
	r, wanted := h.records[id]
	want := map[string][]string{}
	if wanted {
		want = h.elements(r)
	}
	for _, s := range vmSets {
		add, remove := h.rules.differ(s, id, want[s])
		if len(remove) > 0 {
			if err := c.SetDeleteElements(t.sets[s], keyed(remove, "")); err != nil {
				return err
			}
		}
		if err := addElements(c, t.sets[s], id, add); err != nil {
			return err
		}
	}
	if _, there := h.rules.taps[tapName(id)]; there {
		c.DelChain(&nftables.Chain{Table: t.netdev, Name: tapName(id)})
	}
	if wanted {
		t.writeTap(c, tapName(id), h.Rate)
	}
	return nil
}

// atOnce is how many elements fit into one message.
const atOnce = 256

func addElements(c *nftables.Conn, set *nftables.Set, id string, keys []string) error {
	for some := range slices.Chunk(keys, atOnce) {
		if err := c.SetAddElements(set, keyed(some, id)); err != nil {
			return err
		}
	}
	return nil
}

func keyed(keys []string, comment string) []nftables.SetElement {
	elements := make([]nftables.SetElement, len(keys))
	for i, k := range keys {
		elements[i] = nftables.SetElement{Key: []byte(k), Comment: comment}
	}
	return elements
}
