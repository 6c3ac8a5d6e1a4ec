package store

import (
	"context"
	"encoding/base64"
	"fmt"
	"time"

	"github.com/cpucloud/cpucloud/internal/vm"
)

type exportRow struct {
	ID         string
	AccountID  string
	VMID       string `bun:"vm_id"`
	VMName     string `bun:"vm_name"`
	SnapshotID string
	RequestID  string
	State      string
	Reason     string
	Image      string
	StorageGiB int64 `bun:"storage_gib"`
	Bytes      int64
	SHA256     string `bun:"sha256"`
	Through    int64
	Recipient  string
	Identity   string
	Manifest   string
	Sealed     int64
	BegunAt    int64
	Deadline   int64
	EndedAt    int64
	LinkUntil  int64
}

func (r exportRow) export() (vm.Export, error) {
	e := vm.Export{
		ID: r.ID, AccountID: r.AccountID, VMID: r.VMID, VMName: r.VMName, SnapshotID: r.SnapshotID, RequestID: r.RequestID,
		State: vm.ExportState(r.State), Reason: r.Reason, Image: r.Image, StorageGiB: r.StorageGiB, Bytes: r.Bytes, SHA256: r.SHA256, Through: r.Through,
		Recipient: r.Recipient, Manifest: r.Manifest, Sealed: r.Sealed,
		Begun: at(r.BegunAt), Deadline: at(r.Deadline), Ended: at(r.EndedAt), LinkUntil: at(r.LinkUntil),
	}
	var err error
	if e.Identity, err = base64.StdEncoding.DecodeString(r.Identity); err != nil {
		return e, fmt.Errorf("the key of export %s is damaged", r.ID) // without the error, which would say a part of it
	}
	return e, nil
}

const exportColumns = `id, account_id, vm_id, vm_name, snapshot_id, request_id, state, reason, image, storage_gib, bytes, sha256, through,
	recipient, identity, manifest, sealed, begun_at, deadline, ended_at, link_until`

// InsertExport adds an export. Returns a Conflict fault when its request was used.
func (t *Tx) InsertExport(ctx context.Context, e vm.Export) error {
	_, err := t.exec(ctx, `INSERT INTO exports (`+exportColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		e.ID, e.AccountID, e.VMID, e.VMName, e.SnapshotID, e.RequestID, string(e.State), e.Reason, e.Image, e.StorageGiB, e.Bytes, e.SHA256, e.Through,
		e.Recipient, base64.StdEncoding.EncodeToString(e.Identity), e.Manifest, e.Sealed, micros(e.Begun), micros(e.Deadline), micros(e.Ended), micros(e.LinkUntil))
	return err
}

// UpdateExport stores what changes of an export.
func (t *Tx) UpdateExport(ctx context.Context, e vm.Export) error {
	_, err := t.exec(ctx, `UPDATE exports SET state = ?, reason = ?, through = ?, manifest = ?, sealed = ?, deadline = ?, ended_at = ?, link_until = ? WHERE id = ?`,
		string(e.State), e.Reason, e.Through, e.Manifest, e.Sealed, micros(e.Deadline), micros(e.Ended), micros(e.LinkUntil), e.ID)
	return err
}

// DeleteExport forgets an export, and its key with it.
func (t *Tx) DeleteExport(ctx context.Context, id string) error {
	_, err := t.exec(ctx, `DELETE FROM exports WHERE id = ?`, id)
	return err
}

// Export returns an export, or a NotFound fault.
func (t *Tx) Export(ctx context.Context, id string) (vm.Export, error) {
	r, err := row[exportRow](ctx, t, "no export with this id", `SELECT `+exportColumns+` FROM exports WHERE id = ?`, id)
	if err != nil {
		return vm.Export{}, err
	}
	return r.export()
}

// ExportOf returns what a request of an account began, or a NotFound fault.
func (t *Tx) ExportOf(ctx context.Context, accountID, requestID string) (vm.Export, error) {
	r, err := row[exportRow](ctx, t, "no export of this request", `SELECT `+exportColumns+` FROM exports
		WHERE account_id = ? AND request_id = ? AND request_id <> ''`, accountID, requestID)
	if err != nil {
		return vm.Export{}, err
	}
	return r.export()
}

