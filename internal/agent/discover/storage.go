package discover

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jaypipes/ghw"
	"github.com/jaypipes/ghw/pkg/block"
	"golang.org/x/sys/unix"
)

// blockDevices lists what the kernel knows as disks of any kind.
func blockDevices(root string) []*block.Disk {
	info, err := ghw.Block(ghw.WithChroot(root), ghw.WithDisableWarnings(), ghw.WithDisableTools())
	if err != nil {
		return nil
	}
	return info.Disks
}

// storageType returns what kind of disk dir is on: "HDD", "SSD", "NVMe", or ""
// if that can't be seen. Where dir is on no disk of its own, such as in a
// container, it is the largest one of the host.
func storageType(all []*block.Disk, root, dir string) string {
	disks := slices.DeleteFunc(slices.Clone(all), func(d *block.Disk) bool { return diskType(d) == "" })
	if len(disks) == 0 {
		return ""
	}
	name := diskOf(root, dir)
	if i := slices.IndexFunc(disks, func(d *block.Disk) bool { return d.Name == name }); i >= 0 {
		return diskType(disks[i])
	}
	return diskType(slices.MaxFunc(disks, func(a, b *block.Disk) int { return int(a.SizeBytes>>30) - int(b.SizeBytes>>30) }))
}

func diskType(d *block.Disk) string {
	switch {
	case d.StorageController == block.StorageControllerNVMe:
		return "NVMe"
	case d.StorageController == block.StorageControllerVirtIO:
		return "SSD" // what the host is on can't be seen; it says rotational of anything
	case d.IsRemovable:
		return ""
	case d.DriveType == block.DriveTypeHDD:
		return "HDD"
	case d.DriveType == block.DriveTypeSSD:
		return "SSD"
	}
	return ""
}

// diskOf returns the name of the disk that dir is on, "" if there is none. It
// goes from a partition to its disk, and through mapped devices to the first
// one that they are made of.
func diskOf(root, dir string) string {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return ""
	}
	device := fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
	path, err := filepath.EvalSymlinks(filepath.Join(root, "sys/dev/block", device))
	if err != nil {
		return ""
	}
	for range 4 { // LVM on LUKS on a RAID
		below, err := filepath.Glob(filepath.Join(path, "slaves", "*"))
		if err != nil || len(below) == 0 {
			break
		}
		if path, err = filepath.EvalSymlinks(below[0]); err != nil {
			return ""
		}
	}
	if _, err := os.Stat(filepath.Join(path, "partition")); err == nil {
		path = filepath.Dir(path)
	}
	return strings.TrimSpace(filepath.Base(path))
}
