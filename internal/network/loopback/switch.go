package loopback

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/network"
	"github.com/cpucloud/cpucloud/internal/network/loopback/gateway"
)

// Bounds of what all VMs together may hold open, within the files that the
// process may have.
const (
	fewFlows  = 128
	manyFlows = 32768
)

var errEnding = errors.New("the switch is ending")

// vmSwitch holds the networks of all VMs.
type vmSwitch struct {
	now   func() time.Time
	names *gateway.Names
	quota *gateway.Quota
	rest  time.Duration
	timer *time.Timer // runs while there are no links
	done  chan struct{}

	mu     sync.Mutex
	links  map[string]*link
	ending bool
}

type link struct {
	network.Link
	gateway *gateway.Gateway
}

func newSwitch(rest time.Duration, now func() time.Time) *vmSwitch {
	s := &vmSwitch{
		now:   now,
		names: gateway.NewNames(resolvConf, dnsPort),
		quota: gateway.NewQuota(flows(), nil),
		rest:  rest,
		done:  make(chan struct{}),
		links: make(map[string]*link),
	}
	s.timer = time.AfterFunc(max(rest, requestTime), s.rested) // it was started for a request
	return s
}

// flows returns how many connections there may be: each takes a file, and half
// are left for listeners and plugs.
func flows() int64 {
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return fewFlows
	}
	return int64(min(max(files.Cur/2, fewFlows), manyFlows))
}

// idle is closed when there was no link for a while; no link is made then.
func (s *vmSwitch) idle() <-chan struct{} { return s.done }

func (s *vmSwitch) rested() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.links) == 0 && !s.ending {
		s.ending = true
		close(s.done)
	}
}

func (s *vmSwitch) ensure(ctx context.Context, l network.Link, allow []netip.Prefix) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ending {
		return errEnding
	}
	for _, other := range s.links {
		if other.ID != l.ID && other.Address == l.Address {
			return fault.Newf(fault.Unavailable, "%v is the address of another VM, %s", l.Address, other.ID)
		}
	}
	have := s.links[l.ID]
	if have != nil && (have.Address != l.Address || have.MAC != l.MAC) {
		s.remove(have)
		have = nil
	}
	if have == nil {
		return s.add(ctx, l, allow)
	}
	have.gateway.Allow(allow)
	if err := have.gateway.SetPorts(ctx, l.Ports); err != nil {
		return err
	}
	have.Ports = l.Ports
	return nil
}

func (s *vmSwitch) add(ctx context.Context, l network.Link, allow []netip.Prefix) error {
	mac, err := net.ParseMAC(l.MAC)
	if err != nil {
		return err
	}
	g, err := gateway.New(ctx, gateway.Config{Public: l.Address, MAC: mac, Quota: s.quota, Names: s.names, Now: s.now})
	if err != nil {
		return err
	}
	g.Allow(allow)
	if err := g.SetPorts(ctx, l.Ports); err != nil {
		g.Close()
		return err
	}
	s.links[l.ID] = &link{Link: l, gateway: g}
	s.timer.Stop()
	return nil
}

func (s *vmSwitch) remove(l *link) {
	l.gateway.Close()
	delete(s.links, l.ID)
	if len(s.links) == 0 {
		s.timer.Reset(s.rest)
	}
}

func (s *vmSwitch) list() []network.Link {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]network.Link, 0, len(s.links))
	for l := range maps.Values(s.links) {
		list = append(list, l.Link)
	}
	slices.SortFunc(list, func(a, b network.Link) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

func (s *vmSwitch) traffic() map[string]network.Traffic {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[string]network.Traffic, len(s.links))
	for id, l := range s.links {
		all[id] = l.gateway.Traffic()
	}
	return all
}

// plug returns the VM's end of a new cable to a link.
func (s *vmSwitch) plug(ctx context.Context, id string) (*os.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.links[id]
	if l == nil {
		return nil, noLink(id)
	}
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("plug: %w", err)
	}
	near, far := os.NewFile(uintptr(ends[0]), "cable"), os.NewFile(uintptr(ends[1]), "plug")
	conn, err := net.FileConn(near)
	if err = errors.Join(err, near.Close()); err != nil {
		return nil, errors.Join(err, far.Close())
	}
	l.gateway.Plug(ctx, conn)
	return far, nil
}

func (s *vmSwitch) cut(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.links[id]
	if l == nil {
		return noLink(id)
	}
	l.gateway.Cut()
	return nil
}

func (s *vmSwitch) destroy(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.links[id]; l != nil {
		s.remove(l)
	}
}

// close ends all links: their VMs are without network.
func (s *vmSwitch) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ending = true
	for _, l := range s.links {
		l.gateway.Close()
	}
	s.timer.Stop()
}
