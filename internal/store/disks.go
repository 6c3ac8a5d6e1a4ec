package store

import (
	"context"
	"time"

	"github.com/cpucloud/cpucloud/internal/vm"
)

type diskRow struct {
	VMID     string `bun:"vm_id"`
	Number   int64
	Parted   int64
	Image    string
	Checksum string
	Pin      string
	SSHKeys  string `bun:"ssh_keys"`
	HostKeys string
	GiB      int64 `bun:"gib"`
	Held     int64
	Since    int64
	Until    int64
	Purging  bool
}

func (r diskRow) disk() (vm.KeptDisk, error) {
	d := vm.KeptDisk{
		VMID: r.VMID, Number: r.Number, Parted: r.Parted, Image: r.Image, ImageChecksum: r.Checksum, ImagePin: r.Pin, HostKeys: hostKeysOf(r.HostKeys),
		GiB: r.GiB, Held: r.Held, Since: at(r.Since), Until: at(r.Until), Purging: r.Purging,
	}
	return d, fromJSON(r.SSHKeys, &d.SSHKeys)
}

const diskColumns = `vm_id, number, parted, image, checksum, pin, ssh_keys, host_keys, gib, held, since, until, purging`

// Disks returns the disks that a VM has beside its own, by number.
func (t *Tx) Disks(ctx context.Context, vmID string) ([]vm.KeptDisk, error) {
	list, err := rows[diskRow](ctx, t, `SELECT `+diskColumns+` FROM vm_disks WHERE vm_id = ? ORDER BY number`, vmID)
	if err != nil {
		return nil, err
	}
	out := make([]vm.KeptDisk, len(list))
	for i, r := range list {
		if out[i], err = r.disk(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// PutDisk adds a disk that a VM has beside its own, or writes all that can change of it.
func (t *Tx) PutDisk(ctx context.Context, d vm.KeptDisk) error {
	keys, err := toJSON(d.SSHKeys)
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, `INSERT INTO vm_disks (`+diskColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (vm_id, number) DO UPDATE SET held = excluded.held, until = excluded.until, purging = excluded.purging`,
		d.VMID, d.Number, d.Parted, d.Image, d.ImageChecksum, d.ImagePin, keys, hostKeysText(d.HostKeys), d.GiB, d.Held,
		micros(d.Since), micros(d.Until), d.Purging)
	return err
}

// DropDisk forgets a disk: it is gone, or is the VM's own again.
func (t *Tx) DropDisk(ctx context.Context, vmID string, number int64) error {
	_, err := t.exec(ctx, `DELETE FROM vm_disks WHERE vm_id = ? AND number = ?`, vmID, number)
	return err
}

// DropDisks forgets all disks of a VM of which nothing is left.
func (t *Tx) DropDisks(ctx context.Context, vmID string) error {
	_, err := t.exec(ctx, `DELETE FROM vm_disks WHERE vm_id = ?`, vmID)
	return err
}

// DiskOf names a disk of a VM.
type DiskOf struct {
	VMID   string `bun:"vm_id"`
	Number int64
}

// OverdueDisks returns up to limit disks whose time is over and that are not being
// purged yet, longest waiting first. Those of VMs that are being removed go with them.
func (t *Tx) OverdueDisks(ctx context.Context, now time.Time, limit int) ([]DiskOf, error) {
	return rows[DiskOf](ctx, t, `SELECT d.vm_id, d.number FROM vm_disks d JOIN vms v ON v.id = d.vm_id
		WHERE d.until > 0 AND NOT d.purging AND d.until <= ? AND v.goal <> 'remove' ORDER BY d.until, d.vm_id, d.number LIMIT ?`, micros(now), limit)
}
