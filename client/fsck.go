package client

import (
	"context"
	"net/http"
)

// Soundness is what a check of all that a cloud has stored has found.
type Soundness struct {
	Sound         bool          `json:"sound"` // nothing was found
	Entries       int64         `json:"entries"`
	VMs           int64         `json:"vms"`
	Servers       int64         `json:"servers"`
	Discrepancies []Discrepancy `json:"discrepancies"`
}

// Discrepancy is something that is stored and can't be so.
type Discrepancy struct {
	Subject string `json:"subject"` // an entry, account, VM, server or provider
	Text    string `json:"text"`
	Repair  string `json:"repair"` // what to do about it
}

// Fsck has a cloud check that all that it has stored fits together. It takes
// seconds for each million entries of the ledger. Needs an operator's key.
func (c *Client) Fsck(ctx context.Context) (Soundness, error) {
	var s Soundness
	err := c.do(ctx, call{method: http.MethodGet, path: "/v1/admin/fsck", answer: &s, safe: true})
	return s, err
}
