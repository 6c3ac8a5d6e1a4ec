//go:build vm

package vmtest_test

import (
	"context"
	"fmt"
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
	c.testOff(id, address)
	c.testSize(id, address)
	c.testUndelete(id, address)
	c.remove(id)
	c.until("nothing is left", func() bool { return len(c.machines())+len(c.names("agent", "vms")) == 0 })
}

// done waits for an operation to succeed, while everything around it is killed.
func (c *cloud) done(what string, o client.Operation, err error) {
	c.Helper()
	if err != nil {
		c.Fatalf("%s: %v", what, err)
	}
	c.restart()
	if o, err = c.anna.WaitOperation(c.Context(), o.ID); err != nil || o.Outcome != client.OperationSucceeded {
		c.Fatalf("%s: %+v, %v", what, o, err)
	}
}

// testOff powers a VM off, which leaves nothing running, and starts it again.
func (c *cloud) testOff(id, address string) {
	c.Helper()
	c.login("root", address).run("echo off > /root/kept && sync")
	o, err := c.anna.ShutdownVM(c.Context(), id, "off")
	c.done("shutdown", o, err)
	c.until("the machine is gone", func() bool { return len(c.machines()) == 0 })
	if v := c.reach(id, client.StatusActive); v.Power != client.PowerOff || v.Address() != address || v.NextPrice == nil || *v.NextPrice != v.PriceOff {
		c.Errorf("while it is off: %+v", v)
	}
	c.restart() // which leaves it off
	if len(c.machines()) > 0 {
		c.Errorf("machines %v after a restart", c.machines())
	}
	o, err = c.anna.StartVM(c.Context(), id, "on")
	c.done("start", o, err)
	if got := c.login("root", address).run("cat /root/kept"); got != "off" {
		c.Errorf("after it was off the file says %q", got)
	}
}

// testSize gives a VM another processor and a larger disk.
func (c *cloud) testSize(id, address string) {
	c.Helper()
	c.login("root", address).run("echo small > /root/kept && sync")
	o, err := c.anna.ResizeVM(c.Context(), id, "larger", client.Size{Configuration: "cpu-4-ram-8gb-storage-50gb", MaxPrice: "100"})
	c.done("resize", o, err)
	guest := c.login("root", address)
	if got := guest.run("cat /root/kept && nproc && cat /sys/block/vda/size"); got != fmt.Sprintf("small\n4\n%d", 50<<30/512) {
		c.Errorf("after it was resized: %q", got)
	}
}

// testUndelete deletes a VM and brings it back.
func (c *cloud) testUndelete(id, address string) {
	c.Helper()
	c.login("root", address).run("echo deleted > /root/kept && sync")
	d, err := c.anna.DeleteVM(c.Context(), id, false)
	if err != nil || d.KeptUntil == nil {
		c.Fatalf("delete: %+v, %v", d, err)
	}
	c.until("the machine is gone", func() bool { return len(c.machines()) == 0 })
	c.restart()
	o, err := c.anna.UndeleteVM(c.Context(), id, "back")
	c.done("undelete", o, err)
	if got := c.login("root", c.reach(id, client.StatusActive).Address()).run("cat /root/kept"); got != "deleted" {
		c.Errorf("after it was deleted the file says %q", got)
	}
	if now := c.reach(id, client.StatusActive).Address(); now != address {
		c.Errorf("its address was %s, is %s", address, now)
	}
}
