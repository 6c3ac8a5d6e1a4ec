// Package controlplane runs `cpucloud server` as a process of its own for a bench.
package controlplane

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/cpucloud/cpucloud/bench/internal/process"
	"github.com/cpucloud/cpucloud/bench/internal/report"
)

const (
	startWithin = 2 * time.Minute
	stopWithin  = time.Minute
	lookEvery   = 2 * time.Millisecond
)

// Process is a control plane that answers.
type Process struct {
	PID process.PID
	URL string

	log   string
	in    io.Closer // ends with this process
	ended chan struct{}
}

// Start runs a command that says where it answers, as `cpucloud server` does, and
// returns when it has. What it says is kept in the folder.
func Start(ctx context.Context, folder string, command ...string) (*Process, error) {
	p := &Process{log: filepath.Join(folder, "log"), ended: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer log.Close() //nolint:errcheck // the control plane has it by then
	// End ends it, in order.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the bench
	if p.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p.PID = process.PID(cmd.Process.Pid)
	go func() {
		_ = cmd.Wait() // its log says more
		close(p.ended)
	}()
	if p.URL, err = p.ready(ctx); err != nil {
		return nil, errors.Join(err, p.End(ctx, syscall.SIGKILL))
	}
	return p, nil
}

// ready waits until the control plane says where it answers.
func (p *Process) ready(ctx context.Context) (url string, err error) {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	for {
		said, err := os.ReadFile(p.log)
		if err != nil {
			return "", err
		}
		if _, rest, ok := bytes.Cut(said, []byte("answers at ")); ok {
			if line, _, whole := bytes.Cut(rest, []byte("\n")); whole {
				return string(line), nil
			}
		}
		select {
		case <-p.ended:
			return "", fmt.Errorf("it ended: %s", said)
		default:
		}
		if err := report.Pause(ctx, lookEvery); err != nil {
			return "", fmt.Errorf("%w: %s", err, said)
		}
	}
}

// End ends the control plane by a signal, though ctx may be done. One that has
// ended is left as it is.
func (p *Process) End(ctx context.Context, how syscall.Signal) error {
	select {
	case <-p.ended:
		return nil
	default:
	}
	_ = syscall.Kill(int(p.PID), how) // it may have ended
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	select {
	case <-p.ended:
		return nil
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("the control plane, process %d, did not end", p.PID), syscall.Kill(int(p.PID), syscall.SIGKILL))
	}
}

// OperatorKey returns the key that `cpucloud server` left in its data folder.
func OperatorKey(folder string) (string, error) {
	path := filepath.Join(folder, "admin.env")
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if key, ok := strings.CutPrefix(strings.TrimPrefix(strings.TrimSpace(line), "export "), "CPUCLOUD_ADMIN_KEY="); ok {
			return key, nil
		}
	}
	return "", fmt.Errorf("%s has no operator's key", path)
}
