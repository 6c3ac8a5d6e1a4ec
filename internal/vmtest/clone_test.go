//go:build vm

package vmtest_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/worldtest"
)

func TestClonedDiskOnXFS(t *testing.T) { //nolint:paralleltest // see TestLife
	if worldtest.On(t, worldtest.XFS) {
		newCloud(t).testClonedDisk()
	}
}

func TestClonedDiskOnBtrfs(t *testing.T) { //nolint:paralleltest // see TestLife
	if worldtest.On(t, worldtest.Btrfs) {
		newCloud(t).testClonedDisk()
	}
}

// testClonedDisk boots a VM from a clone of its image: it shares what it doesn't
// change, gives back what its guest discards, stays when everything is started
// again, and outlives its image.
func (c *cloud) testClonedDisk() {
	c.Helper()
	const mib = 1 << 20
	id := c.deploy(c.wish("web", demoImage))
	address := c.reach(id, client.StatusActive).Address()
	guest := c.login("root", address)
	disk := filepath.Join(c.data, "agent", "vms", id, "disk.raw")
	all, shared := worldtest.Blocks(c.T, disk)
	c.Logf("a VM that has booted shares %d of %d KiB with its image", shared>>10, all>>10)
	if shared < all/2 {
		c.Errorf("the disk shares %d of %d bytes", shared, all)
	}
	if names, _ := filepath.Glob(filepath.Join(filepath.Dir(disk), "*.qcow2")); len(names) > 0 {
		c.Errorf("there is an overlay as well: %v", names)
	}

	guest.run("dd if=/dev/urandom of=/root/big bs=1M count=64 2>&1 && sync")
	full, _ := worldtest.Blocks(c.T, disk)
	guest.run("rm /root/big && sync && fstrim /")
	trimmed, _ := worldtest.Blocks(c.T, disk)
	c.Logf("blocks: %d MiB at first, %d with a file of 64, %d without", all/mib, full/mib, trimmed/mib)
	if full < all+60*mib || trimmed > full-60*mib {
		c.Errorf("blocks: %d MiB at first, %d with a file of 64, %d without", all/mib, full/mib, trimmed/mib)
	}

	guest.run("echo all that I have > /root/kept && sync")
	images, err := filepath.Glob(filepath.Join(c.data, "host", "images", "sha256-*.raw"))
	if err != nil || len(images) != 1 {
		c.Fatalf("images %v, %v, want one", images, err)
	}
	c.down()
	if err := os.Remove(images[0]); err != nil {
		c.Fatal(err)
	}
	c.start()
	again := c.login("root", c.reach(id, client.StatusActive).Address())
	if got := again.run("cat /root/kept"); got != "all that I have" {
		c.Errorf("after a start of everything, without the image, the disk says %q", got)
	}
	c.remove(id)
	c.until("nothing is left", func() bool { return len(c.machines())+len(c.names("agent", "vms")) == 0 })
}
