package store

import (
	"context"
	"strings"
	"time"

	"github.com/cpucloud/cpucloud/internal/hostkey"
	"github.com/cpucloud/cpucloud/internal/vm"
)

type snapshotRow struct {
	ID           string
	VMID         string `bun:"vm_id"`
	AccountID    string
	ServerID     string
	Name         string
	Operation    string
	Scheduled    bool
	Disk         int64
	CreatedAt    int64
	State        string
	Reason       string
	Percent      int64
	Held         int64
	At           int64
	Bytes        int64
	VirtualBytes int64
	Checksum     string
	Consistency  string
	Image        string
	HostKeys     string
}

func (r snapshotRow) snapshot() vm.Snapshot {
	s := vm.Snapshot{
		ID: r.ID, VMID: r.VMID, AccountID: r.AccountID, ServerID: r.ServerID, Name: r.Name, Operation: r.Operation, Scheduled: r.Scheduled,
		Disk: r.Disk, CreatedAt: at(r.CreatedAt), State: vm.SnapshotState(r.State), Reason: r.Reason, Percent: r.Percent, HeldGiB: r.Held,
		At: at(r.At), Bytes: r.Bytes, VirtualBytes: r.VirtualBytes, Checksum: r.Checksum, Consistency: r.Consistency, Image: r.Image,
	}
	for line := range strings.Lines(r.HostKeys) {
		s.HostKeys = append(s.HostKeys, hostkey.Key(strings.TrimSuffix(line, "\n")))
	}
	return s
}

const snapshotColumns = `id, vm_id, account_id, server_id, name, operation, scheduled, disk, created_at, state, reason, percent, held,
	at, bytes, virtual_bytes, checksum, consistency, image, host_keys`

// InsertSnapshot adds a snapshot.
func (t *Tx) InsertSnapshot(ctx context.Context, s vm.Snapshot) error {
	_, err := t.exec(ctx, `INSERT INTO snapshots (`+snapshotColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		s.ID, s.VMID, s.AccountID, s.ServerID, s.Name, s.Operation, s.Scheduled, s.Disk, micros(s.CreatedAt), string(s.State), s.Reason, s.Percent, s.HeldGiB,
		micros(s.At), s.Bytes, s.VirtualBytes, s.Checksum, s.Consistency, s.Image, hostKeysText(s.HostKeys))
	return err
}

// UpdateSnapshot stores what changes of a snapshot as it is made and goes.
func (t *Tx) UpdateSnapshot(ctx context.Context, s vm.Snapshot) error {
	_, err := t.exec(ctx, `UPDATE snapshots SET state = ?, reason = ?, percent = ?, held = ?, at = ?, bytes = ?, virtual_bytes = ?, checksum = ?, consistency = ?
		WHERE id = ?`,
		string(s.State), s.Reason, s.Percent, s.HeldGiB, micros(s.At), s.Bytes, s.VirtualBytes, s.Checksum, s.Consistency, s.ID)
	return err
}

// DeleteSnapshot forgets a snapshot of which nothing is left.
func (t *Tx) DeleteSnapshot(ctx context.Context, id string) error {
	_, err := t.exec(ctx, `DELETE FROM snapshots WHERE id = ?`, id)
	return err
}

// DeleteSnapshotsOf forgets the snapshots and the schedule of a VM that is gone.
func (t *Tx) DeleteSnapshotsOf(ctx context.Context, vmID string) error {
	if _, err := t.exec(ctx, `DELETE FROM snapshots WHERE vm_id = ?`, vmID); err != nil {
		return err
	}
	return t.DeleteSchedule(ctx, vmID)
}

// Snapshot returns a snapshot, or a NotFound fault.
func (t *Tx) Snapshot(ctx context.Context, id string) (vm.Snapshot, error) {
	r, err := row[snapshotRow](ctx, t, "no snapshot with this id", `SELECT `+snapshotColumns+` FROM snapshots WHERE id = ?`, id)
	return r.snapshot(), err
}

