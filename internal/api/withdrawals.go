package api

import (
	"net/http"
	"time"

	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/money"
)

const (
	exampleRequested = `{"id": "wdr_06abk5", "provider": "Nord", "amount": "120.5", "to": "IBAN DE02 1203 0000 0000 2020 51", "note": "January", "status": "requested",
		"requestedAt": "2026-02-01T12:00:00Z"}`
	exampleConfirmed = `{"id": "wdr_06abk5", "provider": "Nord", "amount": "120.5", "to": "IBAN DE02 1203 0000 0000 2020 51", "note": "January", "status": "confirmed",
		"requestedAt": "2026-02-01T12:00:00Z", "decidedAt": "2026-02-02T09:30:00Z", "reference": "transfer 4711"}`
	exampleRejected = `{"id": "wdr_06abk5", "provider": "Nord", "amount": "120.5", "to": "IBAN DE02 1203 0000 0000 2020 51", "note": "January", "status": "rejected",
		"requestedAt": "2026-02-01T12:00:00Z", "decidedAt": "2026-02-02T09:30:00Z", "reason": "no such account there"}`
	exampleCancelled = `{"id": "wdr_06abk5", "provider": "Nord", "amount": "120.5", "to": "IBAN DE02 1203 0000 0000 2020 51", "note": "January", "status": "cancelled",
		"requestedAt": "2026-02-01T12:00:00Z", "decidedAt": "2026-02-01T12:05:00Z"}`
	noWithdrawal = `no withdrawal "wdr_06abk5"`
)

var requestWithdrawal = operation{
	method: http.MethodPost, path: "/v1/providers/{provider}/withdrawals", id: "requestWithdrawal", tag: "Providers", status: http.StatusCreated,
	summary: "Ask to be paid what was earned",
	text: "Takes the amount out of what the provider has earned for good and asks the operator to pay it; until that is decided it may be cancelled. At most 20 " +
		"requests of a provider wait at a time. A request with an `Idempotency-Key` header may be sent again: it is answered as the same one, as it stands now.",
	headers:  []parameter{{"Idempotency-Key", "Makes the request safe to repeat.", "january"}},
	request:  `{"amount": "120.5", "to": "IBAN DE02 1203 0000 0000 2020 51", "note": "January"}`,
	response: exampleRequested,
	refusals: map[int]string{
		http.StatusBadRequest:          "to has to be a string, not number",
		http.StatusNotFound:            noProvider,
		http.StatusConflict:            `request key "january" was used for another request: 90 USDC to "IBAN DE02 1203 0000 0000 2020 51"`,
		http.StatusUnprocessableEntity: "120.5 USDC can be withdrawn, not 130: what is pending is not earned for good yet",
	},
}

type withdrawalRequest struct {
	Amount *decimal `json:"amount" nullable:"false" doc:"USDC with at most six decimals." example:"120.5"`
	To     string   `json:"to" minLength:"1" maxLength:"200" doc:"Where to pay it, in words that the operator understands." example:"IBAN DE02 1203 0000 0000 2020 51"`
	Note   string   `json:"note,omitempty" maxLength:"500" doc:"What the operator should know besides."`
}

type withdrawal struct {
	ID          string       `json:"id"`
	Provider    string       `json:"provider" doc:"Its name."`
	Amount      money.Amount `json:"amount" doc:"USDC." example:"120.5"`
	To          string       `json:"to"`
	Note        string       `json:"note,omitempty"`
	Status      string       `json:"status" enum:"requested,confirmed,rejected,cancelled"`
	RequestedAt time.Time    `json:"requestedAt"`
	DecidedAt   *time.Time   `json:"decidedAt,omitempty" doc:"When it was confirmed, rejected or cancelled."`
	Reference   string       `json:"reference,omitempty" doc:"Of the transfer that paid it."`
	Reason      string       `json:"reason,omitempty" doc:"Why it was rejected."`
	RequestedBy string       `json:"requestedBy,omitempty" doc:"Account and key; operators alone see it, at /v1/admin." example:"acc_06abk5/key_06abk6"`
	DecidedBy   string       `json:"decidedBy,omitempty" doc:"Account and key; operators alone see it, at /v1/admin." example:"acc_06aaaa/key_06aaab"`
}

func withdrawalOf(w control.Withdrawal) withdrawal {
	out := withdrawal{
		ID: w.ID, Provider: w.Provider, Amount: w.Amount, To: w.To, Note: w.Note, Status: string(w.State), RequestedAt: w.RequestedAt.UTC(),
	}
	if !w.DecidedAt.IsZero() {
		at := w.DecidedAt.UTC()
		out.DecidedAt = &at
	}
	if w.State == control.WithdrawalConfirmed {
		out.Reference = w.Answer
	} else {
		out.Reason = w.Answer
	}
	return out
}

// judgedOf is withdrawalOf with what only operators see.
func judgedOf(w control.Withdrawal) withdrawal {
	out := withdrawalOf(w)
	out.RequestedBy, out.DecidedBy = w.RequestedBy, w.DecidedBy
	return out
}

func (a *api) requestWithdrawal(c *call, in withdrawalRequest) (withdrawal, error) {
	amount, err := in.Amount.amount("amount")
	if err != nil {
		return withdrawal{}, err
	}
	w, err := a.control.Withdraw(c.Context(), c.who, c.PathValue("provider"), control.Wanted{
		Amount: amount, To: in.To, Note: in.Note, RequestKey: c.Header.Get("Idempotency-Key"),
	})
	return withdrawalOf(w), err
}

