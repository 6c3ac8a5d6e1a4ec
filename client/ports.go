package client

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// PortChange is what is to be open of one VM.
type PortChange struct {
	Ports   []Port        // the whole set
	Cut     bool          // end the connections through ports that are closed, too
	Confirm time.Duration // change back after it unless ConfirmPorts comes before; 0 to keep
	IfMatch string        // refuse unless the ports are those of this tag; "" for any
}

// Ports are the open ports of a VM, and what changed.
type Ports struct {
	Ports     []Port     `json:"openPorts"`
	Opens     []Port     `json:"opens"`
	Closes    []Port     `json:"closes"`
	Tag       string     `json:"etag"`
	RevertsAt *time.Time `json:"revertsAt"` // when they are changed back unless confirmed; nil for never
}

// SetPorts changes the open ports of a VM. A client of DryRun shows what would open
// and close.
func (c *Client) SetPorts(ctx context.Context, vmID string, change PortChange) (p Ports, err error) {
	body := map[string]any{"openPorts": append([]Port{}, change.Ports...)}
	if change.Cut {
		body["cutConnections"] = true
	}
	if change.Confirm > 0 {
		body["confirmWithin"] = change.Confirm.String()
	}
	err = c.do(ctx, call{method: http.MethodPut, path: "/v1/vms/" + url.PathEscape(vmID) + "/ports", body: body, answer: &p, match: change.IfMatch})
	return p, err
}

// ConfirmPorts keeps the ports of a VM as they are.
func (c *Client) ConfirmPorts(ctx context.Context, vmID string) (p Ports, err error) {
	err = c.do(ctx, call{method: http.MethodPost, path: "/v1/vms/" + url.PathEscape(vmID) + "/ports/confirm", answer: &p, safe: true})
	return p, err
}
