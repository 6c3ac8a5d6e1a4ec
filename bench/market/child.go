package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/cpucloud/cpucloud/bench/internal/process"
)

// Clients and the server of the floor run in processes of their own, of this
// program: what they use is not in the figures of what they call.

// runLoad has a process do a task.
func runLoad(ctx context.Context, t task) (out outcome, err error) {
	in, err := json.Marshal(t)
	if err != nil {
		return out, err
	}
	self, err := os.Executable()
	if err != nil {
		return out, err
	}
	cmd := exec.CommandContext(ctx, self, "-role", "load")
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), os.Stderr
	text, err := cmd.Output()
	if err != nil {
		return out, fmt.Errorf("clients of %s: %w", t.Path, err)
	}
	return out, json.Unmarshal(text, &out)
}

// startFloor starts the floor's server, and returns where it listens.
func startFloor(ctx context.Context) (pid process.PID, address string, stop func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, "", nil, err
	}
	cmd := exec.CommandContext(ctx, self, "-role", "floor")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return 0, "", nil, err
	}
	stop = func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()         // by the signal
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) || line == "" {
		stop()
		return 0, "", nil, fmt.Errorf("the floor's server did not start: %w", err)
	}
	return process.PID(cmd.Process.Pid), strings.TrimSpace(line), stop, nil
}
