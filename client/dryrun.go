package client

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/url"
)

// DryRun returns a client whose requests are checked and answered as ever, and
// change nothing: no VM is made, no money moves, no secret is told. Methods return
// what would have been; [Client.Deploy] and [Client.DeployWith] return no VMs,
// see [Client.Plan]. A cloud that knows no dry runs does what it is asked for, and
// is told on by an error.
func (c *Client) DryRun() *Client {
	dry := *c
	dry.dry = true
	return &dry
}

const dryRunHeader = "Cpucloud-Dry-Run"

var errNotDry = errors.New("the cloud did not say that it was a dry run: it may have done what it was asked for, look at what is there")

// rehearsed returns the query of a request that may have to be a dry run.
func (c *Client) rehearsed(r call) url.Values {
	if !c.rehearses(r) {
		return r.query
	}
	query := url.Values{"dryRun": {"true"}}
	maps.Copy(query, r.query)
	return query
}

func (c *Client) rehearses(r call) bool { return c.dry && r.method != http.MethodGet && !r.reads }

// Plan is what a deployment would come to.
type Plan struct {
	DryRun bool `json:"dryRun"`
	Estimate
	BalanceAfter Amount     `json:"balanceAfter"`
	Limits       Spending   `json:"limits"`             // with what the VMs add to what is used
	Repeated     []Deployed `json:"repeated,omitempty"` // the same request was made before under its id: it would be answered with these, and nothing new would be made or paid
}

// Plan returns what a deployment would come to now, after all checks that it would
// go through. Nothing is made or held, and its RequestID is not used up.
func (c *Client) Plan(ctx context.Context, d PlacedDeployment) (Plan, error) {
	var p Plan
	err := c.DryRun().do(ctx, call{method: http.MethodPost, path: "/v1/vms", body: d, answer: &p})
	return p, err
}

// deploy asks for VMs.
func (c *Client) deploy(ctx context.Context, path, requestID string, d any) ([]Deployed, error) {
	r := call{method: http.MethodPost, path: path, body: d, safe: requestID != ""}
	made := []Deployed{}
	if !c.dry { // which is answered with a plan
		r.answer = &made
	}
	err := c.do(ctx, r)
	return made, err
}
