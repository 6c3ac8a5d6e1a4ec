package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"
)

// bus is a connection to systemd, by the socket that it has for root alone: the
// message bus needn't run.
type bus struct {
	*dbus.Conn

	dial func() (*godbus.Conn, error) // another one, for what Conn doesn't know
}

// The names of systemd's own interface, org.freedesktop.systemd1(5).
const (
	busName   = "org.freedesktop.systemd1"
	busPath   = "/org/freedesktop/systemd1"
	busSocket = "run/systemd/private"
)

// talk calls do with a connection that ends with it: systemd closes those that it
// has when it runs itself anew.
func (s *Systemd) talk(ctx context.Context, do func(context.Context, bus) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	dial := func() (*godbus.Conn, error) {
		conn, err := godbus.Dial("unix:path="+filepath.Join(s.root, busSocket), godbus.WithContext(ctx))
		if err != nil {
			return nil, err
		}
		if err := conn.Auth([]godbus.Auth{godbus.AuthExternal(strconv.Itoa(os.Getuid()))}); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		return conn, nil
	}
	conn, err := dbus.NewConnection(dial)
	if err != nil {
		return fmt.Errorf("reach systemd: %w", err)
	}
	defer conn.Close()
	return do(ctx, bus{conn, dial})
}

// job has systemd do something, and returns when it is done.
func (b bus) job(ctx context.Context, begin func(done chan<- string) (int, error)) error {
	done := make(chan string, 1)
	if _, err := begin(done); err != nil {
		return err
	}
	select {
	case result := <-done:
		if result != "done" {
			return fmt.Errorf("systemd says %q", result)
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// await returns when nothing runs in a unit any more, or leaving has passed.
func (b bus) await(ctx context.Context, unit string) {
	ctx, cancel := context.WithTimeout(ctx, leaving)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		if running, err := b.running(ctx, unit); err != nil || running == 0 {
			return
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return
		}
	}
}

// clear takes away a scope in which nothing runs. Systemd does so by itself unless
// it isn't told that a group is empty, as it isn't with version 1 of control
// groups. A scope that isn't there is no error.
func (b bus) clear(ctx context.Context, unit string) error {
	running, err := b.running(ctx, unit)
	if isError(err, "NoSuchUnit") {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look into scope %s: %w", unit, err)
	}
	if running > 0 {
		return fmt.Errorf("scope %s has %d processes still, see: systemctl status %s", unit, running, unit)
	}
	err = b.job(ctx, func(done chan<- string) (int, error) { return b.StopUnitContext(ctx, unit, "replace", done) })
	if err != nil && !isError(err, "NoSuchUnit") {
		return fmt.Errorf("end scope %s: %w", unit, err)
	}
	return nil
}

// running returns how many processes are in a unit.
func (b bus) running(ctx context.Context, unit string) (int, error) {
	conn, err := b.dial()
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close() }()
	var all []struct {
		Group string
		PID   uint32
		Line  string
	}
	err = conn.Object(busName, busPath).CallWithContext(ctx, busName+".Manager.GetUnitProcesses", 0, unit).Store(&all)
	return len(all), err
}

// isError reports whether err is one of systemd's, by its name.
func isError(err error, name string) bool {
	e, ok := errors.AsType[godbus.Error](err)
	return ok && e.Name == busName+"."+name
}
