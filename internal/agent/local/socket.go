package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// socketName is the socket's name in the agent's data folder.
const socketName = "agent.sock"

// at calls fn with a path to the socket in dir that is short enough for one: the
// names of folders may be longer than the kernel takes.
func at(dir string, fn func(path string) error) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close() //nolint:errcheck // nothing is written to it
	return fn(filepath.Join("/proc/self/fd", strconv.Itoa(int(d.Fd())), socketName))
}

// listen returns the socket in dir, made for this user alone. The caller holds
// the folder, so that a socket that is there is one of an agent that has ended.
func listen(ctx context.Context, dir string) (net.Listener, error) {
	if err := os.Remove(filepath.Join(dir, socketName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove old socket: %w", err)
	}
	var l net.Listener
	err := at(dir, func(path string) (err error) {
		l, err = (&net.ListenConfig{}).Listen(ctx, "unix", path)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("make socket of the agent: %w", err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // by a path that is not there any more
	if err := os.Chmod(filepath.Join(dir, socketName), 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("make socket of the agent private: %w", err), l.Close())
	}
	return guarded{l, os.Geteuid()}, nil
}

// dial connects to the agent in dir.
func dial(ctx context.Context, dir string) (conn net.Conn, err error) {
	err = at(dir, func(path string) error {
		conn, err = (&net.Dialer{}).DialContext(ctx, "unix", path)
		return err
	})
	return conn, err
}

// absent reports whether err says that no agent listens.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)
}

// guarded accepts connections of one user and root, whatever the mode of a file
// says.
type guarded struct {
	net.Listener
	user int
}

// Accept implements net.Listener.
func (g guarded) Accept() (net.Conn, error) {
	for {
		conn, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if who, err := peer(conn); err == nil && (who == 0 || who == g.user) {
			return conn, nil
		}
		_ = conn.Close() // of a stranger
	}
}

// peer returns the user at the other end.
func peer(conn net.Conn) (int, error) {
	c, ok := conn.(syscall.Conn)
	if !ok {
		return 0, errors.ErrUnsupported
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) { cred, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err = errors.Join(err, failed); err != nil {
		return 0, err
	}
	return int(cred.Uid), nil
}
