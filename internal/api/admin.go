package api

import (
	"cmp"
	"net/http"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/money"
)

var listAccounts = operation{
	method: http.MethodGet, path: "/v1/admin/accounts", id: "listAccounts", tag: "Operation", access: operator,
	summary:  "List accounts",
	response: `[` + exampleAccount + `]`,
}

func (a *api) listAccounts(c *call, _ none) ([]AccountBalance, error) {
	list, err := a.control.Accounts(c.Context(), c.who)
	out := make([]AccountBalance, len(list))
	for i, b := range list {
		out[i] = balanceOf(b)
	}
	return out, err
}

var createAccount = operation{
	method: http.MethodPost, path: "/v1/admin/accounts", id: "createAccount", tag: "Operation", access: operator, status: http.StatusCreated,
	summary:  "Create an account",
	text:     "The API key is shown only here.",
	request:  `{"name": "Ada", "role": "customer"}`,
	response: `{"id": "acc_06abk5", "name": "Ada", "apiKey": "cpu_0f4mr1v5qv3k8o0ij6v0d3k1f8p2t9ab"}`,
	refusals: map[int]string{
		http.StatusBadRequest:          "name has to be a string, not number",
		http.StatusUnprocessableEntity: "a name is 1 to 100 printable characters",
	},
}

type accountRequest struct {
	Name string `json:"name" maxLength:"100"`
	Role string `json:"role,omitempty" enum:"customer,operator" doc:"What the key may do; customer unless told."`
}

type createdAccount struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	APIKey string `json:"apiKey"`
}

func (a *api) createAccount(c *call, in accountRequest) (createdAccount, error) {
	role := cmp.Or(account.Role(in.Role), account.Customer)
	made, key, err := a.control.CreateAccount(c.Context(), c.who, in.Name, role)
	return createdAccount{ID: made.ID, Name: made.Name, APIKey: key}, err
}

var createJoinToken = operation{
	method: http.MethodPost, path: "/v1/admin/join-tokens", id: "createJoinToken", tag: "Operation", access: operator, status: http.StatusCreated,
	summary: "Invite a server",
	text: "A token with which one server joins the marketplace: its agent takes it as CPUCLOUD_JOIN_TOKEN. Provider and datacenter are " +
		"made where there are none. Prices are in USDC per unit and epoch.",
	request: `{"provider": "Example Hosting", "country": "US", "city": "NYC", "index": 1, "tier": 3, "certifications": ["ISO 27001"],
		"prices": {"vcpu": "0.2", "ram": "0.06", "storage": "0.004", "address": "0.1"}, "maxExtraStorageGib": 1000, "validHours": 24}`,
	response: `{"token": "join_0f4mr1v5qv3k8o0ij6v0d3k1f8p2t9ab", "expiresAt": "2026-02-01T12:00:00Z"}`,
	refusals: map[int]string{
		http.StatusBadRequest:          "index has to be a whole number, not string",
		http.StatusConflict:            "datacenter us-nyc-1 belongs to another provider; give yours another index",
		http.StatusUnprocessableEntity: `country "usa" is not two capital letters of ISO 3166-1`,
	},
}

type joinTokenRequest struct {
	Provider        string     `json:"provider" doc:"Name of the provider."`
	Country         string     `json:"country" doc:"ISO 3166-1 alpha-2." example:"US"`
	City            string     `json:"city" doc:"UN/LOCODE without the country." example:"NYC"`
	Index           integer    `json:"index" minimum:"1" doc:"Of the datacenter within the city."`
	Tier            integer    `json:"tier" minimum:"1" maximum:"4"`
	Certifications  []string   `json:"certifications,omitempty" maxItems:"20"`
	Prices          unitPrices `json:"prices"`
	MaxExtraStorage integer    `json:"maxExtraStorageGib,omitempty" minimum:"0" doc:"Most storage that one VM may add; 0 for no limit."`
	ValidHours      *integer   `json:"validHours,omitempty" minimum:"1" maximum:"8760" doc:"24 unless told."`
}

type unitPrices struct {
	VCPU    *decimal `json:"vcpu" nullable:"false" doc:"Per vCPU." example:"0.2"`
	RAM     *decimal `json:"ram" nullable:"false" doc:"Per GiB." example:"0.06"`
	Storage *decimal `json:"storage" nullable:"false" doc:"Per GiB." example:"0.004"`
	Address *decimal `json:"address" nullable:"false" doc:"Per public IPv4 address." example:"0.1"`
}

func (p unitPrices) market() (m market.Prices, err error) {
	for _, item := range []struct {
		member string
		given  *decimal
		to     *money.Amount
	}{
		{"prices.vcpu", p.VCPU, &m.VCPU},
		{"prices.ram", p.RAM, &m.RAM},
		{"prices.storage", p.Storage, &m.Storage},
		{"prices.address", p.Address, &m.Address},
	} {
		if *item.to, err = item.given.amount(item.member); err != nil {
			return m, err
		}
	}
	return m, nil
}

