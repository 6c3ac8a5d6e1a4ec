//go:build net

package gateway_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// A host's own address that is like any other on the internet is closed as well:
// the same test again, on a host that has one.
func TestFramesReachNoPublicAddressOfTheHost(t *testing.T) {
	t.Parallel()
	const script = `ip link set lo up && ip addr add 45.0.0.9/32 dev lo && exec "$0" -test.run '^TestFramesReachNothingOfTheHost$' -test.v`
	out, err := exec.CommandContext(t.Context(), "unshare", "--net", "sh", "-c", script, os.Args[0]).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if want := "TestFramesReachNothingOfTheHost/45.0.0.9"; !strings.Contains(string(out), want) {
		t.Errorf("the test didn't try the address: %s", out)
	}
}
