//go:build vm

package vmtest_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/cpucloud/cpucloud/client"
)

// A script of user data runs at the first boot and never again; what it holds is kept
// with the VM and shown to nobody. The first login by ssh knows the VM, and a guest
// with other keys is not taken for it.
func TestUserData(t *testing.T) { //nolint:paralleltest // see TestLife
	c := newCloud(t)
	script := "#!/bin/sh\n# " + secret + "\necho \"$(hostname) $(id -u)\" >>/root/made\n"
	id, other := c.given(c.wish("web", demoImage), script), c.deploy(c.wish("db", demoImage))
	address := c.reach(id, client.StatusActive).Address()
	guest := c.login("root", address)
	c.until("the script has run", func() bool { said, _ := guest.try("cat /root/made"); return said == "web 0" })
	c.until("it is forgotten where it is not needed", func() bool {
		return slices.Equal(c.holding(), []string{"seed.iso", "userdata.json"})
	})
	again := c.logins(id, "root")

	o, err := c.anna.RebootVM(t.Context(), id, "once")
	if err != nil {
		t.Fatal(err)
	}
	if o, err = c.anna.WaitOperation(t.Context(), o.ID); err != nil || o.Outcome != client.OperationSucceeded {
		t.Fatalf("reboot: %+v, %v", o, err)
	}
	guest = c.login("root", address)
	if said := guest.run("cat /root/made"); said != "web 0" {
		t.Errorf("after a reboot the script has left %q", said)
	}
	if said, err := again(); err != nil || said != "logged in\n" {
		t.Errorf("after a reboot: %v, %q", err, said)
	}

	c.reach(other, client.StatusActive)
	if a, b := c.keysOf(id)[0].PublicKey, c.keysOf(other)[0].PublicKey; a == b {
		t.Errorf("two VMs have the key %s", a)
	}
	if said := c.login("root", c.reach(other, client.StatusActive).Address()).run("ls /root"); said != "" {
		t.Errorf("a VM without user data has %q", said)
	}
	// It ends this session, too.
	_, _ = guest.try("rm /etc/dropbear/host_key && dropbearkey -t ed25519 -f /etc/dropbear/host_key && killall dropbear")
	c.until("another host key is refused", func() bool {
		said, err := again()
		return err != nil && strings.Contains(said, "Host key verification failed")
	})
	c.remove(id, other)
	c.until("nothing is left", func() bool { return len(c.machines())+len(c.names("agent", "vms")) == 0 })
	if left := c.holding(); len(left) > 0 {
		t.Errorf("user data is in %v of a VM that is removed", left)
	}
}
