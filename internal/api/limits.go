package api

import (
	"maps"
	"net/http"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/money"
)

const (
	exampleAllowanceMembers = `"perDay": {"limit": "10", "used": "4.2", "own": "10", "operator": "50"},
	"perMonth": {"limit": "100", "used": "61.5", "own": null, "operator": "100"}, "running": ` + exampleNoLimit
	exampleNoLimit  = `{"limit": null, "used": "5.04", "own": null, "operator": null}`
	exampleSpending = `{` + exampleAllowanceMembers + `, "key": {"id": "key_06abk5", "perDay": ` + exampleNoLimit + `, "perMonth": ` + exampleNoLimit + `, "running": ` + exampleNoLimit + `}}`
	limitsText      = "A limit refuses what is new, deploys and quotes, with status 422; what runs goes on. `perDay` and `perMonth` bound the rent charged in the " +
		"calendar day or month of UTC: used is what was charged, and one epoch of each VM that waits for its first charge; a new VM needs one epoch. " +
		"`running` bounds the rent per 24 h of all VMs that have not ended. Of two limits the tighter one counts."
	exampleLimits = `{"perDay": "10", "perMonth": "100", "running": null}`
	noManager     = "this API key has limits itself; limits and API keys are managed with one that has none"
)

var getLimits = operation{
	method: http.MethodGet, path: "/v1/account/limits", id: "getLimits", tag: "Account",
	summary:  "Get limits, and what is used of them",
	text:     limitsText + " Those of the API key that asks are in `key`.",
	response: exampleSpending,
}

// limit is one limit with what is used of it.
type limit struct {
	Limit    *money.Amount `json:"limit" nullable:"true" doc:"USDC, the one that counts: the tighter of the two; null for none." example:"10"`
	Used     money.Amount  `json:"used" doc:"USDC." example:"4.2"`
	Own      *money.Amount `json:"own" nullable:"true" doc:"That the account set." example:"10"`
	Operator *money.Amount `json:"operator" nullable:"true" doc:"That the operator set; of API keys always null." example:"50"`
}

// Allowance is all limits with what is used of them.
type Allowance struct {
	PerDay   limit `json:"perDay"`
	PerMonth limit `json:"perMonth"`
	Running  limit `json:"running" doc:"Per 24 h."`
}

type spending struct {
	Allowance
	Key keyAllowance `json:"key" doc:"Of the API key that asks."`
}

type keyAllowance struct {
	ID string `json:"id"`
	Allowance
}

func allowanceOf(a control.Allowance) Allowance {
	return Allowance{
		PerDay:   limitOf(a.Own.PerDay, a.Operator.PerDay, a.Used.Day),
		PerMonth: limitOf(a.Own.PerMonth, a.Operator.PerMonth, a.Used.Month),
		Running:  limitOf(a.Own.Running, a.Operator.Running, a.Used.Running),
	}
}

func limitOf(own, operators *money.Amount, used money.Amount) limit {
	return limit{Limit: account.Tighter(own, operators), Used: used, Own: own, Operator: operators}
}

func spendingOf(s control.Spending) spending {
	return spending{allowanceOf(s.Account), keyAllowance{s.KeyID, allowanceOf(s.Key)}}
}

func (a *api) getLimits(c *call, _ none) (spending, error) {
	s, err := a.control.Spending(c.Context(), c.who)
	return spendingOf(s), err
}

var setLimits = operation{
	method: http.MethodPut, path: "/v1/account/limits", id: "setLimits", tag: "Account",
	summary: "Set the account's limits",
	text: "All of them: one that is left out is lifted. Those that the operator set stay. Needs an API key that has no limits itself. What is used " +
		"already may be more than a limit.",
	request:  exampleLimits,
	optional: true,
	response: exampleSpending,
	refusals: limitRefusals(nil),
}

// limitRefusals adds what the operations refuse that set limits.
func limitRefusals(more map[int]string) map[int]string {
	all := map[int]string{
		http.StatusBadRequest:          "perDay has to be a decimal number in a string, not array",
		http.StatusForbidden:           noManager,
		http.StatusUnprocessableEntity: `perDay: amount "lots" is not a decimal number`,
	}
	maps.Copy(all, more)
	return all
}

// Limits are limits as they are set.
type Limits struct {
	PerDay   *decimal `json:"perDay,omitempty" nullable:"true" doc:"USDC charged in a day of UTC; null for no limit." example:"10"`
	PerMonth *decimal `json:"perMonth,omitempty" nullable:"true" doc:"USDC charged in a month of UTC; null for no limit." example:"100"`
	Running  *decimal `json:"running,omitempty" nullable:"true" doc:"USDC per 24 h of all that runs or waits to run; null for no limit." example:"20"`
}

func (l Limits) account() (out account.Limits, err error) {
	for _, one := range []struct {
		member string
		given  *decimal
		to     **money.Amount
	}{{"perDay", l.PerDay, &out.PerDay}, {"perMonth", l.PerMonth, &out.PerMonth}, {"running", l.Running, &out.Running}} {
		if one.given.text() == "" {
			continue
		}
		amount, err := one.given.amount(one.member)
		if err != nil {
			return out, err
		}
		*one.to = &amount
	}
	return out, nil
}

func (a *api) setLimits(c *call, in Limits) (spending, error) {
	l, err := in.account()
	if err != nil {
		return spending{}, err
	}
	s, err := a.control.SetLimits(c.Context(), c.who, l)
	return spendingOf(s), err
}

var getAccountLimits = operation{
	method: http.MethodGet, path: "/v1/admin/accounts/{id}/limits", id: "getAccountLimits", tag: "Operation", access: operator,
	summary:  "Get an account's limits, and what is used of them",
	text:     limitsText,
	response: `{` + exampleAllowanceMembers + `}`,
	refusals: map[int]string{http.StatusNotFound: "no such account"},
}

func (a *api) getAccountLimits(c *call, _ none) (Allowance, error) {
	l, err := a.control.AccountLimits(c.Context(), c.who, c.PathValue("id"))
	return allowanceOf(l), err
}

var setAccountLimits = operation{
	method: http.MethodPut, path: "/v1/admin/accounts/{id}/limits", id: "setAccountLimits", tag: "Operation", access: operator,
	summary:  "Set limits on an account",
	text:     "All of them: one that is left out is lifted. The account can't raise them; its own stay, and of two the tighter one counts.",
	request:  exampleLimits,
	optional: true,
	response: `{` + exampleAllowanceMembers + `}`,
	refusals: limitRefusals(map[int]string{http.StatusNotFound: "no such account", http.StatusForbidden: "this needs an operator's API key"}),
}

func (a *api) setAccountLimits(c *call, in Limits) (Allowance, error) {
	l, err := in.account()
	if err != nil {
		return Allowance{}, err
	}
	out, err := a.control.SetAccountLimits(c.Context(), c.who, c.PathValue("id"), l)
	return allowanceOf(out), err
}
