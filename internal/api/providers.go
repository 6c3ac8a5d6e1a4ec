package api

import (
	"net/http"
	"time"

	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/money"
)

const (
	exampleProvider = `{"id": "prv_06abk5", "name": "Nord", "createdAt": "2026-01-31T12:00:00Z", "servers": 3, "pending": "1.68", "earned": "120.5"}`
	noProvider      = `no provider "Nord"`
)

var createProvider = operation{
	method: http.MethodPost, path: "/v1/providers", id: "createProvider", tag: "Providers", status: http.StatusCreated,
	summary:  "Create a provider",
	text:     "It acts for the key's account, which may have up to ten. What it sells is declared by its listing.",
	request:  `{"name": "Nord"}`,
	response: `{"id": "prv_06abk5", "name": "Nord", "createdAt": "2026-01-31T12:00:00Z", "servers": 0, "pending": "0", "earned": "0"}`,
	refusals: map[int]string{
		http.StatusBadRequest:          "name has to be a string, not number",
		http.StatusConflict:            `the name "Nord" is taken; choose another`,
		http.StatusUnprocessableEntity: "a name is 1 to 100 printable characters",
	},
}

type providerRequest struct {
	Name string `json:"name" minLength:"1" maxLength:"100" doc:"Unique in the marketplace: printable text on one line."`
}

type provider struct {
	ID        string       `json:"id"`
	Name      string       `json:"name"`
	CreatedAt time.Time    `json:"createdAt"`
	Servers   int          `json:"servers" minimum:"0" doc:"Without those that were removed."`
	Pending   money.Amount `json:"pending" doc:"USDC charged, of which a part is returned to the customer where an epoch is not delivered." example:"1.68"`
	Earned    money.Amount `json:"earned" doc:"USDC earned for good, and not asked for yet." example:"120.5"`
}

func providerOf(p control.Provider) provider {
	return provider{ID: p.ID, Name: p.Name, CreatedAt: p.CreatedAt.UTC(), Servers: p.Servers, Pending: p.Pending, Earned: p.Earned}
}

func (a *api) createProvider(c *call, in providerRequest) (provider, error) {
	p, err := a.control.CreateProvider(c.Context(), c.who, in.Name)
	return providerOf(p), err
}

var listProviders = operation{
	method: http.MethodGet, path: "/v1/providers", id: "listProviders", tag: "Providers",
	summary:  "List providers",
	text:     "Those of the key's account, by name; all of them for operators.",
	response: `[` + exampleProvider + `]`,
}

func (a *api) listProviders(c *call, _ none) ([]provider, error) {
	list, err := a.control.Providers(c.Context(), c.who)
	out := make([]provider, len(list))
	for i, p := range list {
		out[i] = providerOf(p)
	}
	return out, err
}

var createServerToken = operation{
	method: http.MethodPost, path: "/v1/providers/{provider}/tokens", id: "createServerToken", tag: "Providers", status: http.StatusCreated,
	summary: "Invite a server",
	text: "A token with which one server joins the provider, once: its agent takes it as CPUCLOUD_JOIN_TOKEN. The server is sold by the " +
		"offer that is named, else by the one of its datacenter that names most of its hardware. The token is shown only here.",
	request:  `{"datacenter": "us-nyc-1", "offer": "standard", "name": "nyc-1", "validHours": 24}`,
	response: `{"token": "join_0f4mr1v5qv3k8o0ij6v0d3k1f8p2t9ab", "expiresAt": "2026-02-01T12:00:00Z"}`,
	refusals: map[int]string{
		http.StatusBadRequest:          "validHours has to be a whole number, not string",
		http.StatusNotFound:            `provider Nord has no datacenter "us-nyc-1"; add it to the listing and apply that`,
		http.StatusConflict:            "another server of this provider is named nyc-1; choose another name, or remove that one",
		http.StatusUnprocessableEntity: "validHours is 0; it has to be within 1 to 8760",
	},
}

type serverTokenRequest struct {
	Datacenter string   `json:"datacenter" doc:"Slug of one of the provider's datacenters." example:"us-nyc-1"`
	Offer      string   `json:"offer,omitempty" doc:"Name of the offer that lists the server; else the one that names most of its hardware."`
	Name       string   `json:"name,omitempty" maxLength:"255" doc:"Of the server: letters, digits and hyphens, unique among the provider's servers."`
	ValidHours *integer `json:"validHours,omitempty" minimum:"1" maximum:"8760" doc:"24 unless told."`
}

func (a *api) createServerToken(c *call, in serverTokenRequest) (joinToken, error) {
	hours := integer(24)
	if in.ValidHours != nil {
		hours = *in.ValidHours
	}
	if hours < 1 || hours > maxValidHours {
		return joinToken{}, fault.Newf(fault.Invalid, "validHours is %d; it has to be within 1 to %d", hours, maxValidHours)
	}
	if in.Datacenter == "" {
		return joinToken{}, missing("datacenter")
	}
	token, expires, err := a.control.InviteServer(c.Context(), c.who, c.PathValue("provider"), control.ServerInvitation{
		Datacenter: in.Datacenter, Offer: in.Offer, Name: in.Name, Valid: time.Duration(hours) * time.Hour,
	})
	return joinToken{Token: token, ExpiresAt: expires}, err
}
