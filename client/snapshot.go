package client

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// The states of a snapshot.
const (
	SnapshotMaking    = "making"
	SnapshotAvailable = "available"
	SnapshotFailed    = "failed"   // it goes by itself
	SnapshotDeleting  = "deleting" // it is gone soon
)

// SnapshotResult names in an operation's Result the snapshot that it is about.
const SnapshotResult = "snapshotId"

// Snapshot is a copy of a VM's disk as it was at one moment, kept on its server.
type Snapshot struct {
	ID          string     `json:"id"`
	VMID        string     `json:"vmId"`
	Name        string     `json:"name"`
	State       string     `json:"state"`
	Reason      *string    `json:"reason"`  // why it failed
	Percent     int64      `json:"percent"` // how much of it is copied
	Scheduled   bool       `json:"scheduled"`
	OperationID string     `json:"operationId"` // that makes it
	CreatedAt   time.Time  `json:"createdAt"`
	TakenAt     *time.Time `json:"takenAt"`     // the moment that it shows; nil until it is available
	Consistency string     `json:"consistency"` // "crash" or "filesystem"; "" until it is available
	Bytes       int64      `json:"bytes"`
	DiskBytes   int64      `json:"diskBytes"` // of the disk in it
	HeldGiB     int64      `json:"heldGib"`   // of storage that the VM pays for
	Checksum    string     `json:"checksum"`  // "sha256:…" of its file
}

// Schedule is when snapshots of a VM are taken.
type Schedule struct {
	Every   string     `json:"every"` // such as "24h"
	Keep    int64      `json:"keep"`
	At      *time.Time `json:"at,omitempty"`      // of a request: when the first one is due
	NextAt  time.Time  `json:"nextAt,omitzero"`   // of an answer
	LeftOut *string    `json:"leftOut,omitempty"` // of an answer: why the last one was left out
}

// TakeSnapshot copies a VM's disk as it is at one moment; "" names the copy for that. The
// operation's Result names it by its id. With a request id it is repeated when no answer comes.
func (c *Client) TakeSnapshot(ctx context.Context, vmID, name, requestID string) (o Operation, err error) {
	err = c.do(ctx, call{
		method: http.MethodPost, path: "/v1/vms/" + url.PathEscape(vmID) + "/snapshots", body: map[string]string{"name": name}, answer: &o,
		key: requestID, safe: requestID != "",
	})
	return o, err
}

// RestoreVM starts a VM on a disk as in one of its snapshots; the disk that it had is kept
// for a time. With a request id it is repeated when no answer comes.
func (c *Client) RestoreVM(ctx context.Context, vmID, snapshotID, requestID string) (o Operation, err error) {
	err = c.do(ctx, call{
		method: http.MethodPost, path: "/v1/vms/" + url.PathEscape(vmID) + "/restore", body: map[string]string{"snapshot": snapshotID}, answer: &o,
		key: requestID, safe: requestID != "",
	})
	return o, err
}

// Snapshots returns the snapshots of a VM, oldest first.
func (c *Client) Snapshots(ctx context.Context, vmID string) ([]Snapshot, error) {
	return get[[]Snapshot](ctx, c, "/v1/vms/"+url.PathEscape(vmID)+"/snapshots", nil)
}

// AllSnapshots returns the newest thousand snapshots of the account, newest first.
func (c *Client) AllSnapshots(ctx context.Context) ([]Snapshot, error) {
	return get[[]Snapshot](ctx, c, "/v1/snapshots", nil)
}

// DeleteSnapshot deletes a snapshot; what was made of it stays.
func (c *Client) DeleteSnapshot(ctx context.Context, id string) error {
	return c.do(ctx, call{method: http.MethodDelete, path: "/v1/snapshots/" + url.PathEscape(id), safe: true})
}

func schedulePath(vmID string) string { return "/v1/vms/" + url.PathEscape(vmID) + "/schedule" }

// SetSchedule has snapshots of a VM taken on schedule.
func (c *Client) SetSchedule(ctx context.Context, vmID string, s Schedule) (set Schedule, err error) {
	s.NextAt, s.LeftOut = time.Time{}, nil
	err = c.do(ctx, call{method: http.MethodPut, path: schedulePath(vmID), body: s, answer: &set, safe: true})
	return set, err
}

// Schedule returns when snapshots of a VM are taken; it is not found when there is none.
func (c *Client) Schedule(ctx context.Context, vmID string) (Schedule, error) {
	return get[Schedule](ctx, c, schedulePath(vmID), nil)
}

// DeleteSchedule ends the schedule of a VM; its snapshots stay.
func (c *Client) DeleteSchedule(ctx context.Context, vmID string) error {
	return c.do(ctx, call{method: http.MethodDelete, path: schedulePath(vmID), safe: true})
}
