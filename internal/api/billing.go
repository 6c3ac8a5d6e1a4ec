package api

import (
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
	Items []historyItem `json:"items"`
	Next  *string       `json:"next" nullable:"true" doc:"The cursor of the next page; null when there is none."`
}

// historyItem is an entry of the ledger as its customer sees it.
type historyItem struct {
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

func itemOf(i control.HistoryItem) historyItem {
	out := historyItem{
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
	out := historyPage{Items: make([]historyItem, len(page.Items))}
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
