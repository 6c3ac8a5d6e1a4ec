package client

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// Credit is what an operator adds to an account's balance.
type Credit struct {
	Amount    Amount `json:"amount"`
	Note      string `json:"note"`                // the customer reads it
	PaymentID string `json:"paymentId,omitempty"` // makes it safe to repeat; else each is a payment of its own
}

// Credited is a payment, and the account as it stands now.
type Credited struct {
	Account
	Payment Receipt `json:"payment"`
}

// Receipt says how a payment was credited.
type Receipt struct {
	ID         string    `json:"id"`
	Source     string    `json:"source"`
	Amount     Amount    `json:"amount"`
	Reason     string    `json:"reason"` // what the customer reads
	Actor      string    `json:"actor"`  // who credited it
	CreditedAt time.Time `json:"creditedAt"`
	Repeated   bool      `json:"repeated"` // it was credited before
}

// PaymentEntry is what came into an account from outside, or left it.
type PaymentEntry struct {
	Key    string    `json:"key"`
	Kind   string    `json:"kind"` // deposit or withdrawal
	Amount Amount    `json:"amount"`
	Reason string    `json:"reason"` // what the customer reads
	Actor  string    `json:"actor"`  // account and key of who made it
	At     time.Time `json:"at"`
}

// Withdrawal is a provider's request to be paid what it earned.
type Withdrawal struct {
	ID          string     `json:"id"`
	Provider    string     `json:"provider"` // name
	Amount      Amount     `json:"amount"`
	To          string     `json:"to"`
	Note        string     `json:"note,omitempty"`
	Status      string     `json:"status"` // requested, confirmed, rejected or cancelled
	RequestedAt time.Time  `json:"requestedAt"`
	DecidedAt   *time.Time `json:"decidedAt,omitempty"`   // nil while it is requested
	Reference   string     `json:"reference,omitempty"`   // of the transfer that paid it
	Reason      string     `json:"reason,omitempty"`      // why it was rejected
	RequestedBy string     `json:"requestedBy,omitempty"` // account and key, told to operators alone
	DecidedBy   string     `json:"decidedBy,omitempty"`
}

// WithdrawalRequest is what a provider asks to be paid.
type WithdrawalRequest struct {
	Amount Amount `json:"amount"`
	To     string `json:"to"` // where to pay it
	Note   string `json:"note,omitempty"`
	// RequestID makes it safe to repeat; else each is a request of its own.
	RequestID string `json:"-"`
}

// Balance returns the money of any account. Needs an operator's key.
func (c *Client) Balance(ctx context.Context, account string) (Account, error) {
	return get[Account](ctx, c, accountPath(account, "balance"), nil)
}

// SetBalance makes an account's free balance the amount, and tells its customer
// why. Needs an operator's key.
func (c *Client) SetBalance(ctx context.Context, account string, amount Amount, note string) (Account, error) {
	var a Account
	body := map[string]string{"amount": amount, "note": note}
	err := c.do(ctx, call{method: http.MethodPut, path: accountPath(account, "balance"), body: body, answer: &a, safe: true})
	return a, err
}

// Credit adds to an account's balance. Needs an operator's key.
func (c *Client) Credit(ctx context.Context, account string, credit Credit) (Credited, error) {
	var a Credited
	err := c.do(ctx, call{method: http.MethodPost, path: accountPath(account, "credit"), body: credit, answer: &a, safe: credit.PaymentID != ""})
	return a, err
}

// Payments returns what came into an account from outside and left it, newest
// first. Needs an operator's key.
func (c *Client) Payments(ctx context.Context, account string) ([]PaymentEntry, error) {
	return get[[]PaymentEntry](ctx, c, accountPath(account, "payments"), nil)
}

func accountPath(account, what string) string {
	return "/v1/admin/accounts/" + url.PathEscape(account) + "/" + what
}

// Withdraw asks to be paid what a provider earned for good.
func (c *Client) Withdraw(ctx context.Context, provider string, r WithdrawalRequest) (Withdrawal, error) {
	var w Withdrawal
	err := c.do(ctx, call{
		method: http.MethodPost, path: providerPath(provider, "withdrawals"), body: r, answer: &w, key: r.RequestID, safe: r.RequestID != "",
	})
	return w, err
}

// Withdrawals returns a provider's withdrawals with a status, "" for any.
func (c *Client) Withdrawals(ctx context.Context, provider, status string) ([]Withdrawal, error) {
	return get[[]Withdrawal](ctx, c, providerPath(provider, "withdrawals"), ofStatus(status))
}

// CancelWithdrawal takes a request to be paid back.
func (c *Client) CancelWithdrawal(ctx context.Context, provider, withdrawal string) (Withdrawal, error) {
	var w Withdrawal
	err := c.do(ctx, call{method: http.MethodDelete, path: providerPath(provider, "withdrawals", withdrawal), answer: &w, safe: true})
	return w, err
}

// AllWithdrawals returns the withdrawals of all providers with a status, "" for
// any. Needs an operator's key.
func (c *Client) AllWithdrawals(ctx context.Context, status string) ([]Withdrawal, error) {
	return get[[]Withdrawal](ctx, c, "/v1/admin/withdrawals", ofStatus(status))
}

// ConfirmWithdrawal says that a withdrawal was paid, by the transfer with that
// reference. Needs an operator's key.
func (c *Client) ConfirmWithdrawal(ctx context.Context, withdrawal, reference string) (Withdrawal, error) {
	return c.decide(ctx, withdrawal, "confirm", map[string]string{"reference": reference})
}

// RejectWithdrawal says that a withdrawal won't be paid, and why. Needs an
// operator's key.
func (c *Client) RejectWithdrawal(ctx context.Context, withdrawal, reason string) (Withdrawal, error) {
	return c.decide(ctx, withdrawal, "reject", map[string]string{"reason": reason})
}

func (c *Client) decide(ctx context.Context, withdrawal, how string, body map[string]string) (Withdrawal, error) {
	var w Withdrawal
	path := "/v1/admin/withdrawals/" + url.PathEscape(withdrawal) + "/" + how
	err := c.do(ctx, call{method: http.MethodPost, path: path, body: body, answer: &w, safe: true})
	return w, err
}

func ofStatus(status string) url.Values {
	if status == "" {
		return nil
	}
	return url.Values{"status": {status}}
}
