package api

import (
	"cmp"
	"context"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/money"
)

const exampleSpendSums = `"charged": "0.84", "returned": "0", "net": "0.84", "epochs": 1`

var billingStatement = operation{
	method: http.MethodGet, path: "/v1/billing/statement", id: "getBillingStatement", tag: "Billing",
	summary: "Get the statement of a month",
	text: "Months are in UTC. What there was at the beginning and every entry come to what there is at the end: `opening` and all `balanceChange` and " +
		"`reservedChange` give `closing`. Entries are the oldest first. As CSV it has a line for each entry between those of opening and closing, " +
		"and what a spreadsheet would take for a formula begins with an apostrophe; as HTML it is made to be printed.",
	query: []parameter{
		{"month", "Such as 2026-11; this month unless told. One to come is empty.", "2026-01"},
		{"format", "json, csv or html; what the header Accept prefers unless told, and JSON where that says nothing.", "csv"},
	},
	response: `{"account": {"id": "acc_06abk5", "name": "Ada"}, "month": "2026-01", "from": "2026-01-01T00:00:00Z", "to": "2026-02-01T00:00:00Z", "asOf": "2026-02-01T00:00:00Z",
		"opening": {"balance": "0", "reserved": "0.84", "total": "0.84"}, "closing": {"balance": "0", "reserved": "0", "total": "0"},
		"kinds": [{"kind": "charge", "count": 1, "amount": "0.84"}],
		"spend": {"total": {` + exampleSpendSums + `}, "byVm": [{"key": "` + exampleID + `", "vmName": "web-1", ` + exampleSpendSums + `}],
			"byDay": [{"key": "2026-01-31", ` + exampleSpendSums + `}], "byResource": [{"key": "vcpu", ` + exampleSpendSums + `}]},
		"entries": [{` + exampleEntry + `, "balance": "0", "reserved": "0"}]}`,
	body:     reflect.TypeFor[statement](),
	others:   []string{csvType, htmlType},
	refusals: map[int]string{http.StatusUnprocessableEntity: `month "2026-13" is none such as 2026-11`},
}

// The types of content of a statement besides JSON.
const (
	csvType  = "text/csv"
	htmlType = "text/html"
)

type statement struct {
	StatementHead
	Entries []statementEntry `json:"entries"`
}

// StatementHead is a statement without its entries.
type StatementHead struct {
	Account statementAccount `json:"account"`
	Month   string           `json:"month" pattern:"^[0-9]{4}-[0-9]{2}$"`
	From    time.Time        `json:"from"`
	To      time.Time        `json:"to"`
	AsOf    time.Time        `json:"asOf" doc:"Until when it tells: the end of the month, or now while the month goes on."`
	Opening purse            `json:"opening"`
	Closing purse            `json:"closing"`
	Kinds   []kindSum        `json:"kinds"`
	Spend   statementSpend   `json:"spend"`
}

type statementAccount struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

type purse struct {
	Balance  money.Amount `json:"balance" doc:"USDC that can be spent." example:"0"`
	Reserved money.Amount `json:"reserved" doc:"USDC held for VMs." example:"0.84"`
	Total    money.Amount `json:"total" example:"0.84"`
}

type kindSum struct {
	Kind   string       `json:"kind"`
	Count  int64        `json:"count" minimum:"1"`
	Amount money.Amount `json:"amount" example:"0.84"`
}

type statementSpend struct {
	Total      SpendSums  `json:"total"`
	ByVM       []spendRow `json:"byVm" maxItems:"1000" doc:"Those that cost most first."`
	Rest       *SpendSums `json:"rest,omitempty" doc:"Of the VMs that are not listed; left out when all are."`
	ByDay      []spendRow `json:"byDay" maxItems:"31"`
	ByResource []spendRow `json:"byResource" maxItems:"5"`
}

type statementEntry struct {
	HistoryItem
	BalanceAfter  money.Amount `json:"balance" doc:"What could be spent after it." example:"0"`
	ReservedAfter money.Amount `json:"reserved" doc:"What was held for VMs after it." example:"0"`
}

func purseOf(p ledger.Purse) purse {
	return purse{Balance: p.Free, Reserved: p.Reserved, Total: p.Total()}
}

func headOf(st *control.Statement) StatementHead {
	head := StatementHead{
		Account: statementAccount{st.Account.ID, st.Account.Name}, Month: st.Month, From: st.From, To: st.To, AsOf: st.AsOf,
		Opening: purseOf(st.Opening), Closing: purseOf(st.Closing), Kinds: make([]kindSum, len(st.Kinds)),
		Spend: statementSpend{
			Total: sumsOf(st.Total), ByVM: spendRowsOf(st.VMs), Rest: restOf(st.Rest), ByDay: spendRowsOf(st.Days), ByResource: spendRowsOf(st.Parts),
		},
	}
	for i, k := range st.Kinds {
		head.Kinds[i] = kindSum{string(k.Kind), k.Count, k.Amount}
	}
	return head
}

func spendRowsOf(list []control.SpendRow) []spendRow {
	out := make([]spendRow, len(list))
	for i, r := range list {
		out[i] = spendRow{Key: r.Key, VMName: r.VMName, SpendSums: sumsOf(r.Spend)}
	}
	return out
}

func restOf(s ledger.Spend) *SpendSums {
	if s == (ledger.Spend{}) {
		return nil
	}
	rest := sumsOf(s)
	return &rest
}

// statementAnswer writes a statement as its reader wants it.
type statementAnswer struct {
	*control.Statement
	format func(a statementAnswer, ctx context.Context, p *page) error
}

func (a statementAnswer) write(ctx context.Context, p *page) error { return a.format(a, ctx, p) }

func (a *api) billingStatement(c *call, _ none) (statementAnswer, error) {
	format, known := map[string]func(statementAnswer, context.Context, *page) error{
		"json": statementAnswer.writeJSON, "csv": statementAnswer.writeCSV, "html": statementAnswer.writeHTML,
	}[cmp.Or(c.query.Get("format"), preferred(c.Header.Get("Accept")))]
	if !known {
		return statementAnswer{}, fault.Newf(fault.Invalid, "format %q is none of json, csv, html", clip(c.query.Get("format")))
	}
	st, err := a.control.Statement(c.Context(), c.who, c.query.Get("month"))
	return statementAnswer{st, format}, err
}

// preferred returns the format that comes first in a header Accept, which has no
// need to weigh what it accepts here.
func preferred(accept string) string {
	for kind := range strings.SplitSeq(accept, ",") {
		kind, _, _ = strings.Cut(kind, ";")
		switch strings.ToLower(strings.TrimSpace(kind)) {
		case csvType:
			return "csv"
		case htmlType:
			return "html"
		case jsonType:
			return "json"
		}
	}
	return "json"
}

func (a statementAnswer) writeJSON(ctx context.Context, p *page) error {
	if err := p.json(headOf(a.Statement)); err != nil {
		return err
	}
	p.text = p.text[:len(p.text)-1] // the brace at the end
	p.raw(`,"entries":[`)
	comma := ""
	err := a.Each(ctx, func(i control.StatementItem) error {
		p.raw(comma)
		comma = ","
		return firstError(p.json(statementEntry{itemOf(i.HistoryItem), i.After.Free, i.After.Reserved}), p.turn())
	})
	p.raw(`]}`)
	return err
}
