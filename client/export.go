package client

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// The states of an export.
const (
	ExportUploading = "uploading"
	ExportDone      = "done"
	ExportFailed    = "failed"
	ExportDeleting  = "deleting"
)

// Export is a snapshot that is kept outside of every server.
type Export struct {
	ID          string     `json:"id"`
	SnapshotID  string     `json:"snapshotId"`
	VMID        string     `json:"vmId"`   // whose snapshot it is
	VMName      string     `json:"vmName"` // as it was called then
	Image       string     `json:"image"`  // that the VM was made of
	StorageGiB  int64      `json:"storageGib"`
	Bytes       int64      `json:"bytes"` // of the snapshot's file
	State       string     `json:"state"`
	BytesDone   int64      `json:"bytesDone"`   // of the snapshot's file
	BytesStored int64      `json:"bytesStored"` // in the store; 0 before it is done
	StartedAt   time.Time  `json:"startedAt"`
	Deadline    time.Time  `json:"deadline"` // when it is given up, unless it gets on before
	EndedAt     *time.Time `json:"endedAt"`  // nil while it goes on
	Reason      *string    `json:"reason"`   // what it waits for, or why it failed
}

// ExportUse is what exports take, or may take.
type ExportUse struct {
	Exports int64 `json:"exports"`
	Bytes   int64 `json:"bytes"`
}

// Exports are the account's exports, newest first.
type Exports struct {
	Exports []Export  `json:"exports"`
	Used    ExportUse `json:"used"`
	Limits  ExportUse `json:"limits"`
}

// ExportSnapshot has a snapshot stored outside of its server. With a request id it is
// repeated when no answer comes.
func (c *Client) ExportSnapshot(ctx context.Context, snapshotID, requestID string) (e Export, err error) {
	err = c.do(ctx, call{
		method: http.MethodPost, path: "/v1/snapshots/" + url.PathEscape(snapshotID) + "/export", answer: &e, key: requestID, safe: requestID != "",
	})
	return e, err
}

// Exports returns the account's exports.
func (c *Client) Exports(ctx context.Context) (Exports, error) {
	return get[Exports](ctx, c, "/v1/exports", nil)
}

// Export returns one export.
func (c *Client) Export(ctx context.Context, id string) (Export, error) {
	return get[Export](ctx, c, "/v1/exports/"+url.PathEscape(id), nil)
}

// WaitExport returns an export as soon as it is not on its way any more, and calls told
// with it before that, now and then.
func (c *Client) WaitExport(ctx context.Context, id string, told func(Export)) (Export, error) {
	for {
		round := time.NewTimer(minRound)
		e, err := get[Export](ctx, c, "/v1/exports/"+url.PathEscape(id), url.Values{"wait": {"10s"}})
		if err != nil || e.State != ExportUploading {
			return e, err
		}
		told(e)
		select {
		case <-round.C:
		case <-ctx.Done():
			return e, ctx.Err()
		}
	}
}

// DeleteExport has an export removed from the store, and forgotten then.
func (c *Client) DeleteExport(ctx context.Context, id string) (e Export, err error) {
	err = c.do(ctx, call{method: http.MethodDelete, path: "/v1/exports/" + url.PathEscape(id), answer: &e, safe: true})
	return e, err
}
