package client

import (
	"context"
	"net/http"
	"time"
)

// NewAccount is an account that was just made.
type NewAccount struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	APIKey string `json:"apiKey"` // shown this once
}

// Invitation says where a server that joins stands and what it costs. Provider
// and datacenter are made where there are none.
type Invitation struct {
	Provider        string     `json:"provider"`
	Country         string     `json:"country"` // ISO 3166-1 alpha-2
	City            string     `json:"city"`    // UN/LOCODE without the country
	Index           int        `json:"index"`   // of the datacenter within the city, from 1
	Tier            int        `json:"tier"`    // 1 to 4
	Certifications  []string   `json:"certifications,omitempty"`
	Prices          UnitPrices `json:"prices"`
	MaxExtraStorage int        `json:"maxExtraStorageGib,omitempty"` // per VM, 0 for no limit
	ValidHours      int        `json:"validHours,omitempty"`         // of the token, 0 for a day
}

// UnitPrices are per unit and epoch.
type UnitPrices struct {
	VCPU    Amount `json:"vcpu"`
	RAM     Amount `json:"ram"`     // per GiB
	Storage Amount `json:"storage"` // per GiB
	Address Amount `json:"address"`
}

// JoinToken lets one server join the marketplace once.
type JoinToken struct {
	Token     string    `json:"token"`
	ExpiresAt time.Time `json:"expiresAt"`
}

// CreateAccount makes an account and its first API key. The role is "customer"
// or "operator", empty for a customer. Needs an operator's key.
func (c *Client) CreateAccount(ctx context.Context, name, role string) (NewAccount, error) {
	body := map[string]string{"name": name}
	if role != "" {
		body["role"] = role
	}
	var a NewAccount
	err := c.do(ctx, call{method: http.MethodPost, path: "/v1/admin/accounts", body: body, answer: &a})
	return a, err
}

// Accounts returns all accounts. Needs an operator's key.
func (c *Client) Accounts(ctx context.Context) ([]Account, error) {
	return get[[]Account](ctx, c, "/v1/admin/accounts", nil)
}

// CreateJoinToken makes a token with which one server joins as the invitation
// says. Needs an operator's key.
func (c *Client) CreateJoinToken(ctx context.Context, i Invitation) (JoinToken, error) {
	var t JoinToken
	err := c.do(ctx, call{method: http.MethodPost, path: "/v1/admin/join-tokens", body: i, answer: &t})
	return t, err
}

// AdvanceClock moves the clock of a cloud that was started with a movable one
// and returns its new time. Needs an operator's key.
func (c *Client) AdvanceClock(ctx context.Context, by time.Duration) (time.Time, error) {
	var answer struct {
		Now time.Time `json:"now"`
	}
	body := map[string]string{"advance": by.String()}
	err := c.do(ctx, call{method: http.MethodPost, path: "/v1/admin/clock", body: body, answer: &answer})
	return answer.Now, err
}

// SimulateFleet adds simulated servers, one per line of CSV, and returns how
// many there were. Where more is to follow, they are found only after that.
// Needs an operator's key, and a cloud that allows it.
func (c *Client) SimulateFleet(ctx context.Context, lines string, more bool) (servers int, err error) {
	body := struct {
		Fleet string `json:"fleet"`
		More  bool   `json:"more,omitempty"`
	}{lines, more}
	var answer struct {
		Servers int `json:"servers"`
	}
	err = c.do(ctx, call{method: http.MethodPost, path: "/v1/admin/simulation", body: body, answer: &answer})
	return answer.Servers, err
}
