package api

import (
	"cmp"
	"net/http"
	"time"

	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/money"
)

const exampleEntry = `"at": "2026-01-31T12:00:41.5Z", "kind": "charge", "direction": "out", "amount": "0.84", "balanceChange": "0", "reservedChange": "-0.84",
	"vmId": "` + exampleID + `", "vmName": "web-1", "epoch": 1, "reason": "rent of epoch 1"`

var billingHistory = operation{
	method: http.MethodGet, path: "/v1/billing/history", id: "getBillingHistory", tag: "Billing",
	summary: "List what moved the account's money",
	text: "Every entry of the ledger that touches the balance or the reserve of a VM, the newest first. A page goes on where the one before it ended, " +
		"whatever comes meanwhile.",
	query: []parameter{
		{"limit", "Entries on a page, 50 unless told.", "50"},
		{"cursor", "`next` of the page before.", ""},
		{"vm", "Only what is about this VM; deleted ones have a history, too.", exampleID},
		{selecting.name, "Only what is about VMs whose labels are so now, as for GET /v1/vms.", selecting.example},
		{"kind", "Only these kinds, joined by commas: deposit, withdrawal, hold, charge, topup, refund, return.", "charge,return"},
		{"from", "Only from this time (RFC 3339) on.", "2026-01-01T00:00:00Z"},
		{"to", "Only before this time.", "2026-02-01T00:00:00Z"},
	},
	response: `{"items": [{` + exampleEntry + `}], "next": null}`,
	refusals: map[int]string{
		http.StatusNotFound:            `no VM with id "` + exampleID + `"`,
		http.StatusUnprocessableEntity: `limit "all" is not a number within 1 to 500`,
	},
}

type historyPage struct {
	Items []HistoryItem `json:"items"`
	Next  *string       `json:"next" nullable:"true" doc:"The cursor of the next page; null when there is none."`
}

// HistoryItem is an entry of the ledger as its customer sees it.
type HistoryItem struct {
	At        time.Time    `json:"at"`
	Kind      string       `json:"kind" example:"charge" doc:"deposit and withdrawal: between the world outside and the balance; hold (at deploy) and topup: from the balance to the reserve of a VM; refund: back from it; charge: an epoch, from the reserve to the provider; return: a part of an epoch that was not delivered, back to the reserve."`
	Direction string       `json:"direction" enum:"in,out,toReserve,toBalance" doc:"toReserve and toBalance move money between the balance and the reserve of a VM: nothing is earned or spent by it."`
	Amount    money.Amount `json:"amount" doc:"USDC." example:"0.84"`
	Balance   money.Amount `json:"balanceChange" doc:"What it adds to the balance." example:"0"`
	Reserved  money.Amount `json:"reservedChange" doc:"What it adds to reserves." example:"-0.84"`
	VM        *string      `json:"vmId" nullable:"true"`
	VMName    *string      `json:"vmName" nullable:"true" doc:"As the VM is called now."`
	Epoch     *int64       `json:"epoch" nullable:"true" doc:"That was charged, or of which a part was returned; the VM's first is 1."`
	Reason    string       `json:"reason"`
}

func itemOf(i control.HistoryItem) HistoryItem {
	out := HistoryItem{
		At: i.At.UTC(), Kind: string(i.Kind), Direction: string(i.Direction), Amount: i.Amount, Balance: i.Change.Free, Reserved: i.Change.Reserved, Reason: i.Reason,
	}
	if i.VM != "" {
		out.VM, out.VMName = &i.VM, &i.VMName
	}
	if i.Epoch > 0 {
		out.Epoch = &i.Epoch
	}
	return out
}

func (a *api) billingHistory(c *call, _ none) (historyPage, error) {
	f, err := c.historyFilter()
	if err != nil {
		return historyPage{}, err
	}
	page, err := a.control.History(c.Context(), c.who, f)
	out := historyPage{Items: make([]HistoryItem, len(page.Items))}
	for i, item := range page.Items {
		out.Items[i] = itemOf(item)
	}
	if page.Next != "" {
		out.Next = &page.Next
	}
	return out, err
}

