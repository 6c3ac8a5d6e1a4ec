package client

import (
	"context"
	"iter"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// HistoryOptions narrow a history; the zero value of a member doesn't.
type HistoryOptions struct {
	VM       string   // id
	Kinds    []string // deposit, withdrawal, hold, charge, topup, refund, return
	From, To time.Time
	PageSize int // how many are asked for at once
}

// Entry is an entry of the ledger that moved the account's money.
type Entry struct {
	At             time.Time `json:"at"`
	Kind           string    `json:"kind"`
	Direction      string    `json:"direction"` // in, out, toReserve or toBalance
	Amount         Amount    `json:"amount"`
	BalanceChange  Amount    `json:"balanceChange"`
	ReservedChange Amount    `json:"reservedChange"`
	VM             *string   `json:"vmId"`
	VMName         *string   `json:"vmName"`
	Epoch          *int64    `json:"epoch"`
	Reason         string    `json:"reason"`
}

// History returns what moved the account's money, the newest first, as far as it
// is read: page by page. It ends after an error.
func (c *Client) History(ctx context.Context, o HistoryOptions) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		query := o.query()
		for {
			page, err := get[struct {
				Items []Entry `json:"items"`
				Next  *string `json:"next"`
			}](ctx, c, "/v1/billing/history", query)
			if err != nil {
				yield(Entry{}, err)
				return
			}
			for _, e := range page.Items {
				if !yield(e, nil) {
					return
				}
			}
			if page.Next == nil {
				return
			}
			query.Set("cursor", *page.Next)
		}
	}
}

func (o HistoryOptions) query() url.Values {
	query := period(o.From, o.To)
	if o.VM != "" {
		query.Set("vm", o.VM)
	}
	if len(o.Kinds) > 0 {
		query.Set("kind", strings.Join(o.Kinds, ","))
	}
	if o.PageSize > 0 {
		query.Set("limit", strconv.Itoa(o.PageSize))
	}
	return query
}

func period(from, to time.Time) url.Values {
	query := url.Values{}
	for name, at := range map[string]time.Time{"from": from, "to": to} {
		if !at.IsZero() {
			query.Set(name, at.UTC().Format(time.RFC3339Nano))
		}
	}
	return query
}

// Spend is what the account's VMs cost in a time.
type Spend struct {
	From  time.Time  `json:"from"`
	To    time.Time  `json:"to"`
	By    string     `json:"by"`
	Total SpendSums  `json:"total"`
	Rows  []SpendRow `json:"rows"`
	Rest  *SpendSums `json:"rest,omitempty"` // of what is not among the rows
}

// SpendSums is what something cost.
type SpendSums struct {
	Charged  Amount `json:"charged"`
	Returned Amount `json:"returned"`
	Net      Amount `json:"net"`
	Epochs   int64  `json:"epochs"`
}

// SpendRow is what one VM, day or resource cost.
type SpendRow struct {
	Key    string `json:"key"`
	VMName string `json:"vmName,omitempty"`
	SpendSums
}

// Spend returns what the account's VMs cost by "vm", "day" or "resource": of this
// month until now for zero times.
func (c *Client) Spend(ctx context.Context, by string, from, to time.Time) (Spend, error) {
	query := period(from, to)
	query.Set("by", by)
	return get[Spend](ctx, c, "/v1/billing/spend", query)
}
