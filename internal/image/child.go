package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
)

// Bounds of a child. Making an overlay takes a hundredth of each.
const (
	childTimeout = time.Minute
	childCPU     = 30       // seconds
	childMemory  = 1 << 30  // bytes of address space
	childFile    = 64 << 20 // bytes that a file of it may have
	childFiles   = 64       // open at once

	// childUser is who it is where this process is root: nobody else's number, just
	// below those of the machines.
	childUser = 1879048191
)

// child is a program of QEMU that is run over one open file, and can do nothing
// but change that: it is another user without rights, finds no file but what
// programs are made of, gets no socket, and ends by itself.
type child struct {
	program string   // absolute
	args    []string // that name the file as childPath
	file    *os.File
	free    bool // of the confinement, for tests with programs of their own
}

// childPath is what a child knows its file by.
const childPath = "/proc/self/fd/3"

// run runs the child to its end.
func (c child) run(ctx context.Context) error {
	if c.free {
		return c.exec(ctx, c.command, nil)
	}
	limiter, err := exec.LookPath("prlimit")
	if err != nil {
		return fault.New(fault.Unavailable, "prlimit is missing on the server; install the package util-linux")
	}
	who, err := c.hand()
	if err != nil {
		return err
	}
	limited := func(ctx context.Context) *exec.Cmd {
		args := append([]string{
			"--as=" + strconv.Itoa(childMemory), "--cpu=" + strconv.Itoa(childCPU), "--fsize=" + strconv.Itoa(childFile),
			"--nofile=" + strconv.Itoa(childFiles), "--core=0", "--", c.program,
		}, c.args...)
		return exec.CommandContext(ctx, limiter, args...)
	}
	// Confinement belongs to a thread, and its children inherit it. The thread is
	// never used for anything else: it ends with the goroutine that is locked to it.
	ended := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err := confine(c.file, limiter, c.program)
		if err == nil {
			err = c.exec(ctx, limited, who)
		}
		ended <- err
	}()
	return errors.Join(<-ended, c.takeBack(who))
}

// hand gives the file to the user that the child will be, nil for this one.
func (c child) hand() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil //nolint:nilnil // there is nobody else whom it could be
	}
	if err := c.file.Chown(childUser, childUser); err != nil {
		return nil, fmt.Errorf("hand file to %s: %w", c.program, err)
	}
	return &syscall.Credential{Uid: childUser, Gid: childUser}, nil
}

func (c child) takeBack(who *syscall.Credential) error {
	if who == nil {
		return nil
	}
	return c.file.Chown(os.Geteuid(), os.Getegid())
}

func (c child) command(ctx context.Context) *exec.Cmd {
	return exec.CommandContext(ctx, c.program, c.args...)
}

// exec runs a command with the file as its file 3, and nothing of this process's
// environment.
func (c child) exec(ctx context.Context, command func(context.Context) *exec.Cmd, who *syscall.Credential) error {
	ctx, cancel := context.WithTimeout(ctx, childTimeout)
	defer cancel()
	var stderr said
	cmd := command(ctx)
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C"}
	cmd.Dir = "/"
	cmd.Stderr = &stderr
	cmd.ExtraFiles = []*os.File{c.file}
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL, Credential: who}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", c.program, err, bytes.TrimSpace(stderr))
	}
	return nil
}

// said keeps the beginning of what a program says.
type said []byte

// Write implements io.Writer.
func (t *said) Write(p []byte) (int, error) {
	*t = append(*t, p[:min(len(p), 1024-len(*t))]...)
	return len(p), nil
}
