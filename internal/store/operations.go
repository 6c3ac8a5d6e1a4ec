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
	Step       string
	Done       int64
	Result     string
}

func (r operationRow) operation() (vm.Operation, error) {
	o := vm.Operation{
		ID: r.ID, VMID: r.VMID, AccountID: r.AccountID, RequestID: r.RequestID, Action: vm.Action(r.Action), Generation: r.Generation,
		Begun: at(r.BegunAt), Deadline: at(r.Deadline), Ended: at(r.EndedAt), Error: r.Error,
		Step: r.Step, Done: r.Done,
	}
	if r.Result == "" {
		return o, nil
	}
	return o, fromJSON(r.Result, &o.Result)
}

const operationColumns = `id, vm_id, account_id, request_id, action, generation, begun_at, deadline, ended_at, error, step, done, result`

// InsertOperation adds an operation. Returns a Conflict fault when another one of
// its VM goes on, or its request was used.
func (t *Tx) InsertOperation(ctx context.Context, o vm.Operation) error {
	result, err := resultText(o.Result)
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, `INSERT INTO operations (`+operationColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		o.ID, o.VMID, o.AccountID, o.RequestID, string(o.Action), o.Generation, micros(o.Begun), micros(o.Deadline), micros(o.Ended), o.Error,
		o.Step, o.Done, result)
	return err
}

// resultText is how the result of an operation is kept, "" for none.
func resultText(result map[string]string) (string, error) {
	if len(result) == 0 {
		return "", nil
	}
	return toJSON(result)
}

// AdvanceOperation notes how far an operation is: its step, how much is done, its end
// and what came of it. One that has ended stays as it is.
func (t *Tx) AdvanceOperation(ctx context.Context, o vm.Operation) error {
	result, err := resultText(o.Result)
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, `UPDATE operations SET ended_at = ?, error = ?, step = ?, done = ?, result = ? WHERE id = ? AND ended_at = 0`,
		micros(o.Ended), o.Error, o.Step, o.Done, result, o.ID)
	return err
}

// Operation returns an operation, or a NotFound fault.
func (t *Tx) Operation(ctx context.Context, id string) (vm.Operation, error) {
	r, err := row[operationRow](ctx, t, "no operation with this id", `SELECT `+operationColumns+` FROM operations WHERE id = ?`, id)
	if err != nil {
		return vm.Operation{}, err
	}
	return r.operation()
}

// OperationOf returns what a request of an account began, or a NotFound fault.
func (t *Tx) OperationOf(ctx context.Context, accountID, requestID string) (vm.Operation, error) {
	r, err := row[operationRow](ctx, t, "no operation of this request", `SELECT `+operationColumns+` FROM operations
		WHERE account_id = ? AND request_id = ? AND request_id <> ''`, accountID, requestID)
	if err != nil {
		return vm.Operation{}, err
	}
	return r.operation()
}

// Operations returns up to limit operations of a VM, newest first.
func (t *Tx) Operations(ctx context.Context, vmID string, limit int) ([]vm.Operation, error) {
	list, err := rows[operationRow](ctx, t, `SELECT `+operationColumns+` FROM operations WHERE vm_id = ? ORDER BY begun_at DESC, id DESC LIMIT ?`, vmID, limit)
	if err != nil {
		return nil, err
	}
	return operations(list)
}

// HopelessOperations returns up to limit operations that go on though their time is
// over, or their VM will not run again or is not paid.
func (t *Tx) HopelessOperations(ctx context.Context, now time.Time, limit int) ([]vm.Operation, error) {
	list, err := rows[operationRow](ctx, t, `SELECT o.id, o.vm_id, o.account_id, o.request_id, o.action, o.generation, o.begun_at, o.deadline, o.ended_at, o.error,
		o.step, o.done, o.result
		FROM operations o JOIN vms v ON v.id = o.vm_id
		WHERE o.ended_at = 0 AND (o.deadline <= ? OR v.state IN ('InsufficientFunds', 'Terminated', 'Stopped', 'Failed')) ORDER BY o.deadline, o.id LIMIT ?`, micros(now), limit)
	if err != nil {
		return nil, err
	}
	return operations(list)
}

func operations(list []operationRow) ([]vm.Operation, error) {
	out := make([]vm.Operation, len(list))
	for i, r := range list {
		var err error
		if out[i], err = r.operation(); err != nil {
			return nil, err
		}
	}
	return out, nil
}
