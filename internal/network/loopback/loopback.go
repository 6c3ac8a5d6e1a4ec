// Package loopback is the network driver that needs no privileges: every VM
// has its public address out of 127.0.0.0/8, where its open ports answer to
// programs of the same host.
//
// The VMs' networks live in one process per folder, the switch: it is started
// when the first link is made, holds a [gateway.Gateway] for each VM, outlives
// the program that started it, and ends by itself when it has no links for a
// while. It has to outlive its starter because QEMU before version 9.2 can't
// reconnect its end. It keeps its links in memory only: when it was killed,
// List finds none, Ensure makes them again, and a VM that runs has to be
// started again with a new plug.
//
// A VM reaches the public internet by TCP and UDP over IPv4, and the host's
// name servers through its gateway. It doesn't reach this host, private
// networks, or other VMs: not even their open ports, because all of
// 127.0.0.0/8 is closed to it. It can't ping anything but its gateway.
//
// A program that listens on a port of all addresses, as sshd does on 0.0.0.0:22,
// keeps that port from every VM; it has to be given an address of its own.
package loopback

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/network"
	"github.com/cpucloud/cpucloud/internal/network/loopback/gateway"
)

// DefaultPool is where the VMs' public addresses are unless Config says otherwise.
var DefaultPool = netip.MustParsePrefix("127.77.0.0/16")

const (
	nobody      = 65534
	defaultIdle = time.Minute
	tries       = 5 // of a request to a switch that is just ending, with longer and longer waits
)

// Config says how a Driver works.
type Config struct {
	Dir     string           // kept private to this user; one switch per folder
	Command []string         // starts the switch: a program, by its path, that calls [Serve]
	Pool    netip.Prefix     // within 127.0.0.0/8; [DefaultPool] if not set
	User    uint32           // the switch's uid and gid if this process is root; nobody if 0
	Idle    time.Duration    // how long a switch without links stays; a minute if 0
	Allow   []netip.Prefix   // private networks that VMs may reach all the same
	Now     func() time.Time // required
	Log     *slog.Logger     // required
}

// Driver connects VMs through a switch.
type Driver struct{ c Config }

var _ network.Driver = (*Driver)(nil)

// New returns a driver over the folder c.Dir, which it makes if need be. A
// switch that another driver over the folder has started is used.
func New(c Config) (*Driver, error) {
	if len(c.Command) == 0 || c.Now == nil || c.Log == nil {
		return nil, errors.New("loopback network: Command, Now and Log are required")
	}
	if !c.Pool.IsValid() {
		c.Pool = DefaultPool
	}
	if !c.Pool.Addr().Is4() || !c.Pool.Addr().IsLoopback() || c.Pool.Bits() < 8 {
		return nil, fault.Newf(fault.Invalid, "the pool %v is not within 127.0.0.0/8", c.Pool)
	}
	if c.User == 0 {
		c.User = nobody
	}
	if c.Idle == 0 {
		c.Idle = defaultIdle
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("network folder: %w", err)
	}
	return &Driver{c: c}, nil
}

// Ensure implements [network.Driver]. A link whose address or MAC changes is
// made anew: its VM needs another plug.
func (d *Driver) Ensure(ctx context.Context, l network.Link) error {
	if err := l.Check(); err != nil {
		return err
	}
	if !d.c.Pool.Contains(l.Address) {
		return fault.Newf(fault.Invalid, "%v is not in the pool %v", l.Address, d.c.Pool)
	}
	l = l.Sorted()
	_, _, err := d.ask(ctx, request{Do: doEnsure, Link: &l, Allow: d.c.Allow})
	return err
}

// Plug implements [network.Driver]. The file is a stream socket.
func (d *Driver) Plug(ctx context.Context, id string) (network.Plug, error) {
	_, file, err := d.ask(ctx, request{Do: doPlug, ID: id})
	if errors.Is(err, errNoSwitch) {
		return network.Plug{}, noLink(id)
	}
	if err != nil {
		return network.Plug{}, err
	}
	if file == nil {
		return network.Plug{}, errors.New("the network switch sent no plug")
	}
	return network.Plug{Kind: "stream", File: file}, nil
}

// Guest implements [network.Driver]: the same for every VM.
func (d *Driver) Guest(network.Link) network.Guest {
	return network.Guest{
		DHCP:    true,
		Address: netip.PrefixFrom(gateway.Guest, gateway.Subnet.Bits()),
		Gateway: gateway.Address,
		DNS:     []netip.Addr{gateway.Address},
	}
}

// List implements [network.Driver].
func (d *Driver) List(ctx context.Context) ([]network.Link, error) {
	a, _, err := d.ask(ctx, request{Do: doList})
	if errors.Is(err, errNoSwitch) {
		return nil, nil
	}
	return a.Links, err
}

// Traffic implements [network.Driver].
func (d *Driver) Traffic(ctx context.Context) (map[string]network.Traffic, error) {
	a, _, err := d.ask(ctx, request{Do: doTraffic})
	if errors.Is(err, errNoSwitch) {
		return nil, nil
	}
	return a.Traffic, err
}

// Cut implements [network.Driver].
func (d *Driver) Cut(ctx context.Context, id string) error {
	_, _, err := d.ask(ctx, request{Do: doCut, ID: id})
	if errors.Is(err, errNoSwitch) {
		return noLink(id)
	}
	return err
}

// Destroy implements [network.Driver].
func (d *Driver) Destroy(ctx context.Context, id string) error {
	_, _, err := d.ask(ctx, request{Do: doDestroy, ID: id})
	if errors.Is(err, errNoSwitch) {
		return nil
	}
	return err
}

// ask has the switch do q. Only a link that is to be made starts one.
// A switch that ends while it is asked hasn't done anything: it is tried again.
func (d *Driver) ask(ctx context.Context, q request) (response, *os.File, error) {
	q.Version = version
	var err error
	for try := range tries {
		var conn *net.UnixConn
		if conn, err = d.connect(ctx, q.Do == doEnsure); err != nil {
			return response{}, nil, err
		}
		var a response
		var file *os.File
		if a, file, err = d.exchange(ctx, conn, q); err == nil {
			return a, file, a.Error.err()
		}
		if !ended(err) {
			break
		}
		wait(ctx, connectWait<<try)
	}
	return response{}, nil, fmt.Errorf("network switch: %w (see %s)", err, d.path(logFile))
}

func (d *Driver) exchange(ctx context.Context, conn *net.UnixConn, q request) (response, *os.File, error) {
	defer conn.Close() //nolint:errcheck // nothing is left to send
	if err := conn.SetDeadline(d.c.Now().Add(requestTime)); err != nil {
		return response{}, nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	a, file, err := ask(conn, q)
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	return a, file, err
}

// ended reports whether err says that the switch closed a connection unanswered.
func ended(err error) bool {
	return slices.ContainsFunc([]error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE},
		func(e error) bool { return errors.Is(err, e) })
}

func noLink(id string) error { return fault.Newf(fault.NotFound, "no link %.70q", id) }
