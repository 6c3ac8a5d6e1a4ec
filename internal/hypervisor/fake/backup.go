package fake

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/hypervisor"
)

// Backup implements hypervisor.Driver: the target gets what the file of the disk has.
// A machine that ends meanwhile is not noticed.
func (d *Driver) Backup(ctx context.Context, id string, b hypervisor.Backup) (hypervisor.Consistency, error) {
	if err := cmp.Or(hypervisor.CheckID(id), b.Check()); err != nil {
		return "", err
	}
	h := d.host
	h.saving.Lock() // one at a time, of all machines
	defer h.saving.Unlock()
	h.mu.Lock()
	err, m := cmp.Or(ctx.Err(), h.failures[Backup]), h.machines[id]
	runs := m != nil && m.State == hypervisor.Running
	disk := b.Disk
	if err == nil && runs && b.Index >= len(m.wanted.Disks) {
		err = noDisk(b.Index)
	} else if runs && err == nil {
		disk = m.wanted.Disks[b.Index]
	}
	h.mu.Unlock()
	if err != nil {
		return "", err
	}
	if h.OnBackup != nil {
		if err := h.OnBackup(ctx, id, b); err != nil {
			return "", err
		}
	}
	if err := copyTo(b.Target, disk.Path); err != nil {
		return "", fmt.Errorf("copy disk %d of machine %s: %w", b.Index, id, err)
	}
	if b.Progress != nil {
		b.Progress(1, 1)
	}
	if runs && b.Freeze && h.Freezes {
		return hypervisor.FileSystem, nil
	}
	return hypervisor.Crash, nil
}

// copyTo puts the file at path in place of what target contains. What lies on another
// file does so no longer, as is promised of a copy: here it has zeroes in its place.
func copyTo(target *os.File, path string) error {
	from, err := os.Open(path)
	if err != nil {
		return err
	}
	defer from.Close() //nolint:errcheck // it was only read
	if err := target.Truncate(0); err != nil {
		return err
	}
	if _, err = io.Copy(io.NewOffsetWriter(target, 0), from); err != nil {
		return err
	}
	head := make([]byte, 512)
	if _, err := target.ReadAt(head, 0); err != nil || !bytes.HasPrefix(head, []byte("QFI\xfb")) {
		return nil // it is a raw disk, of which nothing is to be done
	}
	// A qcow2 file names what it lies on in these bytes, and its format in this extension.
	clear(head[8:20])
	if i := bytes.Index(head, []byte{0xe2, 0x79, 0x2a, 0xca}); i > 0 {
		clear(head[i:])
	}
	_, err = target.WriteAt(head, 0)
	return err
}

func noDisk(index int) error {
	return fault.Newf(fault.Invalid, "the machine has no disk %d", index)
}
