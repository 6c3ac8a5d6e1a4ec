//go:build vm

package vmtest_test

import (
	"testing"

	"github.com/cpucloud/cpucloud/client"
)

// A VM's disk is copied while it runs, when everything around it is killed, and when it
// is off. Of a copy another machine is made, which outlives it.
func TestSnapshots(t *testing.T) { //nolint:paralleltest // see TestLife
	c := newCloud(t)
	id := c.deploy(c.wish("web", demoImage))
	address := c.reach(id, client.StatusActive).Address()
	guest := c.login("root", address)
	before := c.machines()
	guest.run("echo one > /root/kept && sync")
	one := c.snapshot(id, "one", false)
	if one.Consistency != "filesystem" || one.DiskBytes != 25<<30 || one.Bytes < 1<<20 {
		t.Errorf("snapshot %+v, want the file systems in order", one)
	}
	guest.run("echo two > /root/kept && sync")
	two := c.snapshot(id, "two", true)
	if got := guest.run("cat /root/kept"); got != "two" || len(c.machines()) != len(before) {
		t.Errorf("the guest says %q, machines are %v, were %v", got, c.machines(), before)
	}
	if state := guest.run("dmesg | grep -ci 'i/o error' || true"); state != "0" {
		t.Errorf("the guest saw %s errors of its disk", state)
	}

	const hostKey = "dropbearkey -y -f /etc/dropbear/host_key | grep ^ssh-"

	// Of each another machine is made, with what was on the disk then.
	for from, want := range map[string]string{one.ID: "one", two.ID: "two"} {
		d := c.wish("copy-"+want, "")
		d.VM.OSImage = ""
		made, err := c.anna.DeployWith(t.Context(), client.PlacedDeployment{Placing: client.Placing{Instances: 1}, VM: d.VM, Snapshot: from})
		if err != nil {
			t.Fatalf("VM of snapshot %s: %v", want, err)
		}
		c.made = append(c.made, made[0].ID)
		v := c.reach(made[0].ID, client.StatusActive)
		other := c.login("root", v.Address())
		if got := other.run("cat /root/kept"); got != want {
			t.Errorf("the VM of snapshot %s says %q", want, got)
		}
		if name := other.run("hostname"); name != "copy-"+want {
			t.Errorf("the VM of snapshot %s calls itself %q", want, name)
		}
		if other.run(hostKey) == guest.run(hostKey) {
			t.Errorf("the VM of snapshot %s has the host key of the one that it is of", want)
		}
		if other.run("cat /etc/machine-id") == guest.run("cat /etc/machine-id") {
			t.Errorf("the VM of snapshot %s has the machine id of the one that it is of", want)
		}
	}

	// It is restored, also when everything is killed: the same machine, with what was on the disk then.
	for _, r := range []struct {
		from client.Snapshot
		want string
		kill bool
	}{{one, "one", false}, {two, "two", true}} {
		key := guest.run(hostKey)
		o, err := c.anna.RestoreVM(t.Context(), id, r.from.ID, "restore "+r.want)
		if err != nil {
			t.Fatalf("restore %s: %v", r.want, err)
		}
		if r.kill {
			c.restart()
		}
		if o, err = c.anna.WaitOperation(t.Context(), o.ID); err != nil || o.Outcome != client.OperationSucceeded {
			t.Fatalf("restore %s: %+v, %v", r.want, o, err)
		}
		guest = c.login("root", address)
		if got := guest.run("cat /root/kept"); got != r.want {
			t.Errorf("restored from %s the guest says %q", r.want, got)
		}
		if now := guest.run(hostKey); now != key {
			t.Errorf("restored from %s the guest has another host key", r.want)
		}
		guest.run("echo three > /root/kept && sync")
	}

	// One that is off has its disk copied as well.
	o, err := c.anna.ShutdownVM(t.Context(), id, "off")
	if err == nil {
		_, err = c.anna.WaitOperation(t.Context(), o.ID)
	}
	if err != nil {
		t.Fatalf("shut down: %v", err)
	}
	c.snapshot(id, "off", false)
	c.snapshot(id, "off and killed", true)

	// What was made of a snapshot needs neither that nor the VM that it is of.
	for _, s := range []client.Snapshot{one, two} {
		if err := c.anna.DeleteSnapshot(t.Context(), s.ID); err != nil {
			t.Errorf("delete snapshot %s: %v", s.Name, err)
		}
	}
	c.until("they are gone", func() bool {
		list, err := c.anna.Snapshots(t.Context(), id)
		return err == nil && len(list) == 2
	})
	c.remove(id)
	copied := c.made[len(c.made)-1]
	o, err = c.anna.RebootVM(t.Context(), copied, "again")
	if err == nil {
		o, err = c.anna.WaitOperation(t.Context(), o.ID)
	}
	if err != nil || o.Outcome != client.OperationSucceeded {
		t.Fatalf("reboot of a copy: %+v, %v", o, err)
	}
	c.remove(c.made...)
}

// snapshot takes one of a VM, whole; everything is killed meanwhile if so asked.
func (c *cloud) snapshot(id, name string, kill bool) client.Snapshot {
	c.Helper()
	o, err := c.anna.TakeSnapshot(c.Context(), id, "", "snapshot "+name)
	if err != nil {
		c.Fatalf("snapshot %s: %v", name, err)
	}
	if kill {
		c.restart()
	}
	if o, err = c.anna.WaitOperation(c.Context(), o.ID); err != nil || o.Outcome != client.OperationSucceeded {
		c.Fatalf("snapshot %s: %+v, %v", name, o, err)
	}
	list, err := c.anna.Snapshots(c.Context(), id)
	if err != nil {
		c.Fatalf("snapshots: %v", err)
	}
	for _, s := range list {
		if s.ID == o.Result[client.SnapshotResult] && s.State == client.SnapshotAvailable {
			return s
		}
	}
	c.Fatalf("snapshot %s is not among %+v", name, list)
	return client.Snapshot{}
}
