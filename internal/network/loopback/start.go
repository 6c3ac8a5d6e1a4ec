package loopback

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cpucloud/cpucloud/internal/fault"
)

// The files in the driver's folder.
const (
	socketFile = "switch.sock"
	lockFile   = "switch.lock" // locked by the switch for as long as it lives
	logFile    = "switch.log"
)

const (
	connectTime = 10 * time.Second
	connectWait = 10 * time.Millisecond // while another process starts the switch, or the old one ends
)

// What the switch finds open when it starts, besides its log on 1 and 2.
const (
	settingsFD = iota
	_
	_
	listenerFD
	lockFD
	programFD // what is executed, see spawn
)

// processors is how many the switch uses at once. The stack of every VM starts
// as many goroutines.
const processors = 4

var (
	errNoSwitch = errors.New("no switch runs")
	errRunning  = errors.New("a switch runs")
)

// settings are what a switch is told when it starts.
type settings struct {
	Owner int           `json:"owner"` // the uid that it obeys, besides root
	Idle  time.Duration `json:"idle"`
}

func (d *Driver) path(name string) string { return filepath.Join(d.c.Dir, name) }

// connect returns a connection to the switch. When there is none it starts one,
// or returns errNoSwitch.
func (d *Driver) connect(ctx context.Context, start bool) (*net.UnixConn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	for {
		conn, err := d.dial(ctx)
		if err == nil {
			return conn, nil
		}
		if !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ECONNREFUSED) {
			return nil, fmt.Errorf("connect to the network switch: %w", err)
		}
		if !start {
			return nil, errNoSwitch
		}
		if err = d.start(ctx); err == nil {
			continue
		}
		if !errors.Is(err, errRunning) {
			return nil, fmt.Errorf("start the network switch: %w", err)
		}
		if wait(ctx, connectWait); ctx.Err() != nil {
			return nil, fault.Newf(fault.Unavailable, "the network switch holds %s but doesn't answer", d.path(lockFile))
		}
	}
}

// within calls f with a short path to the driver's folder: the path of a unix
// socket has at most 107 bytes.
func (d *Driver) within(f func(dir string) error) error {
	dir, err := os.Open(d.c.Dir)
	if err != nil {
		return err
	}
	defer dir.Close() //nolint:errcheck // it was only read
	return f(filepath.Join("/proc/self/fd", strconv.Itoa(int(dir.Fd()))))
}

func (d *Driver) dial(ctx context.Context) (conn *net.UnixConn, err error) {
	err = d.within(func(dir string) error {
		var dialer net.Dialer
		c, err := dialer.DialContext(ctx, "unix", filepath.Join(dir, socketFile))
		if err == nil {
			conn = c.(*net.UnixConn)
		}
		return err
	})
	return conn, err
}

// start starts a switch, or returns errRunning. The lock goes over to it, so
// that two can never run, whatever is killed when.
func (d *Driver) start(ctx context.Context) error {
	lock, err := os.OpenFile(d.path(lockFile), os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close() //nolint:errcheck // the switch has it by then
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		return errRunning
	} else if err != nil {
		return err
	}
	listener, err := d.listen(ctx)
	if err != nil {
		return err
	}
	defer listener.Close() //nolint:errcheck // the switch has it by then
	log, err := os.OpenFile(d.path(logFile), os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // nothing was written
	pid, err := d.spawn(log, listener, lock)
	if err != nil {
		return err
	}
	d.c.Log.InfoContext(ctx, "network switch started", "pid", pid)
	return nil
}

// listen makes the switch's socket in the place of one that a dead switch left.
// This process makes it and not the switch, which may not write to the folder.
func (d *Driver) listen(ctx context.Context) (file *os.File, err error) {
	if err := os.Remove(d.path(socketFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var failed error
		err := raw.Control(func(fd uintptr) { failed = unix.Fchmod(int(fd), 0o600) }) // before it has a name
		return errors.Join(err, failed)
	}}
	err = d.within(func(dir string) error {
		ln, err := config.Listen(ctx, "unix", filepath.Join(dir, socketFile))
		if err != nil {
			return err
		}
		u := ln.(*net.UnixListener)
		u.SetUnlinkOnClose(false)
		defer u.Close() //nolint:errcheck // its file stays open
		file, err = u.File()
		return err
	})
	return file, err
}

// spawn runs the switch in a session of its own, with nothing of this process
// but the files. The program is executed through an open file: its folder may
// be closed to the switch's user.
func (d *Driver) spawn(log, listener, lock *os.File) (int, error) {
	program, err := os.Open(d.c.Command[0])
	if err != nil {
		return 0, err
	}
	defer program.Close() //nolint:errcheck // it was only read
	in, out, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer in.Close() //nolint:errcheck // the switch has it by then
	attr := &os.ProcAttr{
		Dir:   "/",
		Env:   []string{"GOMAXPROCS=" + strconv.Itoa(min(processors, runtime.NumCPU())), "GOGC=50"},
		Files: []*os.File{in, log, log, listener, lock, program},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	}
	if os.Getuid() == 0 {
		attr.Sys.Credential = &syscall.Credential{Uid: d.c.User, Gid: d.c.User}
		attr.Sys.AmbientCaps = []uintptr{unix.CAP_NET_BIND_SERVICE}
	}
	p, err := startProcess("/proc/self/fd/"+strconv.Itoa(programFD), d.c.Command, attr)
	if err != nil {
		return 0, errors.Join(err, out.Close())
	}
	go p.Wait() //nolint:errcheck // only so that it leaves no zombie
	err = json.NewEncoder(out).Encode(settings{Owner: os.Getuid(), Idle: d.c.Idle})
	return p.Pid, errors.Join(err, out.Close())
}

// startProcess is os.StartProcess for a process that can't gain privileges.
// That is inherited from the thread that starts it, which is given up for it.
func startProcess(path string, argv []string, attr *os.ProcAttr) (*os.Process, error) {
	type result struct {
		p   *os.Process
		err error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			done <- result{nil, err}
			return
		}
		p, err := os.StartProcess(path, argv, attr)
		done <- result{p, err}
	}()
	r := <-done
	return r.p, r.err
}
