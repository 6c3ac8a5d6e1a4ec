package client

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// The outcomes of an operation.
const (
	OperationRunning   = "running"
	OperationSucceeded = "succeeded"
	OperationFailed    = "failed"
)

// Operation is something that is done to a VM and takes its time.
type Operation struct {
	ID        string     `json:"id"`
	VMID      string     `json:"vmId"`
	Action    string     `json:"action"` // such as "reboot"
	Outcome   string     `json:"outcome"`
	StartedAt time.Time  `json:"startedAt"`
	Deadline  time.Time  `json:"deadline"` // when it is given up
	EndedAt   *time.Time `json:"endedAt"`  // nil while it goes on
	Error     *string    `json:"error"`    // why it failed, and what to do; nil for one that did not
	Step      *string    `json:"step"`     // what is done just now; nil when there is nothing to tell
	Percent   int64      `json:"percent"`  // how much of it is done, as far as that is known

	Result map[string]string `json:"result,omitempty"` // what came of it, by name
}

// RebootVM has a VM's guest power itself off, or switches it off after a minute, and
// starts it again. With a request id it is repeated when no answer comes.
func (c *Client) RebootVM(ctx context.Context, id, requestID string) (Operation, error) {
	return c.operate(ctx, id, "reboot", requestID)
}

// ResetVM starts a VM again at once, without asking its guest. With a request id it
// is repeated when no answer comes.
func (c *Client) ResetVM(ctx context.Context, id, requestID string) (Operation, error) {
	return c.operate(ctx, id, "reset", requestID)
}

// ShutdownVM has a VM's guest power itself off, or switches it off after a minute. From
// its next epoch on it costs its PriceOff. With a request id it is repeated when no
// answer comes.
func (c *Client) ShutdownVM(ctx context.Context, id, requestID string) (Operation, error) {
	return c.operate(ctx, id, "shutdown", requestID)
}

// StartVM starts a VM that was shut down, which costs what it did from now on. With a
// request id it is repeated when no answer comes.
func (c *Client) StartVM(ctx context.Context, id, requestID string) (Operation, error) {
	return c.operate(ctx, id, "start", requestID)
}

// UndeleteVM brings back a deleted VM whose disk is kept: see [Client.DeletedVMs]. With
// a request id it is repeated when no answer comes.
func (c *Client) UndeleteVM(ctx context.Context, id, requestID string) (Operation, error) {
	return c.operate(ctx, id, "undelete", requestID)
}

// Size is what a VM is to have.
type Size struct {
	Configuration string `json:"configuration,omitempty"`    // slug; "" for the vCPUs and memory that it has
	Storage       int64  `json:"storage,omitempty"`          // GiB of its disk; 0 for what the configuration has, or it has now if that is more
	MaxPrice      Amount `json:"maxPricePerEpoch,omitempty"` // that it may cost then; "" for no more than it costs now
}

// ResizeVM gives a VM another size; one that runs is rebooted for it. With a request id
// it is repeated when no answer comes.
func (c *Client) ResizeVM(ctx context.Context, id, requestID string, size Size) (Operation, error) {
	return c.operateWith(ctx, id, "resize", requestID, size)
}

func (c *Client) operate(ctx context.Context, id, verb, requestID string) (Operation, error) {
	return c.operateWith(ctx, id, verb, requestID, nil)
}

// operateWith begins an operation that is told something.
func (c *Client) operateWith(ctx context.Context, id, verb, requestID string, body any) (o Operation, err error) {
	err = c.do(ctx, call{
		method: http.MethodPost, path: "/v1/vms/" + url.PathEscape(id) + "/" + verb, body: body, answer: &o, key: requestID, safe: requestID != "",
	})
	return o, err
}

// Deletion is what becomes of a VM that was deleted.
type Deletion struct {
	ID        string     `json:"id"`
	KeptUntil *time.Time `json:"keptUntil"` // when its disk is purged; nil for at once
}

// DeleteVM deletes a VM. Its disk is kept for a while, unless it is to be purged at once;
// that of one which was deleted before is purged then, too.
func (c *Client) DeleteVM(ctx context.Context, id string, purge bool) (d Deletion, err error) {
	query := url.Values{}
	if purge {
		query.Set("purge", "true")
	}
	err = c.do(ctx, call{method: http.MethodDelete, path: "/v1/vms/" + url.PathEscape(id), query: query, answer: &d, safe: true})
	return d, err
}

// DeletedVMs returns the VMs that were deleted and can be undeleted: see KeptUntil.
// With selectors of labels, it returns those that all of them choose.
func (c *Client) DeletedVMs(ctx context.Context, labels ...string) ([]VM, error) {
	return get[[]VM](ctx, c, "/v1/vms", url.Values{"deleted": {"true"}, "label": labels})
}

// Operations returns what was done to a VM, newest first.
func (c *Client) Operations(ctx context.Context, vmID string) ([]Operation, error) {
	return get[[]Operation](ctx, c, "/v1/vms/"+url.PathEscape(vmID)+"/operations", nil)
}

// WaitOperation returns the operation as soon as it has ended: look at the Outcome
// it is returned with.
func (c *Client) WaitOperation(ctx context.Context, id string) (Operation, error) {
	for {
		round := time.NewTimer(minRound)
		o, err := get[Operation](ctx, c, "/v1/operations/"+url.PathEscape(id), url.Values{"wait": {longWait.String()}})
		if err != nil || o.Outcome != OperationRunning {
			return o, err
		}
		select {
		case <-round.C:
		case <-ctx.Done():
			return o, ctx.Err()
		}
	}
}

// ProtectVM keeps a VM from being deleted until UnprotectVM.
func (c *Client) ProtectVM(ctx context.Context, id string) error {
	return c.protect(ctx, id, "protect")
}

// UnprotectVM lets a VM be deleted again.
func (c *Client) UnprotectVM(ctx context.Context, id string) error {
	return c.protect(ctx, id, "unprotect")
}

func (c *Client) protect(ctx context.Context, id, verb string) error {
	return c.do(ctx, call{method: http.MethodPost, path: "/v1/vms/" + url.PathEscape(id) + "/" + verb, safe: true})
}
