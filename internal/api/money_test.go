package api_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/vm"
)

// A payment with an id is credited once, whether the id is in the body or in the
// header; its customer is told what it was for.
func TestCreditOnce(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	credit := "/v1/admin/accounts/" + c.account + "/credit"
	const body = `{"amount": "5", "note": "invoice 7"}`
	for n, row := range []struct {
		body, header, balance string
		repeated              bool
	}{
		{body, "Idempotency-Key: inv-7", "105", false},
		{body, "Idempotency-Key: inv-7", "105", true},
		{`{"amount": "5", "note": "invoice 7", "paymentId": "inv-7"}`, "Idempotency-Key: other", "105", true},
		{body, "Idempotency-Key: inv-8", "110", false},
		{body, "", "115", false},
		{body, "", "120", false},
	} {
		var a accountAnswer
		var headers []string
		if row.header != "" {
			headers = append(headers, row.header)
		}
		c.sendAs(c.operator, "POST", credit, row.body, headers...).wants(http.StatusOK, &a)
		p := a.Payment
		if a.Balance != row.balance || p == nil || p.Repeated != row.repeated || p.Amount != "5" || p.Reason != "credit by the operator: invoice 7" || p.Source != "operator" ||
			!strings.HasPrefix(p.Actor, "acc_") || !p.CreditedAt.Equal(time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)) {
			t.Errorf("%d: %+v of %+v, want a balance of %s", n, p, a, row.balance)
		}
	}
	c.sendAs(c.operator, "PUT", "/v1/admin/accounts/"+c.account+"/balance", `{"amount": "1", "note": "closed"}`).wants(http.StatusOK, nil)
	var list []struct {
		Key, Kind, Amount, Reason, Actor string
		At                               time.Time
	}
	c.sendAs(c.operator, "GET", "/v1/admin/accounts/"+c.account+"/payments", "").wants(http.StatusOK, &list)
	if len(list) != 6 || list[0].Kind != "withdrawal" || list[0].Amount != "119" || list[0].Reason != "balance set by the operator: closed" || list[4].Key != "deposit:operator:inv-7" ||
		!strings.HasPrefix(list[4].Actor, "acc_") || list[5].Actor != "system" {
		t.Errorf("payments %+v", list)
	}
	c.unchanged("a payment's id for another", func() {
		c.sendAs(c.operator, "POST", credit, `{"amount": "6", "note": "invoice 7", "paymentId": "inv-7"}`).
			refused(409, `payment "inv-7" was credited already: 5 USDC to `+c.account+`; another payment needs another id`)
	})
}

type withdrawalAnswer struct {
	ID          string     `json:"id"`
	Provider    string     `json:"provider"`
	Amount      string     `json:"amount"`
	To          string     `json:"to"`
	Note        string     `json:"note"`
	Status      string     `json:"status"`
	RequestedAt time.Time  `json:"requestedAt"`
	DecidedAt   *time.Time `json:"decidedAt"`
	Reference   string     `json:"reference"`
	Reason      string     `json:"reason"`
	RequestedBy string     `json:"requestedBy"` // of operators alone
	DecidedBy   string     `json:"decidedBy"`
}

