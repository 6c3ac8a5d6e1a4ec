package api

import (
	"cmp"
	"net/http"
	"time"

	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/money"
)

var getEarnings = operation{
	method: http.MethodGet, path: "/v1/providers/{provider}/earnings", id: "getEarnings", tag: "Providers",
	summary: "Get what a provider earned",
	text: "What its VMs were charged, less what was returned of epochs that were not delivered, by VM, server or day: those with the newest entries " +
		"first, at most 1000 rows.",
	query: []parameter{
		{"by", "vm, server or day (in UTC); vm unless told.", "day"},
		{"since", "Only what was charged or returned at this time (RFC 3339) or later.", "2026-01-01T00:00:00Z"},
	},
	response: `{"pending": "1.68", "earned": "120.5", "withdrawing": "40", "withdrawn": "300", "rows": [{"key": "2026-01-31", "day": "2026-01-31", "charged": "2.52", "returned": "0.21",
		"net": "2.31", "epochs": 3}]}`,
	refusals: map[int]string{
		http.StatusNotFound:            noProvider,
		http.StatusUnprocessableEntity: `earnings are summed up by vm, server or day, not "year"`,
	},
}

type earnings struct {
	Pending money.Amount `json:"pending" doc:"USDC charged, of which a part is returned where an epoch is not delivered." example:"1.68"`
	Earned  money.Amount `json:"earned" doc:"USDC earned for good: what can be withdrawn." example:"120.5"`

	Withdrawing money.Amount `json:"withdrawing" doc:"USDC asked for and not paid yet." example:"40"`
	Withdrawn   money.Amount `json:"withdrawn" doc:"USDC paid out." example:"300"`

	Rows []earning `json:"rows" maxItems:"1000"`
}

type earning struct {
	Key      string       `json:"key" doc:"Id of the VM or server, or the day."`
	VM       string       `json:"vm,omitempty"`
	Server   string       `json:"server,omitempty" doc:"Its name, or its id where it has none."`
	Day      string       `json:"day,omitempty" format:"date"`
	Charged  money.Amount `json:"charged" example:"2.52"`
	Returned money.Amount `json:"returned" doc:"Of what was charged and not delivered." example:"0.21"`
	Net      money.Amount `json:"net" example:"2.31"`
	Epochs   int64        `json:"epochs" minimum:"0" doc:"How many were charged."`
}

func (a *api) getEarnings(c *call, _ none) (earnings, error) {
	since := time.Time{}
	if text := c.query.Get("since"); text != "" {
		var err error
		if since, err = time.Parse(time.RFC3339, text); err != nil {
			return earnings{}, fault.Newf(fault.Invalid, "since %q is not a time as RFC 3339 says", clip(text))
		}
	}
	by := control.EarningsBy(cmp.Or(c.query.Get("by"), string(control.EarningsByVM)))
	e, err := a.control.Earnings(c.Context(), c.who, c.PathValue("provider"), by, since)
	out := earnings{Pending: e.Pending, Earned: e.Earned, Withdrawing: e.Withdrawing, Withdrawn: e.Withdrawn, Rows: make([]earning, len(e.Rows))}
	for i, r := range e.Rows {
		row := earning{Key: r.Key, Charged: r.Charged, Returned: r.Returned, Net: r.Charged - r.Returned, Epochs: r.Epochs}
		switch by {
		case control.EarningsByVM:
			row.VM = r.Key
		case control.EarningsByServer:
			row.Server = cmp.Or(r.ServerName, r.Key)
		case control.EarningsByDay:
			row.Day = r.Key
		}
		out.Rows[i] = row
	}
	return out, err
}
