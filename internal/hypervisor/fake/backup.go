package fake

import (
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

// copyTo puts the file at path in place of what target contains.
func copyTo(target *os.File, path string) error {
	from, err := os.Open(path)
	if err != nil {
		return err
	}
	defer from.Close() //nolint:errcheck // it was only read
	if err := target.Truncate(0); err != nil {
		return err
	}
	_, err = io.Copy(io.NewOffsetWriter(target, 0), from)
	return err
}

func noDisk(index int) error {
	return fault.Newf(fault.Invalid, "the machine has no disk %d", index)
}