func (c *call) historyFilter() (f control.HistoryFilter, err error) {
	f.VM, f.Cursor = c.query.Get("vm"), c.query.Get("cursor")
	for _, kind := range c.list("kind") {
		f.Kinds = append(f.Kinds, ledger.Kind(kind))
	}
	if len(f.Kinds) > len(control.CustomerKinds) {
		return f, fault.New(fault.Invalid, "a kind is given more than once")
	}
	if f.Limit, err = c.count("limit", defaultPerPage, control.MaxHistory); err != nil {
		return f, err
	}
	if f.Labels, err = c.selector(); err != nil {
		return f, err
	}
	f.From, f.To, err = c.period()
	return f, err
}

// period reads the parameters from and to; the zero time for one that isn't given.
func (c *call) period() (from, to time.Time, err error) {
	if from, err = c.time("from"); err != nil {
		return from, to, err
	}
	to, err = c.time("to")
	return from, to, err
}

var billingSpend = operation{
	method: http.MethodGet, path: "/v1/billing/spend", id: "getBillingSpend", tag: "Billing",
	summary: "Get what VMs cost, by VM, day or resource",
	text: "What was charged in a time, less what was returned of epochs that were not delivered. By VM: those that cost most first, at most 1000; what is " +
		"left is the rest. By day: in UTC, at most 1000 days. By resource: each charge is divided as the VM's price was at its deploy, and adds up exactly.",
	query: []parameter{
		{"by", "vm, day or resource; vm unless told.", "resource"},
		{selecting.name, "Only VMs whose labels are so now, as for GET /v1/vms; deleted ones keep theirs.", selecting.example},
		{"from", "From this time (RFC 3339) on; from the beginning of the month in UTC unless told.", "2026-01-01T00:00:00Z"},
		{"to", "Before this time; until now unless told.", "2026-02-01T00:00:00Z"},
	},
	response: `{"from": "2026-01-01T00:00:00Z", "to": "2026-02-01T00:00:00Z", "by": "resource", "total": {"charged": "0.84", "returned": "0.21", "net": "0.63", "epochs": 1},
		"rows": [{"key": "vcpu", "charged": "0.4", "returned": "0.1", "net": "0.3", "epochs": 1}, {"key": "ram", "charged": "0.44", "returned": "0.11", "net": "0.33", "epochs": 1}]}`,
	refusals: map[int]string{http.StatusUnprocessableEntity: `spend is summed up by vm, day or resource, not "year"`},
}

type spend struct {
	From  time.Time  `json:"from"`
	To    time.Time  `json:"to"`
	By    string     `json:"by" enum:"vm,day,resource"`
	Total SpendSums  `json:"total"`
	Rows  []spendRow `json:"rows" maxItems:"1001"`
	Rest  *SpendSums `json:"rest,omitempty" doc:"Of the VMs that are not among the rows; left out when all are."`
}

// SpendSums is what something cost.
type SpendSums struct {
	Charged  money.Amount `json:"charged" example:"0.84"`
	Returned money.Amount `json:"returned" doc:"Of what was charged and not delivered." example:"0.21"`
	Net      money.Amount `json:"net" example:"0.63"`
	Epochs   int64        `json:"epochs" doc:"How many were charged."`
}

type spendRow struct {
	Key    string `json:"key" doc:"Id of the VM; a date; vcpu, ram, storage, address, or other for VMs of which no prices are known."`
	VMName string `json:"vmName,omitempty" doc:"As the VM is called now."`
	SpendSums
}

func sumsOf(s ledger.Spend) SpendSums { return SpendSums{s.Charged, s.Returned, s.Net(), s.Epochs} }

func (a *api) billingSpend(c *call, _ none) (spend, error) {
	from, to, err := c.period()
	if err != nil {
		return spend{}, err
	}
	chosen, err := c.selector()
	if err != nil {
		return spend{}, err
	}
	by := cmp.Or(c.query.Get("by"), string(control.SpendByVM))
	s, err := a.control.Spend(c.Context(), c.who, control.SpendBy(by), from, to, chosen)
	return spend{
		From: s.From, To: s.To, By: by, Total: sumsOf(s.Total), Rows: spendRowsOf(s.Rows), Rest: restOf(s.Rest),
	}, err
}
