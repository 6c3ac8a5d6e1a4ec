package api

import (
	"math"
	"net/http"
	"time"

	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/money"
)

const exampleAccount = `{` + exampleMembers + `}`

const exampleMembers = `"id": "acc_06abk5", "name": "Ada", "createdAt": "2026-01-31T12:00:00Z", "balance": "3.2", "reserved": "0.84", "spent": "0.84"`

const exampleEvent = `{"n": 0, "key": "funds_7d", "at": "2026-01-31T12:00:00Z", "text": "The balance of 5.04 USDC lasts until 2026-02-07 12:00 UTC, 7 days from now."}`

var getAccount = operation{
	method: http.MethodGet, path: "/v1/account", id: "getAccount", tag: "Account",
	summary: "Get the account: its balance, what its VMs cost, and how long its funds last",
	text: "What is foreseen is what comes if nothing is paid in and nothing changes. A VM that is New or Launching is counted as if it were Active " +
		"now; one in InsufficientFunds costs nothing while it is off.",
	response: `{` + exampleMembers + `, "runningCost": {"perEpoch": "0.84", "perDay": "0.84", "per30Days": "25.2"}, "burnRate": "0.84",
		"fundsLastUntil": "2026-02-04T12:00:41.5Z", "powerOffAt": "2026-02-05T12:00:41.5Z", "topUp": {"amount": "24.52", "until": "2026-03-06T12:00:41.5Z"},
		"vms": [{"status": "Active", "count": 1, "perEpoch": "0.84"}],
		"next": {"at": "2026-02-01T12:00:41.5Z", "what": "charge", "vmId": "` + exampleID + `", "vmName": "web-1", "amount": "0.84"},
		"warnings": [{"key": "funds_7d", "text": "The balance of 3.2 USDC lasts until 2026-02-04 12:00 UTC, 4 days from now."}],
		"events": [` + exampleEvent + `]}`,
}

// AccountBalance is an account with its money.
type AccountBalance struct {
	ID        string       `json:"id"`
	Name      string       `json:"name"`
	CreatedAt time.Time    `json:"createdAt"`
	Balance   money.Amount `json:"balance" doc:"USDC that can be spent." example:"98.32"`
	Reserved  money.Amount `json:"reserved" doc:"USDC held for VMs." example:"0.84"`
	Spent     money.Amount `json:"spent" doc:"USDC charged by all VMs that there ever were." example:"0.84"`
}

func balanceOf(b control.Balance) AccountBalance {
	return AccountBalance{
		ID: b.ID, Name: b.Name, CreatedAt: b.CreatedAt.UTC(), Balance: b.Free, Reserved: b.Reserved, Spent: b.Spent,
	}
}

// accountLook is an account with what becomes of its money.
type accountLook struct {
	AccountBalance
	Cost     runningCost      `json:"runningCost" doc:"Of the VMs that run or are on their way to."`
	BurnRate money.Amount     `json:"burnRate" doc:"USDC a day that were charged, less what was returned, on the average of the last 7 days (since the account was made if that is less, a day at least), rounded half up." example:"0.84"`
	Until    *time.Time       `json:"fundsLastUntil" nullable:"true" doc:"When the first charge or top-up can't be paid: a VM runs on what is paid from then on. In the past when one does already; null when that is more than 100 years ahead."`
	Off      *time.Time       `json:"powerOffAt" nullable:"true" doc:"When the first VM is powered off for it."`
	TopUp    topUp            `json:"topUp" doc:"What to pay in to last 30 days longer, or for 30 days from now once the funds are used up: with all that is powered off by now."`
	VMs      []costingVMs     `json:"vms" doc:"VMs by status, of those that have not ended."`
	Next     *dueNext         `json:"next,omitempty" doc:"What falls due next; left out when nothing does."`
	Warnings []accountWarning `json:"warnings" doc:"What should be known now."`
	Events   []accountEvent   `json:"events" maxItems:"5" doc:"What was told last, the newest first; GET /v1/account/events has all."`
}

