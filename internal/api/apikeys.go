package api

import (
	"cmp"
	"net/http"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/control"
)

const (
	exampleAPIKeyMembers = `"id": "key_06abk5", "name": "ci", "role": "customer", "createdAt": "2026-01-31T12:00:00Z", "current": false, "manages": false, ` + exampleAllowanceMembers
	exampleAPIKey        = `{` + exampleAPIKeyMembers + `}`
	noAPIKey             = `no API key with id "key_06abk5"`
	lastManager          = "no API key without limits would be left to manage the others; make another one first"
)

var listAPIKeys = operation{
	method: http.MethodGet, path: "/v1/api-keys", id: "listAPIKeys", tag: "Account",
	summary:  "List API keys",
	text:     "Those of the account that are good, oldest first, with their limits and what is used of them. The keys themselves are shown only when they are made.",
	response: `[` + exampleAPIKey + `]`,
}

// AccountKey is an API key without its secret.
type AccountKey struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Role      string    `json:"role" enum:"customer,operator"`
	CreatedAt time.Time `json:"createdAt"`
	Current   bool      `json:"current" doc:"It is the one that asks."`
	Manages   bool      `json:"manages" doc:"It has no limits: limits and keys can be managed with it."`
	Allowance
}

func apiKeyOf(k control.Key, c *call) AccountKey {
	return AccountKey{
		ID: k.ID, Name: k.Name, Role: string(k.Role), CreatedAt: k.CreatedAt.UTC(), Current: k.ID == c.who.KeyID, Manages: k.Manages(),
		Allowance: allowanceOf(k.Allowance),
	}
}

func (a *api) listAPIKeys(c *call, _ none) ([]AccountKey, error) {
	list, err := a.control.Keys(c.Context(), c.who)
	out := make([]AccountKey, len(list))
	for i, k := range list {
		out[i] = apiKeyOf(k, c)
	}
	return out, err
}

var createAPIKey = operation{
	method: http.MethodPost, path: "/v1/api-keys", id: "createAPIKey", tag: "Account", status: http.StatusCreated,
	summary: "Create an API key",
	text: "It may do all that the account may, within its limits; one with limits can't change limits or manage keys. The key is shown only here. " +
		"An account has at most 100 that are good.",
	request:  `{"name": "ci", "limits": ` + exampleLimits + `}`,
	response: `{` + exampleAPIKeyMembers + `, "apiKey": "cpu_0f4mr1v5qv3k8o0ij6v0d3k1f8p2t9ab"}`,
	refusals: map[int]string{
		http.StatusBadRequest:          "name has to be a string, not number",
		http.StatusForbidden:           noManager,
		http.StatusUnprocessableEntity: "a name is 1 to 100 printable characters",
	},
}

type apiKeyRequest struct {
	Name   string `json:"name" minLength:"1" maxLength:"100"`
	Role   string `json:"role,omitempty" enum:"customer,operator" doc:"What the key may do; customer unless told. Only an operator's key makes one of an operator."`
	Limits Limits `json:"limits,omitzero"`
}

type createdAPIKey struct {
	AccountKey
	Secret string `json:"apiKey"`
}

func (a *api) createAPIKey(c *call, in apiKeyRequest) (createdAPIKey, error) {
	l, err := in.Limits.account()
	if err != nil {
		return createdAPIKey{}, err
	}
	key, secret, err := a.control.CreateKey(c.Context(), c.who, in.Name, cmp.Or(account.Role(in.Role), account.Customer), l)
	return createdAPIKey{apiKeyOf(key, c), secret}, err
}

var setAPIKeyLimits = operation{
	method: http.MethodPut, path: "/v1/api-keys/{id}/limits", id: "setAPIKeyLimits", tag: "Account",
	summary:  "Set the limits of an API key",
	text:     "All of them: one that is left out is lifted. Needs an API key that has no limits itself; one without has to be left.",
	request:  exampleLimits,
	optional: true,
	response: exampleAPIKey,
	refusals: limitRefusals(map[int]string{http.StatusNotFound: noAPIKey, http.StatusConflict: lastManager}),
}

func (a *api) setAPIKeyLimits(c *call, in Limits) (AccountKey, error) {
	l, err := in.account()
	if err != nil {
		return AccountKey{}, err
	}
	k, err := a.control.SetKeyLimits(c.Context(), c.who, c.PathValue("id"), l)
	return apiKeyOf(k, c), err
}

var revokeAPIKey = operation{
	method: http.MethodDelete, path: "/v1/api-keys/{id}", id: "revokeAPIKey", tag: "Account", status: http.StatusNoContent,
	summary: "Revoke an API key",
	text: "It is refused at once by the server that is asked, and within 5 s by others. VMs that were deployed with it go on. It may be repeated. Needs an " +
		"API key that has no limits itself; one without has to be left.",
	refusals: map[int]string{http.StatusForbidden: noManager, http.StatusNotFound: noAPIKey, http.StatusConflict: lastManager},
}

func (a *api) revokeAPIKey(c *call, _ none) (none, error) {
	return none{}, a.control.RevokeKey(c.Context(), c.who, c.PathValue("id"))
}
