package api

import (
	"cmp"
	"net/http"
	"time"

	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/money"
)

var getBalance = operation{
	method: http.MethodGet, path: "/v1/admin/accounts/{id}/balance", id: "getBalance", tag: "Operation", access: operator,
	summary:  "Get an account's balance",
	response: exampleAccount,
	refusals: map[int]string{http.StatusNotFound: "no such account"},
}

func (a *api) getBalance(c *call, _ none) (AccountBalance, error) {
	b, err := a.control.Balance(c.Context(), c.who, c.PathValue("id"))
	return balanceOf(b), err
}

var setBalance = operation{
	method: http.MethodPut, path: "/v1/admin/accounts/{id}/balance", id: "setBalance", tag: "Operation", access: operator,
	summary:  "Set an account's balance",
	text:     "Deposits or withdraws the difference: a correction, which neither the smallest deposit nor the largest balance binds.",
	request:  `{"amount": "100", "note": "the balance of the old system"}`,
	response: exampleAccount,
	refusals: map[int]string{
		http.StatusBadRequest:          "amount has to be a decimal number in a string, not array",
		http.StatusNotFound:            "no such account",
		http.StatusUnprocessableEntity: `amount: amount "lots" is not a decimal number`,
	},
}

type balanceRequest struct {
	Amount *decimal `json:"amount" nullable:"false" doc:"USDC with at most six decimals." example:"100"`
	Note   string   `json:"note" minLength:"1" maxLength:"500" doc:"Why, on one line. The customer reads it." example:"the balance of the old system"`
}

func (a *api) setBalance(c *call, in balanceRequest) (AccountBalance, error) {
	amount, err := in.Amount.amount("amount")
	if err != nil {
		return AccountBalance{}, err
	}
	b, err := a.control.SetBalance(c.Context(), c.who, c.PathValue("id"), amount, in.Note)
	return balanceOf(b), err
}

var creditAccount = operation{
	method: http.MethodPost, path: "/v1/admin/accounts/{id}/credit", id: "creditAccount", tag: "Operation", access: operator,
	summary: "Add to an account's balance",
	text: "A payment with an id, in the body or as an `Idempotency-Key` header, may be sent again: it is credited once, whoever sends it, and the answer says " +
		"when that was. Without one each request is a payment of its own. The operator sets the smallest deposit and the largest balance.",
	headers: []parameter{{"Idempotency-Key", "Stands for `paymentId` where the body has none.", "invoice-1042"}},
	request: `{"amount": "100", "note": "invoice 1042", "paymentId": "invoice-1042"}`,
	response: `{"id": "acc_06abk5", "name": "Ada", "createdAt": "2026-01-31T12:00:00Z", "balance": "198.32", "reserved": "0.84", "spent": "0.84",
		"payment": {"id": "invoice-1042", "source": "operator", "amount": "100", "reason": "credit by the operator: invoice 1042",
			"actor": "acc_06aaaa/key_06aaab", "creditedAt": "2026-02-01T12:00:00Z", "repeated": false}}`,
	refusals: map[int]string{
		http.StatusBadRequest:          "amount has to be a decimal number in a string, not array",
		http.StatusNotFound:            "no such account",
		http.StatusConflict:            `payment "invoice-1042" was credited already: 90 USDC to acc_06abk5; another payment needs another id`,
		http.StatusUnprocessableEntity: "a balance is 5000 USDC at most and this one holds 4980: up to 20 USDC fit",
	},
}

type creditRequest struct {
	Amount    *decimal `json:"amount" nullable:"false" doc:"USDC with at most six decimals." example:"100"`
	Note      string   `json:"note" minLength:"1" maxLength:"500" doc:"What it is for, on one line. The customer reads it." example:"invoice 1042"`
	PaymentID string   `json:"paymentId,omitempty" maxLength:"200" doc:"Makes the request safe to repeat: unique among what operators credit." example:"invoice-1042"`
}

type credited struct {
	AccountBalance
	Payment receipt `json:"payment"`
}

type receipt struct {
	ID         string       `json:"id"`
	Source     string       `json:"source" doc:"Where it came from." example:"operator"`
	Amount     money.Amount `json:"amount" example:"100"`
	Reason     string       `json:"reason" doc:"What the customer reads."`
	Actor      string       `json:"actor" doc:"Account and key of who credited it. Its customer does not see it."`
	CreditedAt time.Time    `json:"creditedAt"`
	Repeated   bool         `json:"repeated" doc:"It was credited before, and this request changed nothing."`
}

func (a *api) creditAccount(c *call, in creditRequest) (credited, error) {
	amount, err := in.Amount.amount("amount")
	if err != nil {
		return credited{}, err
	}
	made, err := a.control.Credit(c.Context(), c.who, c.PathValue("id"), control.Credit{
		Amount: amount, Note: in.Note, PaymentID: cmp.Or(in.PaymentID, c.Header.Get("Idempotency-Key")),
	})
	r := made.Receipt
	return credited{balanceOf(made.Balance), receipt{
		ID: r.ID, Source: r.Source, Amount: r.Amount, Reason: r.Reason, Actor: r.Actor, CreditedAt: r.At.UTC(), Repeated: r.Again,
	}}, err
}

var listPayments = operation{
	method: http.MethodGet, path: "/v1/admin/accounts/{id}/payments", id: "listPayments", tag: "Operation", access: operator,
	summary: "List what came into an account and left it",
	text:    "Payments and corrections, newest first, at most 1000, with who made them: that is sealed in the ledger, and its customer does not see it.",
	response: `[{"key": "deposit:operator:invoice-1042", "kind": "deposit", "amount": "100", "reason": "credit by the operator: invoice 1042",
		"actor": "acc_06aaaa/key_06aaab", "at": "2026-02-01T12:00:00Z"}]`,
	refusals: map[int]string{http.StatusNotFound: "no such account"},
}

type paymentEntry struct {
	Key    string       `json:"key" doc:"Unique in the ledger: its kind, the source and the id of the payment."`
	Kind   string       `json:"kind" enum:"deposit,withdrawal" doc:"A withdrawal leaves the account."`
	Amount money.Amount `json:"amount" example:"100"`
	Reason string       `json:"reason" doc:"What the customer reads."`
	Actor  string       `json:"actor" doc:"Account and key of who made it, empty where nobody did."`
	At     time.Time    `json:"at"`
}

func (a *api) listPayments(c *call, _ none) ([]paymentEntry, error) {
	list, err := a.control.Payments(c.Context(), c.who, c.PathValue("id"))
	return each(list, func(e ledger.Entry) paymentEntry {
		return paymentEntry{Key: e.Key, Kind: string(e.Kind), Amount: e.Amount, Reason: e.Reason, Actor: e.Actor, At: e.At.UTC()}
	}), err
}
