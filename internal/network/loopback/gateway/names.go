package gateway

import (
	"bufio"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
)

const maxServers = 3 // what resolv.conf(5) allows

// Names knows the host's name servers. VMs ask the gateway, which passes the
// question on to one of them: the one destination near the host that a VM
// reaches, and only through the gateway.
type Names struct {
	path   string
	port   uint16
	silent atomic.Uint32 // how often a server didn't answer
}

// NewNames returns the name servers in the file path, in the format of
// /etc/resolv.conf, which says nothing of their port. The file is read again
// for every question.
func NewNames(path string, port uint16) *Names { return &Names{path: path, port: port} }

// server returns the server to ask now.
func (n *Names) server() (netip.AddrPort, bool) {
	all := n.servers()
	if len(all) == 0 {
		return netip.AddrPort{}, false
	}
	return all[int(n.silent.Load())%len(all)], true
}

// passOver says that the server gave no answer: the next one is asked from now on.
func (n *Names) passOver() { n.silent.Add(1) }

func (n *Names) servers() []netip.AddrPort {
	f, err := os.Open(n.path)
	if err != nil {
		return nil // a host without name servers
	}
	defer f.Close() //nolint:errcheck // it was only read
	var all []netip.AddrPort
	for lines := bufio.NewScanner(f); lines.Scan() && len(all) < maxServers; {
		words := strings.Fields(lines.Text())
		if len(words) < 2 || words[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(words[1]); err == nil {
			all = append(all, netip.AddrPortFrom(a, n.port))
		}
	}
	return all
}
