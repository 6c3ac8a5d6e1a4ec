package client

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// HistoryOptions narrow a history; the zero value of a member doesn't.
type HistoryOptions struct {
	VM       string   // id
	Labels   string   // a selector of VMs, as of ListOptions
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
	if o.Labels != "" {
		query.Set("label", o.Labels)
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
// month until now for zero times. With selectors of labels, it is what those VMs cost
// that all of them choose.
func (c *Client) Spend(ctx context.Context, by string, from, to time.Time, labels ...string) (Spend, error) {
	query := period(from, to)
	query.Set("by", by)
	if len(labels) > 0 {
		query["label"] = labels
	}
	return get[Spend](ctx, c, "/v1/billing/spend", query)
}

// Purse is a customer's money.
type Purse struct {
	Balance  Amount `json:"balance"`  // can be spent
	Reserved Amount `json:"reserved"` // held for VMs
	Total    Amount `json:"total"`
}

// KindSum is the entries of one kind.
type KindSum struct {
	Kind   string `json:"kind"`
	Count  int64  `json:"count"`
	Amount Amount `json:"amount"`
}

// StatementEntry is an entry with what there was after it.
type StatementEntry struct {
	Entry
	Balance  Amount `json:"balance"`
	Reserved Amount `json:"reserved"`
}

// Statement is a month of the account in UTC.
type Statement struct {
	Account struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	} `json:"account"`
	Month   string    `json:"month"`
	From    time.Time `json:"from"`
	To      time.Time `json:"to"`
	AsOf    time.Time `json:"asOf"` // until when it tells: now, while the month goes on
	Opening Purse     `json:"opening"`
	Closing Purse     `json:"closing"`
	Kinds   []KindSum `json:"kinds"`
	Spend   struct {
		Total      SpendSums  `json:"total"`
		ByVM       []SpendRow `json:"byVm"`
		Rest       *SpendSums `json:"rest,omitempty"` // of the VMs that are not listed
		ByDay      []SpendRow `json:"byDay"`
		ByResource []SpendRow `json:"byResource"`
	} `json:"spend"`
	Entries []StatementEntry `json:"entries"` // the oldest first
}

const statementPath = "/v1/billing/statement"

func statementQuery(month, format string) url.Values {
	query := url.Values{"format": {format}}
	if month != "" {
		query.Set("month", month)
	}
	return query
}

// Statement returns the statement of a month, such as "2026-11", or of this month
// for "".
func (c *Client) Statement(ctx context.Context, month string) (Statement, error) {
	return get[Statement](ctx, c, statementPath, statementQuery(month, "json"))
}

// WriteStatement writes the statement of a month as "csv", or as "html" to be
// printed, however long it is. It is not asked for again after an error, since
// part of it may be written. One that does not end as it should is an error.
func (c *Client) WriteStatement(ctx context.Context, month, format string, w io.Writer) error {
	end := &tail{w: w}
	if err := c.do(ctx, call{method: http.MethodGet, path: statementPath, query: statementQuery(month, format), copy: end}); err != nil {
		return err
	}
	lines := bytes.Split(bytes.TrimSpace(end.last), []byte("\n"))
	last := lines[len(lines)-1]
	if format == "csv" && !bytes.Contains(last, []byte(",closing,")) || format == "html" && !bytes.Equal(last, []byte("</html>")) {
		return errors.New("the statement was cut short; ask for it again")
	}
	return nil
}

// tail passes on what is written and keeps the end of it.
type tail struct {
	w    io.Writer
	last []byte
}

// Write passes text on.
func (t *tail) Write(text []byte) (int, error) {
	const enough = 1024
	t.last = append(t.last, text[max(0, len(text)-enough):]...)
	t.last = t.last[max(0, len(t.last)-enough):]
	return t.w.Write(text)
}