type runningCost struct {
	PerEpoch  money.Amount `json:"perEpoch" doc:"USDC, each VM by its own epoch." example:"0.84"`
	PerDay    money.Amount `json:"perDay" doc:"USDC over 24 hours, epochs of other lengths in proportion; all of it rounded once, half up." example:"0.84"`
	Per30Days money.Amount `json:"per30Days" doc:"USDC over 30 days, rounded in the same way: not 30 times what is rounded for a day." example:"25.2"`
}

type topUp struct {
	Amount money.Amount `json:"amount" example:"24.52"`
	Until  time.Time    `json:"until"`
}

type costingVMs struct {
	Status   string       `json:"status" enum:"New,Launching,Active,SmallBalance,InsufficientFunds"`
	Count    int64        `json:"count" minimum:"1"`
	PerEpoch money.Amount `json:"perEpoch" doc:"USDC for all of them; of VMs that are powered off, what they would cost." example:"0.84"`
}

type dueNext struct {
	At     time.Time    `json:"at"`
	What   string       `json:"what" enum:"charge,powerOff,purge"`
	VM     string       `json:"vmId"`
	Name   string       `json:"vmName"`
	Amount money.Amount `json:"amount" doc:"USDC that are charged, or that are missing for it not to happen." example:"0.84"`
}

type accountWarning struct {
	Key  string `json:"key" doc:"The same as long as it is about the same: funds_7d, funds_3d, funds_1d, small_balance, powered_off."`
	Text string `json:"text"`
}

type accountEvent struct {
	N    int64     `json:"n" minimum:"0" doc:"Counts the account's events."`
	Key  string    `json:"key"`
	At   time.Time `json:"at"`
	Text string    `json:"text"`
}

func eventsOf(list []control.AccountEvent) []accountEvent {
	out := make([]accountEvent, len(list))
	for i, e := range list {
		out[i] = accountEvent(e)
	}
	return out
}

func (a *api) getAccount(c *call, _ none) (accountLook, error) {
	o, err := a.control.Outlook(c.Context(), c.who)
	look := accountLook{
		AccountBalance: balanceOf(o.Balance), Cost: runningCost{o.PerEpoch, o.PerDay, o.Per30Days}, BurnRate: o.BurnRate, Until: moment(o.Until), Off: moment(o.Off),
		TopUp: topUp{o.For30Days, o.Then}, VMs: make([]costingVMs, len(o.VMs)), Warnings: make([]accountWarning, len(o.Warnings)), Events: eventsOf(o.Events),
	}
	for i, s := range o.VMs {
		look.VMs[i] = costingVMs{string(s.State), int64(s.Count), s.PerEpoch}
	}
	if d := o.Next; d != nil {
		look.Next = &dueNext{At: d.At, What: string(d.Kind), VM: d.VM, Name: d.Name, Amount: d.Amount}
	}
	for i, w := range o.Warnings {
		look.Warnings[i] = accountWarning(w)
	}
	return look, err
}

var listAccountEvents = operation{
	method: http.MethodGet, path: "/v1/account/events", id: "listAccountEvents", tag: "Account",
	summary: "List what the account was told",
	text:    "Once for each time that the funds come to last for less than 7, 3 or 1 days, the newest first.",
	query: []parameter{
		{"limit", "How many at most, 50 unless told.", "50"},
		{"before", "Only those before this number: `n` of the last one that was seen.", "12"},
	},
	response: `[` + exampleEvent + `]`,
	refusals: map[int]string{http.StatusUnprocessableEntity: `limit "all" is not a number within 1 to 200`},
}

func (a *api) listAccountEvents(c *call, _ none) ([]accountEvent, error) {
	limit, err := c.count("limit", defaultPerPage, control.MaxAccountEvents)
	if err != nil {
		return nil, err
	}
	before, err := c.count("before", 0, math.MaxInt32)
	if err != nil {
		return nil, err
	}
	list, err := a.control.AccountEvents(c.Context(), c.who, int64(before), limit)
	return eventsOf(list), err
}
