package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cpucloud/cpucloud/internal/capacity"
)

// behind is how much a benchmark of the agent stands back behind VMs.
const behind = 15

// measure takes a benchmark in a process of its own: it stands back behind all
// else on the machine, and neither its memory nor its threads are the agent's.
func (h *host) measure(ctx context.Context, url string) (m capacity.Measured, err error) {
	self, err := os.Executable()
	if err != nil {
		return m, fmt.Errorf("find own program: %w", err)
	}
	args := []string{"agent", "benchmark", "--output=json", "--data=" + h.dir, "--server=" + url}
	if h.flags.caFile != "" {
		args = append(args, "--ca-file="+h.flags.caFile)
	}
	var out, said bytes.Buffer
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &out, &said, time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := runBehind(cmd); err != nil {
		return m, fmt.Errorf("benchmark: %w: %s", err, strings.TrimSpace(said.String()))
	}
	if err := json.Unmarshal(out.Bytes(), &m); err != nil {
		return m, fmt.Errorf("read benchmark: %w", err)
	}
	return m, nil
}

// runBehind runs a program at a low priority, which it has of the thread that
// starts it. That thread ends afterwards: only root could raise it again.
func runBehind(cmd *exec.Cmd) error {
	ended := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never let go
		_ = unix.Setpriority(unix.PRIO_PROCESS, 0, behind)
		ended <- cmd.Run()
	}()
	return <-ended
}
