//go:build vm

package vmtest_test

import (
	"bytes"
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A machine that lacks QEMU is told which package brings it.
func TestUpWithoutQEMU(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "up", "--data", filepath.Join(t.TempDir(), "cloud"), "--listen", "127.0.0.1:0")
	cmd.Env = []string{"PATH=" + t.TempDir(), "HOME=" + t.TempDir()}
	var said bytes.Buffer
	cmd.Stderr = &said
	err := cmd.Run()
	if cmd.ProcessState.ExitCode() < 1 || !strings.Contains(said.String(), "qemu-system-x86") {
		t.Errorf("up ended with %v and said:\n%s", err, said.String())
	}
}
