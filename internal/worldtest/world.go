// Package worldtest runs a test once more in a world of its own: over a file system
// that the host's isn't, or below a systemd that the host may lack.
package worldtest

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// inside names the world that a test runs in.
const inside = "CPUCLOUD_TEST_WORLD"

// world is where a test runs.
type world struct {
	enter func(args ...string) []string // the command that runs args there
	env   []string                      // variables besides this process's own
	said  func() string                 // what there is to say about a failure, nil for nothing
}

// once reports whether the calling test runs in the world called name. If it
// doesn't, once has that made, runs the test there and tells how it went; the
// caller returns. Worlds are root's to make: others are told that nothing was
// tested.
func once(t *testing.T, name string, made func() world) bool {
	t.Helper()
	if os.Getenv(inside) == name {
		return true
	}
	if os.Getuid() != 0 {
		t.Log("only root can make this test's world: nothing was tested")
		return false
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	w := made()
	args := w.enter(self, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...) //nolint:gosec // this program
	cmd.Env = append(append(os.Environ(), w.env...), inside+"="+name)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	t.Logf("inside %s:\n%s", name, out)
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("inside, it ends with %v", err)
		if w.said != nil {
			t.Log(w.said())
		}
	}
	return false
}
