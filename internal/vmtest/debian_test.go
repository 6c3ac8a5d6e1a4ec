//go:build vmfull

package vmtest_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/client"
)

// A distribution's image with the real cloud-init takes the host name, the key
// and the size of the disk that it is given, beside user data, and is known by the host
// keys that it prints.
func TestDebian(t *testing.T) { //nolint:paralleltest // it is the only one
	const gib = 1 << 20 // in KiB, as df counts
	c := newCloud(t)
	begin := time.Now()
	id := c.given(c.wish("debian-one", "debian-12-cloudinit.qcow2"), "#cloud-config\n# "+secret+"\nwrite_files:\n  - {path: /root/made, content: by user data}\n"+
		"runcmd:\n  - [sh, -c, 'hostname > /root/ran']\n")
	v := c.reach(id, client.StatusActive)
	t.Logf("Active after %s", time.Since(begin).Round(time.Second))
	guest := c.login("debian", v.Address())
	t.Logf("logged in after %s", time.Since(begin).Round(time.Second))
	status := guest.run("cloud-init status --wait --long")
	t.Logf("cloud-init was done after %s", time.Since(begin).Round(time.Second))
	if !strings.Contains(status, "status: done") {
		t.Errorf("cloud-init says:\n%s", status)
	}
	if got := guest.run("hostname; nproc; . /etc/os-release; echo $ID"); got != "debian-one\n2\ndebian" {
		t.Errorf("the guest said %q", got)
	}
	said := guest.run("df --output=size / | tail -n 1")
	if root, err := strconv.Atoi(said); err != nil || root < 23*gib {
		t.Errorf("the root file system has %q KiB, want it grown to the disk's 25 GiB", said)
	}
	if got := guest.run("sudo cat /root/made; echo; sudo cat /root/ran"); got != "by user data\ndebian-one" {
		t.Errorf("user data has left %q", got)
	}
	c.logins(id, "debian")
	c.remove(id)
	c.until("nothing is left", func() bool { return len(c.machines())+len(c.names("agent", "vms")) == 0 })
}
