package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// SSHKey is a public key that is registered with the account.
type SSHKey struct {
	Name        *string   `json:"name"` // nil when it was given none
	Fingerprint string    `json:"fingerprint"`
	Algorithm   string    `json:"algorithm"`
	Comment     string    `json:"comment"`
	PublicKey   string    `json:"publicKey"`
	Active      bool      `json:"active"`
	CreatedAt   time.Time `json:"createdAt"`
}

// Account is an account with its money.
type Account struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	CreatedAt time.Time `json:"createdAt"`
	Balance   Amount    `json:"balance"`  // can be spent
	Reserved  Amount    `json:"reserved"` // held for VMs
	Spent     Amount    `json:"spent"`    // by all VMs that there ever were
}

// SSHKeys returns the account's keys, oldest first.
func (c *Client) SSHKeys(ctx context.Context) ([]SSHKey, error) {
	return get[[]SSHKey](ctx, c, "/ssh_keys", nil)
}

// AddSSHKey registers a public key line. A key that is registered already is
// returned as it is. The name may be empty.
func (c *Client) AddSSHKey(ctx context.Context, name, publicKey string) (SSHKey, error) {
	var key SSHKey
	body := map[string]string{"name": name, "publicKey": publicKey}
	err := c.do(ctx, call{method: http.MethodPost, path: "/ssh_keys", body: body, answer: &key})
	return key, err
}

// DeleteSSHKey removes a key from the account. VMs that were deployed with it
// keep it.
func (c *Client) DeleteSSHKey(ctx context.Context, fingerprint string) error {
	return c.do(ctx, call{method: http.MethodDelete, path: "/ssh_keys", body: map[string]string{"fingerprint": fingerprint}})
}

// Outlook is an account with what its VMs cost, and how long its money lasts for
// them if nothing is paid in and nothing changes.
type Outlook struct {
	Account
	RunningCost    RunningCost      `json:"runningCost"`
	BurnRate       Amount           `json:"burnRate"`       // that were charged a day, on the average of the last days
	FundsLastUntil *time.Time       `json:"fundsLastUntil"` // when the first charge or top-up can't be paid; nil when that is not foreseen
	PowerOffAt     *time.Time       `json:"powerOffAt"`     // when the first VM is powered off for it
	TopUp          TopUp            `json:"topUp"`
	VMs            []CostingVMs     `json:"vms"`
	Next           *Due             `json:"next,omitempty"` // what falls due next; nil when nothing does
	Warnings       []AccountWarning `json:"warnings"`
	Events         []AccountEvent   `json:"events"` // the newest first
}

// RunningCost is what VMs cost that run or are on their way to.
type RunningCost struct {
	PerEpoch  Amount `json:"perEpoch"` // each VM by its own epoch
	PerDay    Amount `json:"perDay"`
	Per30Days Amount `json:"per30Days"`
}

// TopUp is what to pay in for the funds to last until a time: 30 days longer.
type TopUp struct {
	Amount Amount    `json:"amount"`
	Until  time.Time `json:"until"`
}

// CostingVMs are the VMs in one status, and what they cost.
type CostingVMs struct {
	Status   string `json:"status"`
	Count    int64  `json:"count"`
	PerEpoch Amount `json:"perEpoch"`
}

// Due is what falls due of a VM: "charge", "powerOff" or "purge".
type Due struct {
	At     time.Time `json:"at"`
	What   string    `json:"what"`
	VM     string    `json:"vmId"`
	VMName string    `json:"vmName"`
	Amount Amount    `json:"amount"` // that is charged, or missing for it not to happen
}

// AccountWarning is what should be known now.
type AccountWarning struct {
	Key  string `json:"key"`
	Text string `json:"text"`
}

// AccountEvent is something that the account was told.
type AccountEvent struct {
	N    int64     `json:"n"` // counts the account's
	Key  string    `json:"key"`
	At   time.Time `json:"at"`
	Text string    `json:"text"`
}

// Account returns the account that the API key belongs to.
func (c *Client) Account(ctx context.Context) (Outlook, error) {
	return get[Outlook](ctx, c, "/v1/account", nil)
}

// AccountEvents returns up to limit of what the account was told, the newest
// first, and before the one of a number, 0 for all.
func (c *Client) AccountEvents(ctx context.Context, before int64, limit int) ([]AccountEvent, error) {
	query := url.Values{"limit": {strconv.Itoa(limit)}}
	if before > 0 {
		query.Set("before", strconv.FormatInt(before, 10))
	}
	return get[[]AccountEvent](ctx, c, "/v1/account/events", query)
}