var withdrawalStatus = []parameter{{"status", "requested, confirmed, rejected or cancelled; any unless told.", "requested"}}

var listWithdrawals = operation{
	method: http.MethodGet, path: "/v1/providers/{provider}/withdrawals", id: "listWithdrawals", tag: "Providers",
	summary:  "List a provider's withdrawals",
	text:     "The newest first, those that are requested oldest first; at most 1000.",
	query:    withdrawalStatus,
	response: `[` + exampleConfirmed + `]`,
	refusals: map[int]string{
		http.StatusNotFound:            noProvider,
		http.StatusUnprocessableEntity: `a withdrawal is requested, confirmed, rejected or cancelled, not "lost"`,
	},
}

func (a *api) listWithdrawals(c *call, _ none) ([]withdrawal, error) {
	list, err := a.control.Withdrawals(c.Context(), c.who, c.PathValue("provider"), control.WithdrawalState(c.query.Get("status")))
	return each(list, withdrawalOf), err
}

func each[From, To any](list []From, to func(From) To) []To {
	out := make([]To, len(list))
	for i, one := range list {
		out[i] = to(one)
	}
	return out
}

var cancelWithdrawal = operation{
	method: http.MethodDelete, path: "/v1/providers/{provider}/withdrawals/{id}", id: "cancelWithdrawal", tag: "Providers",
	summary:  "Take a request to be paid back",
	text:     "The amount is earned as before. It may be repeated.",
	response: exampleCancelled,
	refusals: map[int]string{
		http.StatusNotFound: noWithdrawal,
		http.StatusConflict: "withdrawal wdr_06abk5 was decided already: it is confirmed",
	},
}

func (a *api) cancelWithdrawal(c *call, _ none) (withdrawal, error) {
	w, err := a.control.CancelWithdrawal(c.Context(), c.who, c.PathValue("provider"), c.PathValue("id"))
	return withdrawalOf(w), err
}

var listAllWithdrawals = operation{
	method: http.MethodGet, path: "/v1/admin/withdrawals", id: "listAllWithdrawals", tag: "Operation", access: operator,
	summary:  "List the withdrawals of all providers",
	text:     "The newest first, those that are requested oldest first; at most 1000.",
	query:    withdrawalStatus,
	response: `[` + exampleRequested + `]`,
	refusals: map[int]string{
		http.StatusUnprocessableEntity: `a withdrawal is requested, confirmed, rejected or cancelled, not "lost"`,
	},
}

func (a *api) listAllWithdrawals(c *call, _ none) ([]withdrawal, error) {
	list, err := a.control.AllWithdrawals(c.Context(), c.who, control.WithdrawalState(c.query.Get("status")))
	return each(list, judgedOf), err
}

var confirmWithdrawal = operation{
	method: http.MethodPost, path: "/v1/admin/withdrawals/{id}/confirm", id: "confirmWithdrawal", tag: "Operation", access: operator,
	summary:  "Confirm that a withdrawal was paid",
	text:     "The amount leaves the marketplace. It may be repeated with the same reference; with another it is refused: one of two transfers was too much.",
	request:  `{"reference": "transfer 4711"}`,
	response: exampleConfirmed,
	refusals: map[int]string{
		http.StatusBadRequest:          "reference has to be a string, not number",
		http.StatusNotFound:            noWithdrawal,
		http.StatusConflict:            `withdrawal wdr_06abk5 was paid already, with the reference "transfer 4710"`,
		http.StatusUnprocessableEntity: "reference is not 1 to 200 printable characters on one line",
	},
}

type confirmRequest struct {
	Reference string `json:"reference" minLength:"1" maxLength:"200" doc:"Of the transfer: its provider finds it by that."`
}

func (a *api) confirmWithdrawal(c *call, in confirmRequest) (withdrawal, error) {
	w, err := a.control.ConfirmWithdrawal(c.Context(), c.who, c.PathValue("id"), in.Reference)
	return judgedOf(w), err
}

var rejectWithdrawal = operation{
	method: http.MethodPost, path: "/v1/admin/withdrawals/{id}/reject", id: "rejectWithdrawal", tag: "Operation", access: operator,
	summary:  "Reject a withdrawal",
	text:     "The amount is earned as before, and its provider is told the reason. It may be repeated.",
	request:  `{"reason": "no such account there"}`,
	response: exampleRejected,
	refusals: map[int]string{
		http.StatusBadRequest:          "reason has to be a string, not number",
		http.StatusNotFound:            noWithdrawal,
		http.StatusConflict:            "withdrawal wdr_06abk5 was decided already: it is confirmed",
		http.StatusUnprocessableEntity: "reason is not 1 to 500 printable characters on one line",
	},
}

type rejectRequest struct {
	Reason string `json:"reason" minLength:"1" maxLength:"500" doc:"A sentence that its provider reads."`
}

func (a *api) rejectWithdrawal(c *call, in rejectRequest) (withdrawal, error) {
	w, err := a.control.RejectWithdrawal(c.Context(), c.who, c.PathValue("id"), in.Reason)
	return judgedOf(w), err
}