type joinToken struct {
	Token     string    `json:"token"`
	ExpiresAt time.Time `json:"expiresAt"`
}

const maxValidHours = 365 * 24

func (a *api) createJoinToken(c *call, in joinTokenRequest) (joinToken, error) {
	prices, err := in.Prices.market()
	if err != nil {
		return joinToken{}, err
	}
	hours := integer(24)
	if in.ValidHours != nil {
		hours = *in.ValidHours
	}
	switch {
	case hours < 1 || hours > maxValidHours:
		return joinToken{}, fault.Newf(fault.Invalid, "validHours is %d; it has to be within 1 to %d", hours, maxValidHours)
	case in.MaxExtraStorage < 0:
		return joinToken{}, fault.New(fault.Invalid, "maxExtraStorageGib is negative")
	case len(in.Certifications) > 20:
		return joinToken{}, atMost("certifications", in.Certifications, 20)
	}
	valid := time.Duration(hours) * time.Hour
	expires := a.control.Now().Add(valid)
	token, err := a.control.Invite(c.Context(), c.who, control.Invitation{
		Provider: in.Provider,
		Datacenter: market.Datacenter{
			Country: in.Country, City: in.City, Index: int64(in.Index), Tier: int64(in.Tier), Certifications: in.Certifications,
		},
		Prices: prices, MaxExtraStorage: int64(in.MaxExtraStorage), Valid: valid,
	})
	return joinToken{Token: token, ExpiresAt: expires.UTC()}, err
}

var simulateFleet = operation{
	method: http.MethodPost, path: "/v1/admin/simulation", id: "simulateFleet", tag: "Operation", access: operator, status: http.StatusCreated,
	summary: "Add simulated servers",
	text: "Only where the server was started with --allow-simulation: servers whose agents exist in this process alone, one per line of CSV: server, " +
		"provider, datacenter (numbers), country, CPU manufacturer, CPU architecture, memory, storage, vCPU, RAM GiB, storage GiB, addresses, the same " +
		"four that are taken, micro-USDC per epoch of 1 vCPU with 2 GiB of RAM and 12.5 GiB of storage.",
	request:  `{"fleet": "1,6,9,US,INTEL,SAPPHIRERAPIDS,DDR5,HDD,128,1024,6400,64,21,43,262,10,92000\n"}`,
	response: `{"servers": 1}`,
	refusals: map[int]string{
		http.StatusBadRequest:          "fleet has to be a string, not number",
		http.StatusConflict:            "this cloud takes no simulated servers; start it with --allow-simulation",
		http.StatusUnprocessableEntity: `line 1 of the fleet: "many" is not a number of that column`,
	},
}

type fleetRequest struct {
	Fleet string `json:"fleet" doc:"Lines of CSV."`
	More  bool   `json:"more,omitempty" doc:"More is to follow: these servers may be found only after that."`
}

type fleetAnswer struct {
	Servers int `json:"servers" doc:"That were added."`
}

func (a *api) simulateFleet(c *call, in fleetRequest) (fleetAnswer, error) {
	n, err := a.control.Simulate(c.Context(), c.who, in.Fleet, in.More)
	return fleetAnswer{n}, err
}

var advanceClock = operation{
	method: http.MethodPost, path: "/v1/admin/clock", id: "advanceClock", tag: "Operation", access: operator,
	summary:  "Move the billing clock forward",
	text:     "Only where the server was started with a test clock.",
	request:  `{"advance": "24h"}`,
	response: `{"now": "2026-02-01T12:00:00Z"}`,
	refusals: map[int]string{
		http.StatusBadRequest:          "advance has to be a string, not number",
		http.StatusConflict:            "the clock is the real one; start the server with --clock test to move it",
		http.StatusUnprocessableEntity: `advance "tomorrow" is not a duration within 0s to 87600h`,
	},
}

type clockRequest struct {
	Advance string `json:"advance" doc:"A duration such as 24h or 90m." example:"24h"`
}

type clockTime struct {
	Now time.Time `json:"now"`
}

const longestAdvance = 10 * 365 * 24 * time.Hour

func (a *api) advanceClock(c *call, in clockRequest) (clockTime, error) {
	by, err := time.ParseDuration(in.Advance)
	if err != nil || by < 0 || by > longestAdvance {
		return clockTime{}, fault.Newf(fault.Invalid, "advance %q is not a duration within 0s to %.0fh", clip(in.Advance), longestAdvance.Hours())
	}
	now, err := a.control.AdvanceClock(c.Context(), c.who, by)
	return clockTime{Now: now.UTC()}, err
}
