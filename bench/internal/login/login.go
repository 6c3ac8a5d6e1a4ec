// Package login is how a bench asks guests for SSH: all sides in the same way.
package login

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
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/cpucloud/cpucloud/bench/internal/report"
)

// Hostname is that of every VM, so that their seeds differ in nothing but their
// ids.
const Hostname = "bench"

const (
	loginFor = 30 * time.Second
	within   = 5 * time.Minute
)

// Identity is an SSH key that was made for this run.
type Identity struct {
	Line   string // the public half, as authorized_keys has it
	signer ssh.Signer
}

// NewIdentity makes a key.
func NewIdentity() (Identity, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return Identity{}, err
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return Identity{}, err
	}
	return Identity{string(bytes.TrimSpace(ssh.MarshalAuthorizedKey(signer.PublicKey()))) + " bench", signer}, nil
}

// Login returns once a command by SSH has told the hostname of a machine that was
// ordered at begin.
func (id Identity) Login(ctx context.Context, user string, address netip.AddrPort, begin time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for last := errors.New("no banner"); ; {
		conn, err := greeting(ctx, address, begin)
		if err != nil {
			return fmt.Errorf("log in to %s: %w: %w", address, err, last)
		}
		var out string
		if out, last = id.over(ctx, user, conn, "hostname"); last == nil && out == Hostname {
			return nil
		}
		if last == nil {
			last = fmt.Errorf("the guest says that it is %q, not %q", out, Hostname)
		}
	}
}

// Run runs a command in a guest that answers, and returns what it said.
func (id Identity) Run(ctx context.Context, user string, address netip.AddrPort, command string) (string, error) {
	conn, err := (&net.Dialer{Timeout: loginFor}).DialContext(ctx, "tcp", address.String())
	if err != nil {
		return "", err
	}
	return id.over(ctx, user, conn, command)
}

// Stream runs a command in a guest that answers and tells of each line that it says,
// until ctx ends, which is no error.
func (id Identity) Stream(ctx context.Context, user string, address netip.AddrPort, command string, line func()) error {
	conn, err := (&net.Dialer{Timeout: loginFor}).DialContext(ctx, "tcp", address.String())
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // it is not told that it may end
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	session, err := id.session(user, conn)
	if err != nil {
		return err
	}
	out, err := session.StdoutPipe()
	if err == nil {
		err = session.Start(command)
	}
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		line()
	}
	if ctx.Err() != nil {
		return nil
	}
	return errors.Join(errors.New("the guest says nothing any more"), lines.Err())
}

// over runs a command over a connection, which it closes.
func (id Identity) over(ctx context.Context, user string, conn net.Conn, command string) (string, error) {
	defer conn.Close() //nolint:errcheck // all was read
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if err := conn.SetDeadline(report.Now().Add(loginFor)); err != nil {
		return "", err
	}
	session, err := id.session(user, conn)
	if err != nil {
		return "", err
	}
	out, err := session.Output(command)
	return string(bytes.TrimSpace(out)), err
}

// session logs in over a connection.
func (id Identity) session(user string, conn net.Conn) (*ssh.Session, error) {
	c, channels, requests, err := ssh.NewClientConn(conn, conn.RemoteAddr().String(), &ssh.ClientConfig{
		User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(id.signer)},
		HostKeyAlgorithms: []string{ssh.KeyAlgoED25519}, // Dropbear offers RSA without having a key for it
		HostKeyCallback:   ssh.InsecureIgnoreHostKey(),  //nolint:gosec // the guest has made its key just now
	})
	if err != nil {
		return nil, err
	}
	return ssh.NewClient(c, channels, requests).NewSession()
}