// Exports returns up to limit exports of an account, newest first.
func (t *Tx) Exports(ctx context.Context, accountID string, limit int) ([]vm.Export, error) {
	return t.exports(ctx, `WHERE account_id = ? ORDER BY begun_at DESC, id DESC LIMIT ?`, accountID, limit)
}

// UnfinishedExports returns up to limit exports that there is something to do about,
// oldest first, beginning behind the one with the id after, "" for the first.
func (t *Tx) UnfinishedExports(ctx context.Context, after string, limit int) ([]vm.Export, error) {
	return t.exports(ctx, `WHERE state <> 'done' AND (state <> 'failed' OR link_until > 0) AND id > ? ORDER BY id LIMIT ?`, after, limit)
}

func (t *Tx) exports(ctx context.Context, where string, args ...any) ([]vm.Export, error) {
	list, err := rows[exportRow](ctx, t, `SELECT `+exportColumns+` FROM exports `+where, args...)
	if err != nil {
		return nil, err
	}
	out := make([]vm.Export, len(list))
	for i, r := range list {
		if out[i], err = r.export(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// ExportUse is what exports of an account take.
type ExportUse struct {
	Count int64
	Bytes int64 // in the store, and of snapshots that are on their way there
}

// ExportUse returns what the exports of an account take.
func (t *Tx) ExportUse(ctx context.Context, accountID string) (ExportUse, error) {
	return row[ExportUse](ctx, t, "", `SELECT COUNT(*) AS count, CAST(COALESCE(SUM(CASE WHEN state = 'failed' THEN 0 WHEN sealed > 0 THEN sealed ELSE bytes END), 0) AS BIGINT) AS bytes
		FROM exports WHERE account_id = ?`, accountID)
}

// MadeOfExport returns the names of up to limit VMs that are being made of an export, or
// restored from it.
func (t *Tx) MadeOfExport(ctx context.Context, id string, limit int) ([]string, error) {
	type name struct{ Name string }
	list, err := rows[name](ctx, t, `SELECT v.name FROM vms v JOIN exports e ON e.account_id = v.account_id
		WHERE e.id = ? AND v.asks LIKE ?
			AND (v.state IN ('New', 'Launching') AND v.activated_at = 0 OR EXISTS (SELECT 1 FROM operations o WHERE o.id = v.operation AND o.result LIKE ? AND o.ended_at = 0))
		ORDER BY v.id LIMIT ?`, id, `%"from":"`+id+`"%`, `%"`+id+`"%`, limit)
	return convert(list, func(n name) string { return n.Name }), err
}

// AccountKey returns the sealed key of an account; the first time it keeps the one
// that is given.
func (t *Tx) AccountKey(ctx context.Context, accountID string, fresh []byte) ([]byte, error) {
	if _, err := t.exec(ctx, `INSERT INTO account_keys (account_id, sealed) VALUES (?, ?) ON CONFLICT (account_id) DO NOTHING`,
		accountID, base64.StdEncoding.EncodeToString(fresh)); err != nil {
		return nil, err
	}
	return t.KeptAccountKey(ctx, accountID)
}

// KeptAccountKey returns the sealed key of an account, or a NotFound fault.
func (t *Tx) KeptAccountKey(ctx context.Context, accountID string) ([]byte, error) {
	type key struct{ Sealed string }
	k, err := row[key](ctx, t, "the account has no key", `SELECT sealed FROM account_keys WHERE account_id = ?`, accountID)
	if err != nil {
		return nil, err
	}
	sealed, err := base64.StdEncoding.DecodeString(k.Sealed)
	if err != nil {
		return nil, fmt.Errorf("the key of account %s is damaged", accountID) // without the error, which would say a part of it
	}
	return sealed, nil
}

// CountExportLink notes that one more object of an export may be stored until then, and
// returns how many that makes.
func (t *Tx) CountExportLink(ctx context.Context, id string, until time.Time) (int64, error) {
	if _, err := t.exec(ctx, `UPDATE exports SET links = links + 1, link_until = CASE WHEN link_until < ? THEN ? ELSE link_until END WHERE id = ?`,
		micros(until), micros(until), id); err != nil {
		return 0, err
	}
	type count struct{ Links int64 }
	c, err := row[count](ctx, t, "no export with this id", `SELECT links FROM exports WHERE id = ?`, id)
	return c.Links, err
}
