package cli_test

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

const webID = "0x11000000000000000000000000000000000001Ab"

// outlook is the account with what becomes of its money.
func (s *stub) outlook() doc {
	d := s.account()
	maps.Copy(d, doc{
		"runningCost": doc{"perEpoch": "0.84", "perDay": "0.84", "per30Days": "25.2"}, "burnRate": "0.81",
		"fundsLastUntil": "2026-02-04T12:00:41.5Z", "powerOffAt": "2026-02-05T12:00:41.5Z", "topUp": doc{"amount": "24.52", "until": "2026-03-06T12:00:41.5Z"},
		"vms":      []doc{{"status": "Active", "count": 1, "perEpoch": "0.84"}, {"status": "InsufficientFunds", "count": 2, "perEpoch": "1.68"}},
		"next":     doc{"at": "2026-02-01T12:00:41.5Z", "what": "charge", "vmId": webID, "vmName": "web", "amount": "0.84"},
		"warnings": []doc{{"key": "funds_7d", "text": "The balance of 3.2 USDC lasts until 2026-02-04 12:00 UTC."}},
		"events":   []doc{{"n": 1, "key": "funds_7d:2", "at": "2026-01-31T12:00:00Z", "text": "The balance of 5.88 USDC lasts until 2026-02-07 12:00 UTC."}},
	})
	return d
}

// entries are a customer's, the newest first.
func entries() []doc {
	entry := func(at, kind, direction, amount, balance, reserve string, vmName, epoch any, reason string) doc {
		d := doc{
			"at": at, "kind": kind, "direction": direction, "amount": amount, "balanceChange": balance, "reservedChange": reserve, "vmId": nil, "vmName": vmName,
			"epoch": epoch, "reason": reason,
		}
		if vmName != nil {
			d["vmId"] = webID
		}
		return d
	}
	return []doc{
		entry("2026-02-01T12:00:41Z", "topup", "toReserve", "0.84", "-0.84", "0.84", "web", nil, "reserve for epoch 3"),
		entry("2026-02-01T12:00:41Z", "charge", "out", "0.84", "0", "-0.84", "web", 2, "rent of epoch 2"),
		entry("2026-01-31T12:00:00Z", "deposit", "in", "100", "100", "0", nil, nil, "credit by the \x1b[31moperator"),
	}
}

// bill answers the routes of billing.
func (s *stub) bill(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	switch r.URL.Path {
	case "/v1/billing/history":
		found := slices.DeleteFunc(entries(), func(e doc) bool {
			at := e["at"].(string)
			return q.Has("kind") && !slices.Contains(strings.Split(q.Get("kind"), ","), e["kind"].(string)) || q.Has("vm") && e["vmId"] != q.Get("vm") ||
				q.Has("from") && at < q.Get("from") || q.Has("to") && at >= q.Get("to")
		})
		begin, _ := strconv.Atoi(q.Get("cursor"))
		limit, _ := strconv.Atoi(q.Get("limit"))
		page := doc{"items": found[begin:min(begin+limit, len(found))], "next": nil}
		if begin+limit < len(found) {
			page["next"] = strconv.Itoa(begin + limit)
		}
		answer(w, http.StatusOK, page)
	case "/v1/billing/spend":
		sums := func(charged, returned, net string, epochs int) doc {
			return doc{"charged": charged, "returned": returned, "net": net, "epochs": epochs}
		}
		row := func(key, name string, d doc) doc {
			d["key"], d["vmName"] = key, name
			return d
		}
		all := doc{"from": "2026-02-01T00:00:00Z", "to": "2026-02-03T12:00:00Z", "by": q.Get("by"), "total": sums("2.52", "0.21", "2.31", 3)}
		switch q.Get("by") {
		case "vm":
			all["rows"] = []doc{row(webID, "web", sums("1.68", "0", "1.68", 2)), row("0x22", "db", sums("0.84", "0.21", "0.63", 1))}
			all["rest"] = sums("0.01", "0", "0.01", 1)
		case "day":
			all["rows"] = []doc{row("2026-02-01", "", sums("2.52", "0.21", "2.31", 3))}
		case "resource":
			all["rows"] = []doc{row("vcpu", "", sums("1.2", "0.1", "1.1", 3)), row("ram", "", sums("1.32", "0.11", "1.21", 3))}
		}
		answer(w, http.StatusOK, all)
	case "/v1/billing/statement":
		statement(w, q.Get("month"), q.Get("format"))
	default:
		refuse(w, http.StatusNotFound, "no such path; see /docs")
	}
}

// statement answers with a statement; of 2026-03 it is cut short.
func statement(w http.ResponseWriter, month, format string) {
	lines := map[string][]string{
		"csv":  {"time,kind,reason", "2026-02-01T00:00:00Z,opening,", "2026-02-01T12:00:00Z,charge,rent\x1b[2J", "2026-03-01T00:00:00Z,closing,"},
		"html": {"<!doctype html>", "<p>Statement</p>", "</html>"},
	}[format]
	if month == "2026-03" {
		lines = lines[:2]
	}
	if month == "2026-13" {
		refuse(w, http.StatusUnprocessableEntity, `month "2026-13" is none such as 2026-11`)
		return
	}
	if len(lines) > 0 {
		_, _ = w.Write([]byte(strings.Join(lines, "\n") + "\n"))
		return
	}
	var list []doc
	for _, e := range slices.Backward(entries()) {
		e["balance"], e["reserved"] = "97.48", "0.84"
		list = append(list, e)
	}
	sums := func(d doc) doc {
		maps.Copy(d, doc{"charged": "0.84", "returned": "0", "net": "0.84", "epochs": 1})
		return d
	}
	answer(w, http.StatusOK, doc{
		"account": doc{"id": "acc_1", "name": "demo"}, "month": "2026-02", "from": "2026-02-01T00:00:00Z", "to": "2026-03-01T00:00:00Z", "asOf": "2026-02-03T12:00:00Z",
		"opening": doc{"balance": "0", "reserved": "0.84", "total": "0.84"}, "closing": doc{"balance": "97.48", "reserved": "0.84", "total": "98.32"},
		"kinds": []doc{{"kind": "charge", "count": 1, "amount": "0.84"}, {"kind": "deposit", "count": 1, "amount": "100"}},
		"spend": doc{
			"total": sums(doc{}), "byVm": []doc{sums(doc{"key": webID, "vmName": "web"})}, "byDay": []doc{sums(doc{"key": "2026-02-01"})},
			"byResource": []doc{sums(doc{"key": "vcpu"})},
		},
		"entries": list,
	})
}
