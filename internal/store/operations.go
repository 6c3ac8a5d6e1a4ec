package store

import (
	"context"
	"time"

	"github.com/cpucloud/cpucloud/internal/vm"
)

type operationRow struct {
	ID         string
	VMID       string `bun:"vm_id"`
	AccountID  string
	RequestID  string
	Action     string
	Generation int64
	BegunAt    int64
	Deadline   int64
	EndedAt    int64
	Error      string
	Subject    string
}

func (r operationRow) operation() vm.Operation {
	return vm.Operation{
		ID: r.ID, VMID: r.VMID, AccountID: r.AccountID, RequestID: r.RequestID, Action: vm.Action(r.Action), Generation: r.Generation,
		Begun: at(r.BegunAt), Deadline: at(r.Deadline), Ended: at(r.EndedAt), Error: r.Error,
		Subject: r.Subject,
	}
}

const operationColumns = `id, vm_id, account_id, request_id, action, generation, begun_at, deadline, ended_at, error, subject`

// InsertOperation adds an operation. Returns a Conflict fault when another one of
// its VM goes on, or its request was used.
func (t *Tx) InsertOperation(ctx context.Context, o vm.Operation) error {
	_, err := t.exec(ctx, `INSERT INTO operations (`+operationColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		o.ID, o.VMID, o.AccountID, o.RequestID, string(o.Action), o.Generation, micros(o.Begun), micros(o.Deadline), micros(o.Ended), o.Error, o.Subject)
	return err
}

// EndOperation notes when an operation ended and why it failed, "" if it didn't.
func (t *Tx) EndOperation(ctx context.Context, id string, now time.Time, failure string) error {
	_, err := t.exec(ctx, `UPDATE operations SET ended_at = ?, error = ? WHERE id = ? AND ended_at = 0`, micros(now), failure, id)
	return err
}

// Operation returns an operation, or a NotFound fault.
func (t *Tx) Operation(ctx context.Context, id string) (vm.Operation, error) {
	r, err := row[operationRow](ctx, t, "no operation with this id", `SELECT `+operationColumns+` FROM operations WHERE id = ?`, id)
	return r.operation(), err
}

// OperationOf returns what a request of an account began, or a NotFound fault.
func (t *Tx) OperationOf(ctx context.Context, accountID, requestID string) (vm.Operation, error) {
	r, err := row[operationRow](ctx, t, "no operation of this request", `SELECT `+operationColumns+` FROM operations
		WHERE account_id = ? AND request_id = ? AND request_id <> ''`, accountID, requestID)
	return r.operation(), err
}

// Operations returns up to limit operations of a VM, newest first.
func (t *Tx) Operations(ctx context.Context, vmID string, limit int) ([]vm.Operation, error) {
	list, err := rows[operationRow](ctx, t, `SELECT `+operationColumns+` FROM operations WHERE vm_id = ? ORDER BY begun_at DESC, id DESC LIMIT ?`, vmID, limit)
	return convert(list, operationRow.operation), err
}

// HopelessOperations returns up to limit operations that go on though their time is
// over, or their VM will not run again or, but for snapshots, is powered off.
func (t *Tx) HopelessOperations(ctx context.Context, now time.Time, limit int) ([]vm.Operation, error) {
	list, err := rows[operationRow](ctx, t, `SELECT o.id, o.vm_id, o.account_id, o.request_id, o.action, o.generation, o.begun_at, o.deadline, o.ended_at, o.error, o.subject
		FROM operations o JOIN vms v ON v.id = o.vm_id
		WHERE o.ended_at = 0 AND (o.deadline <= ? OR v.goal = 'remove' OR v.goal <> 'run' AND o.action <> 'snapshot') ORDER BY o.deadline, o.id LIMIT ?`, micros(now), limit)
	return convert(list, operationRow.operation), err
}
