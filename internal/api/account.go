package api

import (
	"net/http"
	"time"

	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/money"
)

const exampleAccount = `{"id": "acc_06abk5", "name": "Ada", "createdAt": "2026-01-31T12:00:00Z", "balance": "98.32", "reserved": "0.84", "spent": "0.84"}`

var getAccount = operation{
	method: http.MethodGet, path: "/v1/account", id: "getAccount", tag: "Account",
	summary:  "Get the account and its balance",
	response: exampleAccount,
}

// AccountBalance is an account with its money.
type AccountBalance struct {
	ID        string       `json:"id"`
	Name      string       `json:"name"`
	CreatedAt time.Time    `json:"createdAt"`
	Balance   money.Amount `json:"balance" doc:"USDC that can be spent." example:"98.32"`
	Reserved  money.Amount `json:"reserved" doc:"USDC held for VMs." example:"0.84"`
	Spent     money.Amount `json:"spent" doc:"USDC charged by the VMs that are listed." example:"0.84"`
}

func balanceOf(b control.Balance) AccountBalance {
	return AccountBalance{
		ID: b.ID, Name: b.Name, CreatedAt: b.CreatedAt.UTC(), Balance: b.Free, Reserved: b.Reserved, Spent: b.Spent,
	}
}

func (a *api) getAccount(c *call, _ none) (AccountBalance, error) {
	b, err := a.control.Balance(c.Context(), c.who, c.who.AccountID)
	return balanceOf(b), err
}
