package client

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// Limits bound what may be spent newly, in USDC; nil is no limit, "0" allows
// nothing new. What runs goes on whatever they say.
type Limits struct {
	PerDay   *Amount `json:"perDay"`   // charged in a calendar day of UTC
	PerMonth *Amount `json:"perMonth"` // charged in a calendar month of UTC
	Running  *Amount `json:"running"`  // per 24 h of all that runs or waits to run
}

// Limit is one limit with what is used of it.
type Limit struct {
	Limit    *Amount `json:"limit"` // the one that counts: the tighter of the two; nil for none
	Used     Amount  `json:"used"`
	Own      *Amount `json:"own"`      // that the account set
	Operator *Amount `json:"operator"` // that the operator set; of API keys always nil
}

// Allowance is all limits with what is used of them.
type Allowance struct {
	PerDay   Limit `json:"perDay"`
	PerMonth Limit `json:"perMonth"`
	Running  Limit `json:"running"`
}

// OwnLimits returns the limits that the account set.
func (a Allowance) OwnLimits() Limits {
	return Limits{PerDay: a.PerDay.Own, PerMonth: a.PerMonth.Own, Running: a.Running.Own}
}

// OperatorLimits returns the limits that the operator set.
func (a Allowance) OperatorLimits() Limits {
	return Limits{PerDay: a.PerDay.Operator, PerMonth: a.PerMonth.Operator, Running: a.Running.Operator}
}

// Spending is the allowance of an account, and of the API key that asks.
type Spending struct {
	Allowance
	Key KeyAllowance `json:"key"`
}

// KeyAllowance is the allowance of an API key.
type KeyAllowance struct {
	ID string `json:"id"`
	Allowance
}

// APIKey is an API key of the account without its secret.
type APIKey struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Role      string    `json:"role"` // customer or operator
	CreatedAt time.Time `json:"createdAt"`
	Current   bool      `json:"current"` // it is the one that asks
	Manages   bool      `json:"manages"` // it has no limits: limits and keys can be managed with it
	Allowance
}

// NewAPIKey is an API key that was just made.
type NewAPIKey struct {
	APIKey
	Secret string `json:"apiKey"` // shown this once
}

// Limits returns the limits of the account and the API key, and what is used of
// them.
func (c *Client) Limits(ctx context.Context) (Spending, error) {
	return get[Spending](ctx, c, "/v1/account/limits", nil)
}

// SetLimits sets all limits of the account; nil ones are lifted. Those that the
// operator set stay. Needs an API key that has no limits itself.
func (c *Client) SetLimits(ctx context.Context, l Limits) (Spending, error) {
	return put[Spending](ctx, c, "/v1/account/limits", l)
}

// AccountLimits returns any account's limits. Needs an operator's key.
func (c *Client) AccountLimits(ctx context.Context, account string) (Allowance, error) {
	return get[Allowance](ctx, c, "/v1/admin/accounts/"+url.PathEscape(account)+"/limits", nil)
}

// SetAccountLimits sets all limits of an account that it can't raise itself; nil
// ones are lifted. Needs an operator's key.
func (c *Client) SetAccountLimits(ctx context.Context, account string, l Limits) (Allowance, error) {
	return put[Allowance](ctx, c, "/v1/admin/accounts/"+url.PathEscape(account)+"/limits", l)
}

// APIKeys returns the API keys of the account that are good, oldest first.
func (c *Client) APIKeys(ctx context.Context) ([]APIKey, error) {
	return get[[]APIKey](ctx, c, "/v1/api-keys", nil)
}

// CreateAPIKey makes another API key of the account. The role is "customer" or
// "operator", empty for a customer. Needs an API key that has no limits itself.
func (c *Client) CreateAPIKey(ctx context.Context, name, role string, l Limits) (NewAPIKey, error) {
	body := struct {
		Name   string `json:"name"`
		Role   string `json:"role,omitempty"`
		Limits Limits `json:"limits"`
	}{name, role, l}
	var k NewAPIKey
	err := c.do(ctx, call{method: http.MethodPost, path: "/v1/api-keys", body: body, answer: &k})
	return k, err
}

// SetAPIKeyLimits sets all limits of an API key; nil ones are lifted. Needs an API
// key that has no limits itself; one without has to be left.
func (c *Client) SetAPIKeyLimits(ctx context.Context, id string, l Limits) (APIKey, error) {
	return put[APIKey](ctx, c, "/v1/api-keys/"+url.PathEscape(id)+"/limits", l)
}

// RevokeAPIKey makes an API key good for nothing. VMs that were deployed with it
// go on.
func (c *Client) RevokeAPIKey(ctx context.Context, id string) error {
	return c.do(ctx, call{method: http.MethodDelete, path: "/v1/api-keys/" + url.PathEscape(id), safe: true})
}

// put makes what is at path what body says.
func put[T any](ctx context.Context, c *Client, path string, body any) (T, error) {
	var answer T
	err := c.do(ctx, call{method: http.MethodPut, path: path, body: body, answer: &answer, safe: true})
	return answer, err
}