// Snapshots returns the snapshots of a VM, oldest first.
func (t *Tx) Snapshots(ctx context.Context, vmID string) ([]vm.Snapshot, error) {
	list, err := rows[snapshotRow](ctx, t, `SELECT `+snapshotColumns+` FROM snapshots WHERE vm_id = ? ORDER BY created_at, id`, vmID)
	return convert(list, snapshotRow.snapshot), err
}

// AccountSnapshots returns up to limit snapshots of an account's VMs that are not
// deleted, newest first.
func (t *Tx) AccountSnapshots(ctx context.Context, accountID string, limit int) ([]vm.Snapshot, error) {
	list, err := rows[snapshotRow](ctx, t, `SELECT `+snapshotColumns+` FROM snapshots
		WHERE account_id = ? AND vm_id IN (SELECT v.id FROM vms v WHERE v.id = snapshots.vm_id AND v.state <> 'Stopped')
		ORDER BY created_at DESC, id DESC LIMIT ?`, accountID, limit)
	return convert(list, snapshotRow.snapshot), err
}

// SnapshotAwaited reports whether something is just made of a snapshot.
func (t *Tx) SnapshotAwaited(ctx context.Context, s vm.Snapshot) (bool, error) {
	type found struct{ ID string }
	list, err := rows[found](ctx, t, `SELECT id FROM operations WHERE vm_id = ? AND result LIKE ? AND ended_at = 0
		UNION ALL SELECT id FROM vms WHERE account_id = ? AND state IN ('New', 'Launching') AND asks LIKE ?
		UNION ALL SELECT id FROM exports WHERE snapshot_id = ? AND state = 'uploading'`,
		s.VMID, `%"`+s.ID+`"%`, s.AccountID, `%"from":"`+s.ID+`"%`, s.ID)
	return len(list) > 0, err
}

type scheduleRow struct {
	VMID   string `bun:"vm_id"`
	Every  int64
	Keep   int64
	NextAt int64
	Told   string
}

func (r scheduleRow) schedule() vm.Schedule {
	return vm.Schedule{VMID: r.VMID, Every: time.Duration(r.Every) * time.Microsecond, Keep: r.Keep, Next: at(r.NextAt), Told: r.Told}
}

// PutSchedule stores the schedule of a VM, in the place of the one that it had.
func (t *Tx) PutSchedule(ctx context.Context, s vm.Schedule) error {
	_, err := t.exec(ctx, `INSERT INTO schedules (vm_id, every, keep, next_at, told) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (vm_id) DO UPDATE SET every = excluded.every, keep = excluded.keep, next_at = excluded.next_at, told = excluded.told`,
		s.VMID, s.Every.Microseconds(), s.Keep, micros(s.Next), s.Told)
	return err
}

// DeleteSchedule forgets the schedule of a VM, if it has one.
func (t *Tx) DeleteSchedule(ctx context.Context, vmID string) error {
	_, err := t.exec(ctx, `DELETE FROM schedules WHERE vm_id = ?`, vmID)
	return err
}

// Schedule returns the schedule of a VM, or a NotFound fault.
func (t *Tx) Schedule(ctx context.Context, vmID string) (vm.Schedule, error) {
	r, err := row[scheduleRow](ctx, t, "the VM has no schedule of snapshots", `SELECT vm_id, every, keep, next_at, told FROM schedules WHERE vm_id = ?`, vmID)
	return r.schedule(), err
}

// DueSchedules returns up to limit schedules of which a snapshot is due, the longest
// due first.
func (t *Tx) DueSchedules(ctx context.Context, now time.Time, limit int) ([]vm.Schedule, error) {
	list, err := rows[scheduleRow](ctx, t, `SELECT vm_id, every, keep, next_at, told FROM schedules WHERE next_at <= ? ORDER BY next_at, vm_id LIMIT ?`, micros(now), limit)
	return convert(list, scheduleRow.schedule), err
}
