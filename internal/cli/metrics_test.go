package cli_test

import (
	"context"
	"strings"
	"testing"
	"time"
)

// At a terminal the picture is drawn until it is left, no wider than the terminal is.
func TestTopAtTerminal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.terminal = true
	w.cloud.add("web", "Active")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	code, out, errs := w.runIn(ctx, "vm", "top")
	if code != 0 || !strings.HasPrefix(out, "\x1b[H\x1b[J") || !strings.Contains(out, "Ctrl-C ends") || !strings.Contains(out, "web") {
		t.Errorf("exit code %d, %q, %s", code, out, errs)
	}
	for line := range strings.Lines(out) {
		if line = strings.TrimRight(line, "\n"); len(strings.TrimPrefix(line, "\x1b[H\x1b[J")) > 60 {
			t.Errorf("%q is wider than the terminal", line)
		}
	}
	for _, args := range [][]string{{"--once"}, {"-o", "json"}} {
		code, out, errs := w.run(t, append([]string{"vm", "top"}, args...)...)
		if code != 0 || strings.Contains(out, "\x1b") || !strings.Contains(out, "web") {
			t.Errorf("%v: exit code %d, %q, %s", args, code, out, errs)
		}
	}
	w.cloud.down = 100
	if code, _, _ := w.run(t, "vm", "top"); code == 0 {
		t.Error("a cloud that is down is no failure")
	}
}
