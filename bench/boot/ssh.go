package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/cpucloud/cpucloud/bench/internal/report"
)

const (
	hostname = "bench" // of every VM, so that their seeds differ in nothing but their ids

	// Connections that wait for a banner, begun one after another. Dropbear turns
	// away more than five.
	askers   = 4
	askEvery = 80 * time.Millisecond
	askFor   = askers * askEvery // QEMU's forwarding accepts long before the guest answers

	loginFor    = 30 * time.Second
	loginWithin = 5 * time.Minute
)

// identity is an SSH key that was made for this run.
type identity struct {
	signer ssh.Signer
	line   string // the public half, as authorized_keys has it
}

func newIdentity() (identity, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return identity{}, err
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return identity{}, err
	}
	return identity{signer, string(bytes.TrimSpace(ssh.MarshalAuthorizedKey(signer.PublicKey()))) + " bench"}, nil
}

// login returns once a command by SSH has told the hostname of a machine that was
// ordered at begin. Both sides are asked in this way.
func (id identity) login(ctx context.Context, user string, address netip.AddrPort, begin time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, loginWithin)
	defer cancel()
	for last := errors.New("no banner"); ; {
		conn, err := greeting(ctx, address, begin)
		if err != nil {
			return fmt.Errorf("log in to %s: %w: %w", address, err, last)
		}
		late := context.AfterFunc(ctx, func() { _ = conn.Close() })
		last = errors.Join(conn.SetDeadline(report.Now().Add(loginFor)), id.command(user, conn))
		_ = conn.Close() // all was read
		late()
		if last == nil {
			return nil
		}
	}
}

// greeted is a connection of which the start was read ahead.
type greeted struct {
	net.Conn
	ahead *bufio.Reader
}

func (g greeted) Read(p []byte) (int, error) { return g.ahead.Read(p) }

// greeting returns the first connection at which an SSH server greets.
func greeting(ctx context.Context, address netip.AddrPort, begin time.Time) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	first := make(chan net.Conn)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	for i := range askers {
		asking.Go(func() {
			for wait := askEvery * time.Duration(i); report.Pause(ctx, wait) == nil; wait = askEvery / askers {
				// A machine that is slow to boot is slow to answer as well.
				conn, err := ask(ctx, address, max(askFor, report.Now().Sub(begin)/8))
				if err != nil {
					continue
				}
				select {
				case first <- conn:
				case <-ctx.Done():
					_ = conn.Close() // another was first
				}
			}
		})
	}
	select {
	case conn := <-first:
		return conn, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// ask connects and waits so long for a banner.
func ask(ctx context.Context, address netip.AddrPort, patience time.Duration) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address.String())
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	g := greeted{conn, bufio.NewReader(conn)}
	err = conn.SetDeadline(report.Now().Add(patience))
	if err == nil {
		_, err = g.ahead.Peek(len("SSH-"))
	}
	if !stop() && err == nil {
		err = ctx.Err() // it is closed, or about to be
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return g, nil
}

// command asks for the hostname.
func (id identity) command(user string, raw net.Conn) error {
	conn, channels, requests, err := ssh.NewClientConn(raw, raw.RemoteAddr().String(), &ssh.ClientConfig{
		User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(id.signer)},
		HostKeyAlgorithms: []string{ssh.KeyAlgoED25519}, // Dropbear offers RSA without having a key for it
		HostKeyCallback:   ssh.InsecureIgnoreHostKey(),  //nolint:gosec // the guest has made its key just now
	})
	if err != nil {
		return err
	}
	session, err := ssh.NewClient(conn, channels, requests).NewSession()
	if err != nil {
		return err
	}
	out, err := session.Output("hostname")
	if name := string(bytes.TrimSpace(out)); err == nil && name != hostname {
		err = fmt.Errorf("the guest says that it is %q, not %q", name, hostname)
	}
	return err
}
