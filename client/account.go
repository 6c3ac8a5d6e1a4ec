package client

import (
	"context"
	"net/http"
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
	Spent     Amount    `json:"spent"`    // by the VMs that exist
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

// Account returns the account that the API key belongs to.
func (c *Client) Account(ctx context.Context) (Account, error) {
	return get[Account](ctx, c, "/v1/account", nil)
}
