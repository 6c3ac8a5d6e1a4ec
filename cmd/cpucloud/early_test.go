package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/cpucloud/cpucloud/internal/hypervisor/confine"
)

// Each start of a machine waits for this program's own start as its helper, which
// has to come before the packages that take their time.
func TestHelperIsEarly(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	initialised := func(argument string) string {
		cmd := exec.CommandContext(t.Context(), self, argument)
		cmd.Args[0] = "cpucloud" // as which TestMain runs the program, not its tests
		cmd.Env = []string{"GODEBUG=inittrace=1"}
		said, err := cmd.CombinedOutput()
		if err == nil {
			t.Errorf("%s: no error", argument)
		}
		return string(said)
	}
	const slow = "init github.com/santhosh-tekuri/jsonschema"
	if said := initialised(confine.Helper); strings.Contains(said, slow) || !strings.Contains(said, "called by the agent alone") {
		t.Errorf("the helper without arguments said:\n%s", said)
	}
	if said := initialised("nonsense"); !strings.Contains(said, slow) {
		t.Errorf("this program has no %q at all, so the test says nothing:\n%s", slow, said)
	}
}
