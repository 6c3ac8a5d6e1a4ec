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
}

// RebootVM has a VM's guest power itself off, or switches it off after a minute, and
// starts it again. With a request id it is repeated when no answer comes.
func (c *Client) RebootVM(ctx context.Context, id, requestID string) (Operation, error) {
	return c.operate(ctx, id, "reboot", requestID, nil)
}

// ResetVM starts a VM again at once, without asking its guest. With a request id it
// is repeated when no answer comes.
func (c *Client) ResetVM(ctx context.Context, id, requestID string) (Operation, error) {
	return c.operate(ctx, id, "reset", requestID, nil)
}

func (c *Client) operate(ctx context.Context, id, verb, requestID string, body any) (o Operation, err error) {
	err = c.do(ctx, call{
		method: http.MethodPost, path: "/v1/vms/" + url.PathEscape(id) + "/" + verb, body: body, answer: &o, key: requestID, safe: requestID != "",
	})
	return o, err
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
