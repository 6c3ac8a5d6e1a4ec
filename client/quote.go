package client

import (
	"context"
	"net/http"
	"time"
)

// Which server to take among those that fit at the same price. Unless told, it
// is the one that is left with least, and several VMs go to different ones.
const (
	StrategySpread = "spread" // the one with the fewest VMs of the account
	StrategyPack   = "pack"   // the one with the most
)

// Placing says where VMs are to go.
type Placing struct {
	Constraints       Wishes `json:"constraints,omitzero"`
	Instances         int    `json:"instances"`
	Strategy          string `json:"strategy,omitempty"`          // StrategySpread or StrategyPack
	AntiAffinityGroup string `json:"antiAffinityGroup,omitempty"` // VMs of one group never share a server
}

// Quote is a price and places that are held until it expires.
type Quote struct {
	ID            string    `json:"quoteId"`
	ExpiresAt     time.Time `json:"expiresAt"`
	Configuration string    `json:"configuration"`
	StorageGiB    int64     `json:"storageGib"` // of each VM, with what was added
	Estimate
}

// PlacedDeployment asks for VMs with preferences or at a quote: all instances or
// none. With a QuoteID, Placing holds nothing but the quote's number of instances.
type PlacedDeployment struct {
	Placing
	RequestID string          `json:"requestId,omitempty"` // the same one again gets the first answer again
	QuoteID   string          `json:"quoteId,omitempty"`
	VM        VMConfiguration `json:"vmConfiguration"`
	// ImageChecksum is "sha256:" and the 64 hex digits of the image as it is
	// downloaded. If it has another one, the VM is Failed and the deposit is back.
	ImageChecksum string `json:"imageChecksum,omitempty"`
	// Snapshot is what the VMs are made of in the place of an image, on the server where it is.
	Snapshot string `json:"snapshot,omitempty"`
	Export   string `json:"export,omitempty"` // id of an export that the VMs are made of, on whatever server
	// UserData is what cloud-init does at the first boot of each VM: at most 16 KiB
	// of #cloud-config, of a script that begins with #!, or of MIME multipart. The
	// cloud never tells it again.
	UserData string `json:"userData,omitempty"`
	// Labels are what each VM is told apart by: see [Client.SetLabels].
	Labels map[string]string `json:"labels,omitempty"`
}

// Quote holds price and places of a deployment for 60 to 300 seconds; 0 stands
// for 120. It costs nothing, and is not repeated when no answer comes: the
// places may be held by then.
func (c *Client) Quote(ctx context.Context, p Placing, hold time.Duration) (Quote, error) {
	body := struct {
		Placing
		HoldSeconds int64 `json:"holdSeconds,omitempty"`
	}{p, int64((hold + time.Second - 1) / time.Second)}
	var q Quote
	err := c.do(ctx, call{method: http.MethodPost, path: "/v1/quotes", body: body, answer: &q})
	return q, err
}

// DeployWith is [Client.Deploy] with all that a PlacedDeployment can say. A
// quote that has expired or was used is an [Error] of status 409.
func (c *Client) DeployWith(ctx context.Context, d PlacedDeployment) ([]Deployed, error) {
	return c.deploy(ctx, "/v1/vms", d.RequestID, d)
}
