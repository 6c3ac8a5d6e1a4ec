package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Disk is one of a VM's disks.
type Disk struct {
	Number    int64      `json:"number"`
	Current   bool       `json:"current"` // it is the one that the VM has
	Image     *string    `json:"image"`   // nil where it isn't known
	SizeGiB   int64      `json:"sizeGiB"`
	Since     *time.Time `json:"since"`     // when the VM was asked to run on another one
	KeptUntil *time.Time `json:"keptUntil"` // when it is purged; nil while the VM runs on it, or may
	Purging   bool       `json:"purging"`   // it can't be had back
}

// Reinstall is what a VM's new disk is made of. What is nil stays as it was.
type Reinstall struct {
	Image         *string  `json:"image,omitempty"` // URL; nil is for the very bytes of the last time
	ImageChecksum *string  `json:"imageChecksum,omitempty"`
	SSHKeys       []string `json:"sshKeys,omitempty"`
	UserData      *string  `json:"userData,omitempty"` // "" is for none
}

// Rescue is what a VM in rescue runs.
type Rescue struct {
	SSHKey        string `json:"sshKey"`          // one public key line, the only one that logs in
	Image         string `json:"image,omitempty"` // URL; "" is for the cloud's own
	ImageChecksum string `json:"imageChecksum,omitempty"`
}

// ReinstallVM gives a VM a new disk and keeps the one that it has. With a request id it
// is repeated when no answer comes, as all that follow are.
func (c *Client) ReinstallVM(ctx context.Context, id string, r Reinstall, requestID string) (Operation, error) {
	return c.operateWith(ctx, id, "reinstall", requestID, r)
}

// RescueVM has a VM run a rescue image, with its own disk as the second one.
func (c *Client) RescueVM(ctx context.Context, id string, r Rescue, requestID string) (Operation, error) {
	return c.operateWith(ctx, id, "rescue", requestID, r)
}

// UnrescueVM has a VM run on its own disk again.
func (c *Client) UnrescueVM(ctx context.Context, id, requestID string) (Operation, error) {
	return c.operate(ctx, id, "unrescue", requestID)
}

// Disks returns the disks of a VM: those that are kept, and the one that it has.
func (c *Client) Disks(ctx context.Context, id string) ([]Disk, error) {
	return get[[]Disk](ctx, c, "/v1/vms/"+url.PathEscape(id)+"/disks", nil)
}

// ReturnDisk gives a VM a disk back that is kept, and keeps the one that it has.
func (c *Client) ReturnDisk(ctx context.Context, id string, number int64, requestID string) (Operation, error) {
	return c.operate(ctx, id, "disks/"+strconv.FormatInt(number, 10)+"/return", requestID)
}

// PurgeDisk purges a disk that is kept: it can't be had back.
func (c *Client) PurgeDisk(ctx context.Context, id string, number int64) error {
	return c.do(ctx, call{method: http.MethodDelete, path: "/v1/vms/" + url.PathEscape(id) + "/disks/" + strconv.FormatInt(number, 10), safe: true})
}
