package client

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Provider is who sells servers in the marketplace.
type Provider struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	CreatedAt time.Time `json:"createdAt"`
	Servers   int       `json:"servers"`
	Pending   Amount    `json:"pending"` // charged, but its epoch is not over
	Earned    Amount    `json:"earned"`
}

// Listing is all that a provider sells, and where. Members keep the names that
// they have in an offers file.
type Listing struct {
	Datacenters []ListedDatacenter `json:"datacenters"`
	Offers      []ListedOffer      `json:"offers"`
}

// ListedDatacenter is a place of a listing.
type ListedDatacenter struct {
	Country        string   `json:"country"` // ISO 3166-1 alpha-2
	City           string   `json:"city"`    // UN/LOCODE without the country
	Index          int64    `json:"index"`   // within the city, from 1
	Tier           int64    `json:"tier"`    // 1 to 4
	Certifications []string `json:"certifications"`
}

// ListedOffer is a price list of a listing for servers of some hardware in one
// datacenter.
type ListedOffer struct {
	Name            string         `json:"name"`
	Datacenter      string         `json:"datacenter"` // slug, such as de-fra-1
	Hardware        ServerHardware `json:"hardware"`   // an empty member stands for anything
	Prices          UnitPrices     `json:"prices"`
	MaxExtraStorage int64          `json:"maxExtraStorageGib"` // per VM, 0 for no limit
}

// Applied is what a listing changes, or would change.
type Applied struct {
	DryRun  bool     `json:"dryRun"`
	Changes []Change `json:"changes"`
}

// Change is one difference between what is listed and what was.
type Change struct {
	Path   string `json:"path"`   // such as offers[1].prices.vcpu
	Action string `json:"action"` // add, change or remove
	Before any    `json:"before,omitempty"`
	After  any    `json:"after,omitempty"`
	Text   string `json:"text,omitempty"` // the same for a reader
}

// ServerInvitation says where a server that joins a provider will stand.
type ServerInvitation struct {
	Datacenter string `json:"datacenter"`           // slug
	Offer      string `json:"offer,omitempty"`      // name; else the one that lists its hardware
	Name       string `json:"name,omitempty"`       // of the server; else its host name
	ValidHours int    `json:"validHours,omitempty"` // of the token, 0 for a day
}

// Earnings is what a provider's VMs brought in.
type Earnings struct {
	Pending     Amount        `json:"pending"`     // charged, but its epoch is not over
	Earned      Amount        `json:"earned"`      // can be withdrawn
	Withdrawing Amount        `json:"withdrawing"` // asked for and not paid yet
	Withdrawn   Amount        `json:"withdrawn"`
	Rows        []EarningsRow `json:"rows"`
}

// EarningsRow is the part of one VM, server or day.
type EarningsRow struct {
	Key      string `json:"key"`
	VM       string `json:"vm,omitempty"`
	Server   string `json:"server,omitempty"`
	Day      string `json:"day,omitempty"`
	Charged  Amount `json:"charged"`
	Returned Amount `json:"returned"`
	Net      Amount `json:"net"`
	Epochs   int64  `json:"epochs"`
}

func providerPath(steps ...string) string {
	path := make([]string, len(steps))
	for i, s := range steps {
		path[i] = url.PathEscape(s)
	}
	return "/v1/providers/" + strings.Join(path, "/")
}

// CreateProvider makes a provider that acts for the key's account.
func (c *Client) CreateProvider(ctx context.Context, name string) (Provider, error) {
	var p Provider
	err := c.do(ctx, call{method: http.MethodPost, path: "/v1/providers", body: map[string]string{"name": name}, answer: &p})
	return p, err
}

// Providers returns the account's providers; to an operator, all.
func (c *Client) Providers(ctx context.Context) ([]Provider, error) {
	return get[[]Provider](ctx, c, "/v1/providers", nil)
}

// Listing returns what a provider, given by its name or id, declared to sell.
func (c *Client) Listing(ctx context.Context, provider string) (Listing, error) {
	return get[Listing](ctx, c, providerPath(provider, "listing"), nil)
}

// ApplyListing makes a listing what the provider sells, all of it or nothing.
// An offer that is left out is withdrawn. A dry run only tells what would
// change. An [Error] for a listing that can't be has all its Faults.
func (c *Client) ApplyListing(ctx context.Context, provider string, l Listing, dryRun bool) (Applied, error) {
	r := call{method: http.MethodPut, path: providerPath(provider, "listing"), body: l, safe: true}
	if dryRun {
		r.query = url.Values{"dryRun": {"true"}}
	}
	var a Applied
	r.answer = &a
	err := c.do(ctx, r)
	return a, err
}

// CreateServerToken makes a token with which one server joins the provider.
func (c *Client) CreateServerToken(ctx context.Context, provider string, i ServerInvitation) (JoinToken, error) {
	var t JoinToken
	err := c.do(ctx, call{method: http.MethodPost, path: providerPath(provider, "tokens"), body: i, answer: &t})
	return t, err
}

// Earnings returns what a provider's VMs brought in since a time, the zero one
// for ever, by "vm", "server" or "day".
func (c *Client) Earnings(ctx context.Context, provider, by string, since time.Time) (Earnings, error) {
	query := url.Values{"by": {by}}
	if !since.IsZero() {
		query.Set("since", since.UTC().Format(time.RFC3339))
	}
	return get[Earnings](ctx, c, providerPath(provider, "earnings"), query)
}