// A provider withdraws what it earned: it asks, an operator pays or refuses, and
// the earnings say how much of it is where.
func TestWithdrawals(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	nora := c.seller()
	id := c.deployIn("DE")
	c.report(vm.Ready)
	c.control.Advance(24 * time.Hour)
	c.sendAs(c.operator, "POST", "/v1/admin/clock", `{"advance": "48h"}`).wants(http.StatusOK, nil)
	earnings := func(want string) {
		t.Helper()
		var e earningsAnswer
		c.sendAs(nora, "GET", "/v1/providers/Nord/earnings", "").wants(http.StatusOK, &e)
		if got := e.Earned + " " + e.Withdrawing + " " + e.Withdrawn; got != want {
			t.Errorf("earned, withdrawing, withdrawn of VM %s: %s, want %s", id, got, want)
		}
	}
	earnings("2.52 0 0")
	const path = "/v1/providers/Nord/withdrawals"
	ask := func(amount, key string) (w withdrawalAnswer) {
		t.Helper()
		c.sendAs(nora, "POST", path, `{"amount": "`+amount+`", "to": "IBAN 7", "note": "January"}`, "Idempotency-Key: "+key).wants(http.StatusCreated, &w)
		return w
	}
	paid, refused, back := ask("1.5", "a"), ask("0.5", "b"), ask("0.02", "c")
	if again := ask("1.5", "a"); again != paid || paid.Status != "requested" || paid.To != "IBAN 7" || paid.Note != "January" || paid.Provider != "Nord" || paid.DecidedAt != nil {
		t.Errorf("asked for %+v, and again %+v", paid, again)
	}
	earnings("0.5 2.02 0")
	c.sendAs(nora, "POST", path, `{"amount": "0.6", "to": "IBAN 7"}`).refused(422, "0.5 USDC can be withdrawn, not 0.6: what is pending is not earned for good yet")
	c.sendAs(nora, "POST", path, `{"amount": "1", "to": "IBAN 7"}`, "Idempotency-Key: a").refused(409, `request key "a" was used for another request: 1.5 USDC to "IBAN 7"`)

	for range 2 {
		var w withdrawalAnswer
		c.sendAs(c.operator, "POST", "/v1/admin/withdrawals/"+paid.ID+"/confirm", `{"reference": "tx 1"}`).wants(http.StatusOK, &w)
		if w.Status != "confirmed" || w.Reference != "tx 1" || w.Reason != "" || w.DecidedAt == nil || !strings.HasPrefix(w.RequestedBy, "acc_") || !strings.HasPrefix(w.DecidedBy, "acc_") {
			t.Errorf("confirmed %+v", w)
		}
		c.sendAs(c.operator, "POST", "/v1/admin/withdrawals/"+refused.ID+"/reject", `{"reason": "unknown IBAN"}`).wants(http.StatusOK, &w)
		if w.Status != "rejected" || w.Reason != "unknown IBAN" {
			t.Errorf("rejected %+v", w)
		}
		c.sendAs(nora, "DELETE", path+"/"+back.ID, "").wants(http.StatusOK, &w)
		if w.Status != "cancelled" {
			t.Errorf("cancelled %+v", w)
		}
	}
	earnings("1.02 0 1.5")
	c.sendAs(c.operator, "POST", "/v1/admin/withdrawals/"+paid.ID+"/confirm", `{"reference": "tx 2"}`).refused(409, `was paid already, with the reference "tx 1"`)
	c.sendAs(c.operator, "POST", "/v1/admin/withdrawals/"+paid.ID+"/reject", `{"reason": "late"}`).refused(409, "was decided already: it is confirmed")
	c.sendAs(nora, "DELETE", path+"/"+refused.ID, "").refused(409, "was decided already: it is rejected")
	waits := ask("1", "d")
	for query, want := range map[string]int{"": 4, "?status=requested": 1, "?status=confirmed": 1, "?status=rejected": 1, "?status=cancelled": 1} {
		var own, all []withdrawalAnswer
		c.sendAs(nora, "GET", path+query, "").wants(http.StatusOK, &own)
		c.sendAs(c.operator, "GET", "/v1/admin/withdrawals"+query, "").wants(http.StatusOK, &all)
		if len(own) > 0 && own[0].RequestedBy+own[0].DecidedBy != "" {
			t.Errorf("a provider is told who did it: %+v", own[0])
		}
		if len(own) != want || len(all) != want {
			t.Errorf("%d and %d withdrawals for %q, want %d", len(own), len(all), query, want)
		}
		if query == "?status=requested" && (len(own) != 1 || own[0] != waits) {
			t.Errorf("those that wait: %+v, want %+v", own, waits)
		}
	}
}
