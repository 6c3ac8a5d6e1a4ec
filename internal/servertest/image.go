package servertest

import (
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// Disk returns a raw disk of that many MiB that passes for one that boots: it
// has a boot sector and one partition to its end.
func Disk(mib int) []byte {
	const sector, table = 512, 446
	size := mib << 20
	d := make([]byte, size)
	d[table+4] = 0x83
	binary.LittleEndian.PutUint32(d[table+8:], 8)
	binary.LittleEndian.PutUint32(d[table+12:], uint32(size/sector-8)) //nolint:gosec // disks of tests are small
	d[sector-2], d[sector-1] = 0x55, 0xaa
	copy(d[8*sector:], "an operating system of "+strconv.Itoa(mib)+" MiB")
	return d
}

// Image has the control plane serve an image and returns its URL.
func (c *Cloud) Image(name string, content []byte) string {
	c.tb.Helper()
	if err := os.WriteFile(filepath.Join(c.Dir, "images", name), content, 0o600); err != nil {
		c.tb.Fatal(err)
	}
	return c.URL + "/images/" + name
}

// Demo has the control plane serve a qcow2 image that is in order and returns
// its URL.
func (c *Cloud) Demo() string {
	c.tb.Helper()
	return c.QCOW2("demo.qcow2", "convert", "-f", "raw", "-O", "qcow2", c.file("demo.raw", Disk(2)))
}

// QCOW2 has the control plane serve what qemu-img makes when it is called with
// args and the image's path, and returns its URL.
func (c *Cloud) QCOW2(name string, args ...string) string {
	c.tb.Helper()
	path := filepath.Join(c.tb.TempDir(), name)
	if out, err := exec.CommandContext(c.tb.Context(), "qemu-img", append(args, path)...).CombinedOutput(); err != nil {
		c.tb.Fatalf("qemu-img: %v: %s", err, out)
	}
	made, err := os.ReadFile(path)
	if err != nil {
		c.tb.Fatal(err)
	}
	return c.Image(name, made)
}

// file writes content to a file of the test and returns its path.
func (c *Cloud) file(name string, content []byte) string {
	c.tb.Helper()
	path := filepath.Join(c.tb.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		c.tb.Fatal(err)
	}
	return path
}
