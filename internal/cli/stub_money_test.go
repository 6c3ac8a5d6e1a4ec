package cli_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// pay takes a credit or a new balance.
func (s *stub) pay(w http.ResponseWriter, body doc) {
	note, _ := body["note"].(string)
	if strings.TrimSpace(note) == "" {
		refuse(w, http.StatusUnprocessableEntity, "note is missing: say in a sentence what it is for, the customer reads it")
		return
	}
	id, _ := body["paymentId"].(string)
	repeated := id != "" && slices.Contains(s.payments, id)
	if !repeated {
		s.balance = body["amount"].(string)
		s.payments = append(s.payments, id)
	}
	a := s.account()
	a["payment"] = doc{
		"id": id, "source": "operator", "amount": body["amount"], "reason": "credit by the operator: " + note, "actor": "acc_0/key_0", "creditedAt": "2026-01-31T12:00:00Z",
		"repeated": repeated,
	}
	answer(w, http.StatusOK, a)
}

// withdraw answers the routes of a provider's withdrawals.
func (s *stub) withdraw(w http.ResponseWriter, r *http.Request, p *seller, path []string, body doc) {
	switch r.Method {
	case http.MethodPost:
		if i := s.payout("key", r.Header.Get("Idempotency-Key")); i >= 0 {
			answer(w, http.StatusCreated, s.payouts[i])
			return
		}
		if body["amount"] == "99" {
			refuse(w, http.StatusUnprocessableEntity, "12.6 USDC can be withdrawn, not 99: what is pending is not earned for good yet")
			return
		}
		v := doc{
			"id": fmt.Sprint("wdr_", len(s.payouts)+1), "provider": p.name, "amount": body["amount"], "to": body["to"], "status": "requested",
			"requestedAt": "2026-01-31T12:00:00Z", "key": r.Header.Get("Idempotency-Key"),
		}
		if body["note"] != nil {
			v["note"] = body["note"]
		}
		s.payouts = append(s.payouts, v)
		answer(w, http.StatusCreated, v)
	case http.MethodGet:
		s.listPayouts(w, r)
	case http.MethodDelete:
		s.settle(w, path[0], "cancelled", "", nil)
	}
}

func (s *stub) payout(member, value string) int {
	return slices.IndexFunc(s.payouts, func(v doc) bool { return v[member] == value })
}

func (s *stub) listPayouts(w http.ResponseWriter, r *http.Request) {
	status := r.URL.Query().Get("status")
	answer(w, http.StatusOK, slices.DeleteFunc(slices.Concat([]doc{}, s.payouts), func(v doc) bool { return status != "" && v["status"] != status }))
}

// judge answers the operator's routes of withdrawals.
func (s *stub) judge(w http.ResponseWriter, r *http.Request, body doc) {
	path := strings.Split(strings.TrimPrefix(r.URL.Path, "/v1/admin/withdrawals"), "/")
	switch {
	case len(path) == 1:
		s.listPayouts(w, r)
	case path[2] == "confirm":
		s.settle(w, path[1], "confirmed", "reference", body["reference"])
	default:
		s.settle(w, path[1], "rejected", "reason", body["reason"])
	}
}

func (s *stub) settle(w http.ResponseWriter, id, status, member string, value any) {
	i := s.payout("id", id)
	if i < 0 {
		refuse(w, http.StatusNotFound, fmt.Sprintf("no withdrawal %q", id))
		return
	}
	v := s.payouts[i]
	if v["status"] != "requested" && v["status"] != status {
		refuse(w, http.StatusConflict, fmt.Sprintf("withdrawal %s was decided already: it is %s", id, v["status"]))
		return
	}
	v["status"], v["decidedAt"] = status, "2026-02-01T12:00:00Z"
	if member != "" {
		v[member] = value
	}
	answer(w, http.StatusOK, v)
}
