package api

import "net/http"

var checkAll = operation{
	method: http.MethodGet, path: "/v1/admin/fsck", id: "checkAll", tag: "Operation", access: operator,
	summary: "Check that all that is stored fits together",
	text: "Goes through the whole ledger again, entry by entry, and compares balances with entries, reserves and charges with VMs, capacity with VMs and quotes, VMs with what agents reported last. " +
		"It changes nothing, and tells 1,000 discrepancies at most.",
	response: `{"sound": false, "entries": 120314, "vms": 20120, "servers": 310, "discrepancies": [{"subject": "entry charge:` + exampleID + `:7",
		"text": "its seal does not fit", "repair": "find out who changed the database, and restore it from a backup of before"}]}`,
}

type soundness struct {
	Sound         bool          `json:"sound" doc:"Nothing was found."`
	Entries       int64         `json:"entries" doc:"Of the ledger."`
	VMs           int64         `json:"vms" doc:"That there ever were."`
	Servers       int64         `json:"servers" doc:"That there ever were."`
	Discrepancies []discrepancy `json:"discrepancies"`
}

type discrepancy struct {
	Subject string `json:"subject" doc:"What it is about: an entry, account, VM, server or provider."`
	Text    string `json:"text"`
	Repair  string `json:"repair" doc:"What to do about it."`
}

func (a *api) checkAll(c *call, _ none) (soundness, error) {
	found, err := a.control.Fsck(c.Context(), c.who)
	out := soundness{
		Sound: len(found.Discrepancies) == 0, Entries: found.Entries, VMs: found.VMs, Servers: found.Servers,
		Discrepancies: make([]discrepancy, len(found.Discrepancies)),
	}
	for i, d := range found.Discrepancies {
		out.Discrepancies[i] = discrepancy(d)
	}
	return out, err
}
