//go:build vm

package vmtest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/cpucloud/cpucloud/client"
)

// does waits until an operation has succeeded, also when all is killed meanwhile.
func (c *cloud) does(kill bool, what string, o client.Operation, err error) {
	c.Helper()
	if err != nil {
		c.Fatalf("%s: %v", what, err)
	}
	if kill {
		c.restart()
	}
	begun := time.Now()
	if o, err = c.anna.WaitOperation(c.Context(), o.ID); err != nil || o.Outcome != client.OperationSucceeded {
		c.Fatalf("%s: %+v, %v", what, o, err)
	}
	c.Logf("%s took %s", what, time.Since(begun).Round(100*time.Millisecond))
}

// wants compares what a command says in a guest.
func (s *session) wants(command, want string) {
	s.Helper()
	if got := s.run(command); got != want {
		s.Errorf("%s says %q, want %q", command, got, want)
	}
}

// hostKey returns what a VM's host key is known as.
func (c *cloud) hostKey(id string) string {
	c.Helper()
	return c.keysOf(id)[0].Fingerprint
}

// A VM gets a new disk and the old one back, while everything around it is killed, at one
// address: each disk is as it was left, and has host keys of its own. A disk that can't be
// had costs nobody a second.
func TestReinstall(t *testing.T) { //nolint:paralleltest // see TestLife
	c := newCloud(t)
	id := c.deploy(c.wish("web", demoImage))
	address := c.reach(id, client.StatusActive).Address()
	c.login("root", address).run("echo first > /root/kept && sync")
	first := c.hostKey(id)

	guest, nothing := c.login("root", address), "http://"+c.listen+"/images/nothing.qcow2"
	o, err := c.anna.ReinstallVM(t.Context(), id, client.Reinstall{Image: &nothing}, "")
	if err != nil {
		t.Fatal(err)
	}
	if o, err = c.anna.WaitOperation(t.Context(), o.ID); err != nil || o.Error == nil || !strings.Contains(*o.Error, "goes on as it was") {
		t.Errorf("of an image that isn't there: %+v, %v", o, err)
	}
	guest.wants("cat /root/kept", "first") // in a session that was never cut

	script := "#!/bin/sh\necho second > /root/kept\n"
	o, err = c.anna.ReinstallVM(t.Context(), id, client.Reinstall{UserData: &script}, "one")
	c.does(true, "reinstall", o, err)
	guest = c.login("root", address)
	c.until("its user data was done", func() bool {
		said, err := guest.try("cat /root/kept")
		return err == nil && said == "second"
	})
	second := c.hostKey(id)
	if second == first {
		t.Errorf("the new disk has the host key %s of the old one", first)
	}
	disks := c.disksOf(id)
	if len(disks) != 2 || disks[0].Number != 0 || disks[0].KeptUntil == nil || !disks[1].Current {
		t.Fatalf("disks are %+v", disks)
	}

	o, err = c.anna.ReturnDisk(t.Context(), id, 0, "two")
	c.does(true, "return", o, err)
	c.login("root", address).wants("cat /root/kept", "first")
	if key := c.hostKey(id); key != first {
		t.Errorf("the host key is known as %s, want %s", key, first)
	}
	if err := c.anna.PurgeDisk(t.Context(), id, disks[1].Number); err != nil {
		t.Fatal(err)
	}
	c.until("the other disk is gone", func() bool { return len(c.disksOf(id)) == 1 })
	if files := c.otherDisks(id); len(files) > 0 {
		t.Errorf("left behind: %v", files)
	}
	c.remove(id)
}

func (c *cloud) disksOf(id string) []client.Disk {
	c.Helper()
	list, err := c.anna.Disks(c.Context(), id)
	if err != nil {
		c.Fatalf("disks: %v", err)
	}
	return list
}

// A VM that can't be logged in to any more is mended in rescue, with a key of its own and
// host keys of its own, while everything around it is killed.
func TestRescue(t *testing.T) { //nolint:paralleltest // see TestLife
	c := newCloud(t)
	id, home := c.deploy(c.wish("web", demoImage)), t.TempDir()
	address := c.reach(id, client.StatusActive).Address()
	own := c.hostKey(id)
	c.login("root", address).run("echo mine > /root/kept && mv /root/.ssh/authorized_keys /root/lost && sync")

	c.cli(home, "vm", "rescue", "web")
	c.restart()
	o := c.newest(id)
	c.does(false, "rescue", o, nil)
	on := func(command string) string { return c.cli(home, "vm", "ssh", "web", "--", command) }
	c.until("the rescue system has printed its host keys", func() bool {
		v, err := c.anna.VM(c.Context(), id)
		return err == nil && len(v.RescueHostKeys) == 1 && v.RescueHostKeys[0].Fingerprint != own && v.SSHHostKeys[0].Fingerprint == own
	})
	said := on("mkdir -p /mnt && mount /dev/vdb2 /mnt && cat /mnt/root/kept && mv /mnt/root/lost /mnt/root/.ssh/authorized_keys && umount /mnt && sync && ls /root")
	if said != "mine\n" {
		t.Errorf("in rescue: %q", said)
	}
	if _, err := ssh.Dial("tcp", address+":22", c.clientConfig("root")); err == nil {
		t.Error("the customer's own key logs in to the rescue system")
	}
	if v, err := c.anna.VM(t.Context(), id); err != nil || v.Rescue == nil || v.Status != client.StatusActive || v.SSHHostKeys[0].Fingerprint != own {
		t.Errorf("the VM is told as %+v, %v", v, err)
	}

	c.cli(home, "vm", "unrescue", "web", "--wait", "--timeout", patience.String())
	guest := c.login("root", address)
	guest.wants("cat /root/kept", "mine")
	guest.wants("test -b /dev/vdb2 || echo alone", "alone")
	c.until("the disk of the rescue is gone", func() bool { return len(c.otherDisks(id)) == 0 })
	if left, err := os.ReadDir(filepath.Join(home, "data", "rescue-keys")); err != nil || len(left) > 0 {
		t.Errorf("keys left: %v, %v", left, err)
	}
	c.remove(id)
}

// cli runs the command line, which has to succeed, and returns what it says.
func (c *cloud) cli(home string, args ...string) string {
	c.Helper()
	said, err := c.command(home, args...)
	if err != nil {
		c.Fatalf("cpucloud %s: %v\n%s", strings.Join(args, " "), err, said)
	}
	return said
}

// newest returns the operation that was begun last.
func (c *cloud) newest(id string) client.Operation {
	c.Helper()
	list, err := c.anna.Operations(c.Context(), id)
	if err != nil || len(list) == 0 {
		c.Fatalf("operations: %v, %v", list, err)
	}
	return list[0]
}

// otherDisks returns the files of a VM's disks but that of the first one.
func (c *cloud) otherDisks(id string) []string {
	c.Helper()
	files, err := filepath.Glob(filepath.Join(c.data, "agent", "vms", id, "disk-*"))
	if err != nil {
		c.Fatal(err)
	}
	return files
}
