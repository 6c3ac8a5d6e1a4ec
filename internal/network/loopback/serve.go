package loopback

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cpucloud/cpucloud/internal/fault"
)

const (
	processName = "cpucloud-switch"
	resolvConf  = "/etc/resolv.conf"
	dnsPort     = 53
	askers      = 16 // requests that are worked on at the same time
	retry       = 50 * time.Millisecond
)

// Serve is the switch: what Config.Command has to run. It finds everything on
// the files that the driver left open for it, and returns when ctx is done or
// when there was no link for a while.
func Serve(ctx context.Context, now func() time.Time, log *slog.Logger) error {
	set, err := readSettings(os.NewFile(settingsFD, "settings"))
	if err != nil {
		return fmt.Errorf("settings: %w (only an agent can start this)", err)
	}
	lock := os.NewFile(lockFD, lockFile)
	defer lock.Close() //nolint:errcheck // the process ends
	if err := errors.Join(harden(), os.NewFile(programFD, "program").Close()); err != nil {
		return err
	}
	file := os.NewFile(listenerFD, socketFile)
	ln, err := net.FileListener(file)
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := newSwitch(set.Idle, now)
	defer s.close()
	log.InfoContext(ctx, "switch started", "pid", os.Getpid(), "uid", os.Getuid())
	go serve(ctx, ln.(*net.UnixListener), set.Owner, s)
	select {
	case <-ctx.Done():
	case <-s.idle():
	}
	log.InfoContext(ctx, "switch ended")
	return ln.Close()
}

func readSettings(f *os.File) (s settings, err error) {
	err = json.NewDecoder(io.LimitReader(f, 1<<10)).Decode(&s)
	if err == nil && s.Idle <= 0 {
		err = errors.New("no idle time")
	}
	return s, errors.Join(err, f.Close())
}

// harden names the process for operators, who would see it as the number of
// the file it was executed from, and closes it to other processes of its user.
func harden() error {
	if err := os.WriteFile("/proc/self/comm", []byte(processName), 0); err != nil {
		return err
	}
	return unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
}

// serve answers requests until ln is closed.
func serve(ctx context.Context, ln *net.UnixListener, owner int, s *vmSwitch) {
	free := make(chan struct{}, askers)
	for {
		conn, err := ln.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // no files left
			wait(ctx, retry)
			continue
		}
		free <- struct{}{}
		go func() {
			defer func() { <-free }()
			defer conn.Close() //nolint:errcheck // nothing is left to send
			if obeys(conn, owner) && conn.SetDeadline(s.now().Add(requestTime)) == nil {
				s.handle(ctx, conn)
			}
		}()
	}
}

// obeys reports whether the process at the other end may give orders.
func obeys(conn *net.UnixConn, owner int) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return false
	}
	uid := -1
	err = raw.Control(func(fd uintptr) {
		if c, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			uid = int(c.Uid)
		}
	})
	return err == nil && (uid == 0 || uid == owner)
}

// handle answers one request. A switch that is ending doesn't answer: the
// driver then starts another.
func (s *vmSwitch) handle(ctx context.Context, conn *net.UnixConn) {
	var q request
	if err := json.NewDecoder(io.LimitReader(conn, maxMessage)).Decode(&q); err != nil {
		return
	}
	a := response{Version: version}
	var file *os.File
	var err error
	switch {
	case q.Version != version:
		err = unknown(q)
	case q.Do == doEnsure && q.Link != nil:
		err = s.ensure(ctx, *q.Link, q.Allow)
	case q.Do == doList:
		a.Links = s.list()
	case q.Do == doTraffic:
		a.Traffic = s.traffic()
	case q.Do == doPlug:
		file, err = s.plug(ctx, q.ID)
	case q.Do == doCut:
		err = s.cut(q.ID)
	case q.Do == doDestroy:
		s.destroy(q.ID)
	default:
		err = unknown(q)
	}
	if errors.Is(err, errEnding) {
		return
	}
	a.Error = newProblem(err)
	_ = answer(conn, a, file) // an asker that has gone asks again
	if file != nil {
		_ = file.Close() // the asker has its own now
	}
}

func unknown(q request) error {
	return fault.Newf(fault.Unavailable, "the network switch speaks version %d and can't do %.20q of version %d: it is renewed when all VMs have stopped",
		version, cmp.Or(q.Do, "?"), q.Version)
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
