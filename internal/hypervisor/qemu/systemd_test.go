package qemu_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cpucloud/cpucloud/internal/hypervisor"
	"github.com/cpucloud/cpucloud/internal/hypervisor/hypervisortest"
	"github.com/cpucloud/cpucloud/internal/worldtest"
)

// TestMachineIsAScope runs machines where systemd runs: each is a scope from its
// first instruction to its end, also over a start of the agent, and none is left.
func TestMachineIsAScope(t *testing.T) {
	t.Parallel()
	if !worldtest.Systemd(t, worldtest.Legacy) {
		return
	}
	dir := t.TempDir()
	d := open(t, dir)
	facts, err := d.Probe(t.Context())
	if err != nil || !strings.HasPrefix(facts.Limits, "scopes of systemd ") {
		t.Errorf("Probe = %+v, %v, want that limits are held by scopes", facts, err)
	}
	start(t, d, "a")
	start(t, d, "b")
	for _, id := range []string{"a", "b"} {
		groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid(t, dir, id)))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(groups), "/cpucloud.slice/cpucloud-") || !strings.Contains(string(groups), "-"+id+".scope\n") {
			t.Errorf("machine %s is in the groups\n%s", id, groups)
		}
	}
	if got := scopes(t); len(got) != 2 || !strings.Contains(got[0], "CPU Cloud VM a") || !strings.Contains(got[1], "CPU Cloud VM b") {
		t.Errorf("scopes: %q, want those of two machines", got)
	}
	again := open(t, dir)
	if list, err := again.List(t.Context()); err != nil || len(list) != 2 || list[0].State != hypervisor.Running {
		t.Errorf("List = %+v, %v, want both machines to run", list, err)
	}
	if err := again.Destroy(t.Context(), "a"); err != nil {
		t.Error(err)
	}
	if got := scopes(t); len(got) != 1 || !strings.Contains(got[0], "CPU Cloud VM b") {
		t.Errorf("scopes: %q, want that of the machine that is left", got)
	}
	// A crash between the end of a machine and the end of its scope.
	machine, err := os.FindProcess(pid(t, dir, "b"))
	if err != nil {
		t.Fatal(err)
	}
	if err := machine.Kill(); err != nil {
		t.Fatal(err)
	}
	hypervisortest.Await(t, func() bool {
		list, err := again.List(t.Context())
		return err == nil && list[0].State == hypervisor.Exited
	})
	if err := os.RemoveAll(filepath.Join(dir, "b")); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
	if got := scopes(t); len(got) != 0 {
		t.Errorf("scopes: %q, want none", got)
	}
	testWithoutSocket(t)
}

// testWithoutSocket runs a machine beside a systemd that can't be asked any more.
func testWithoutSocket(t *testing.T) {
	t.Helper()
	if err := os.Remove("/run/systemd/private"); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	d := open(t, dir)
	facts, err := d.Probe(t.Context())
	if err != nil || facts.Limits != "control groups that the agent makes" || !strings.Contains(facts.Weaker, "beside systemd") {
		t.Errorf("Probe = %+v, %v, want to be told that groups are made beside systemd", facts, err)
	}
	start(t, d, "a")
	groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid(t, dir, "a")))
	if err != nil || !strings.Contains(string(groups), "/cpucloud/") {
		t.Errorf("the machine is in the groups\n%s, %v", groups, err)
	}
}

// scopes returns those that systemd knows, a line each.
func scopes(t *testing.T) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "systemctl", "list-units", "--all", "--plain", "--no-legend", "cpucloud-*.scope").CombinedOutput()
	if err != nil {
		t.Fatalf("systemctl: %v: %s", err, out)
	}
	var all []string
	for line := range strings.Lines(string(out)) {
		all = append(all, line)
	}
	return all
}
