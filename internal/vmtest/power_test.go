//go:build vm

package vmtest_test

import (
	"context"
	"maps"
	"testing"

	"github.com/cpucloud/cpucloud/client"
)

// A VM is rebooted and reset, also while everything around it is killed: it comes
// back at its address, with what was written to its disk.
func TestPower(t *testing.T) { //nolint:paralleltest // see TestLife
	c := newCloud(t)
	id := c.deploy(c.wish("web", demoImage))
	address := c.reach(id, client.StatusActive).Address()
	for name, act := range map[string]struct {
		do   func(ctx context.Context, id, requestID string) (client.Operation, error)
		same bool // process
		kill bool
	}{
		"reboot":                {c.anna.RebootVM, false, false},
		"reset":                 {c.anna.ResetVM, true, false},
		"reboot, and all fails": {c.anna.RebootVM, false, true},
		"reset, and all fails":  {c.anna.ResetVM, true, true},
	} {
		t.Logf("%s", name)
		guest := c.login("root", address)
		guest.run("echo '" + name + "' > /root/kept && sync")
		boot, before := guest.run("cat /proc/sys/kernel/random/boot_id"), c.machines()
		o, err := act.do(t.Context(), id, name)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if act.kill {
			c.restart()
		}
		if o, err = c.anna.WaitOperation(t.Context(), o.ID); err != nil || o.Outcome != client.OperationSucceeded {
			t.Fatalf("%s: %+v, %v", name, o, err)
		}
		guest = c.login("root", address)
		if got := guest.run("cat /root/kept"); got != name {
			t.Errorf("after %s the file says %q", name, got)
		}
		if now := guest.run("cat /proc/sys/kernel/random/boot_id"); now == boot {
			t.Errorf("%s did not start the guest anew", name)
		}
		if now := c.machines(); maps.Equal(now, before) != act.same {
			t.Errorf("machines were %v before %s, are %v", before, name, now)
		}
	}
	c.remove(id)
	c.until("nothing is left", func() bool { return len(c.machines())+len(c.names("agent", "vms")) == 0 })
}
