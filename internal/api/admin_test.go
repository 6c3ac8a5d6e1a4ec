package api_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"net/http"
	"strings"
	"testing"
	"time"
)

// An operator makes an account, gives it money and sees both.
func TestAccounts(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	var made struct{ ID, Name, APIKey string }
	c.sendAs(c.operator, "POST", "/v1/admin/accounts", `{"name": "Grace"}`).wants(http.StatusCreated, &made)
	if made.Name != "Grace" || made.APIKey == "" {
		t.Fatalf("made %+v", made)
	}
	var a accountAnswer
	balance := "/v1/admin/accounts/" + made.ID + "/balance"
	for _, row := range []struct{ method, path, body, want string }{
		{"GET", balance, "", "0"},
		{"PUT", balance, `{"amount": "10.5", "note": "so be it"}`, "10.5"},
		{"PUT", balance, `{"amount": 3, "note": "so be it"}`, "3"},
		{"POST", "/v1/admin/accounts/" + made.ID + "/credit", `{"amount": ".30697", "note": "a gift"}`, "3.30697"},
		{"PUT", balance, `{"amount": "0", "note": "so be it"}`, "0"},
	} {
		c.sendAs(c.operator, row.method, row.path, row.body).wants(http.StatusOK, &a)
		if a.Balance != row.want || a.ID != made.ID || a.Reserved != "0" || a.Spent != "0" {
			t.Errorf("%s %s %s: %+v, want a balance of %s", row.method, row.path, row.body, a, row.want)
		}
	}
	c.sendAs(made.APIKey, "GET", "/v1/account", "").wants(http.StatusOK, &a)
	if a.ID != made.ID || a.Name != "Grace" {
		t.Errorf("its own view: %+v", a)
	}
	var all []accountAnswer
	c.sendAs(c.operator, "GET", "/v1/admin/accounts", "").wants(http.StatusOK, &all)
	if len(all) != 4 { // and the operator, Ada, and the provider
		t.Errorf("%d accounts, want 4", len(all))
	}
	c.sendAs(c.operator, "POST", "/v1/admin/accounts", `{"name": "Root", "role": "operator"}`).wants(http.StatusCreated, &made)
	c.sendAs(made.APIKey, "GET", "/v1/admin/accounts", "").wants(http.StatusOK, nil)
}

func TestBadAccounts(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	mine := "/v1/admin/accounts/" + c.account
	c.unchanged("a bad request of an operator", func() {
		for _, row := range []struct {
			method, path, body string
			status             int
			says               string
		}{
			{"POST", "/v1/admin/accounts", `{}`, 422, "name"},
			{"POST", "/v1/admin/accounts", `{"name": "a\u202eb"}`, 422, "name"},
			{"POST", "/v1/admin/accounts", `{"name": 7}`, 400, "name has to be a string"},
			{"POST", "/v1/admin/accounts", `{"name": "x", "role": "king"}`, 422, "king"},
			{"GET", "/v1/admin/accounts/acc_none/balance", ``, 404, "account"},
			{"PUT", "/v1/admin/accounts/acc_none/balance", `{"amount": "1", "note": "x"}`, 404, "account"},
			{"POST", "/v1/admin/accounts/acc_none/credit", `{"amount": "1", "note": "x"}`, 404, "account"},
			{"GET", "/v1/admin/accounts/acc_none/payments", ``, 404, "account"},
			{"PUT", mine + "/balance", `{}`, 422, "amount is missing"},
			{"PUT", mine + "/balance", `{"amount": null}`, 422, "amount is missing"},
			{"PUT", mine + "/balance", `{"amount": "-1"}`, 422, "amount"},
			{"PUT", mine + "/balance", `{"amount": "1e3"}`, 422, "amount"},
			{"PUT", mine + "/balance", `{"amount": "0.0000001"}`, 422, "amount"},
			{"PUT", mine + "/balance", `{"amount": "` + strings.Repeat("9", 30) + `"}`, 422, "amount"},
			{"PUT", mine + "/balance", `{"amount": "1"}`, 422, "note is missing: say in a sentence what it is for, the customer reads it"},
			{"PUT", mine + "/balance", `{"amount": "1", "note": "a\tb"}`, 422, "note is not 1 to 500 printable characters on one line"},
			{"POST", mine + "/credit", `{"amount": "1"}`, 422, "note is missing"},
			{"POST", mine + "/credit", `{"amount": "0", "note": "x"}`, 422, "amount has to be more than 0"},
			{"POST", mine + "/credit", `{"amount": "1", "note": 7}`, 400, "note has to be a string, not number"},
			{"POST", mine + "/credit", `{"amount": "1", "note": "x", "paymentId": "a b"}`, 422, "the id of a payment is 1 to 200 visible characters of ASCII"},
			{"POST", "/v1/admin/withdrawals/wdr_none/confirm", `{"reference": "x"}`, 404, `no withdrawal "wdr_none"`},
			{"POST", "/v1/admin/withdrawals/wdr_none/reject", `{"reason": "x"}`, 404, `no withdrawal "wdr_none"`},
			{"GET", "/v1/admin/withdrawals?status=lost", ``, 422, `a withdrawal is requested, confirmed, rejected or cancelled, not "lost"`},
			{"PUT", mine + "/balance", `{"amount": ["1"]}`, 400, "amount has to be a decimal number in a string, not array"},
			{"POST", mine + "/credit", `{"amount": "9223372036854.775807", "note": "x"}`, 422, "more than an account can hold"},
			{"POST", "/v1/admin/clock", `{}`, 422, "advance"},
			{"POST", "/v1/admin/clock", `{"advance": "-1h"}`, 422, "advance"},
			{"POST", "/v1/admin/clock", `{"advance": "87601h"}`, 422, "advance"},
			{"POST", "/v1/admin/clock", `{"advance": 24}`, 400, "advance has to be a string"},
		} {
			c.sendAs(c.operator, row.method, row.path, row.body).refused(row.status, row.says)
		}
	})
}

const joinRequest = `{"provider": "Second", "country": "DE", "city": "FRA", "index": 1, "tier": 2, "certifications": null,
	"prices": {"vcpu": "0.1", "ram": 0.03, "storage": "0", "address": "0.05"}, "maxExtraStorageGib": 100, "validHours": 2}`

// A join token lets a server join the marketplace.
func TestJoinToken(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	var made struct {
		Token     string
		ExpiresAt time.Time
	}
	c.sendAs(c.operator, "POST", "/v1/admin/join-tokens", joinRequest).wants(http.StatusCreated, &made)
	if want := c.control.Now().Add(2 * time.Hour); !made.ExpiresAt.Equal(want) {
		t.Errorf("expires at %s, want %s", made.ExpiresAt, want)
	}
	key, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.control.Enroll(t.Context(), made.Token, key, c.agent.inventory); err != nil {
		t.Fatal(err)
	}
	var offers []offerAnswer
	c.send("POST", "/marketplace/offers", `{"datacenter": {"countries": ["DE"]}}`).wants(http.StatusOK, &offers)
	o := offers[0]
	if o.Configuration.Price != "0.37" || o.Datacenter.Slug != "de-fra-1" || o.Datacenter.Certifications == nil {
		t.Errorf("offer %+v", o)
	}
	if x := o.MaxAdditionalSupply[0]; x.PerVM == nil || *x.PerVM != 100 || x.Supply != 100 || x.Price != "0" {
		t.Errorf("additional %+v", x)
	}
}

func TestBadJoinTokens(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	for _, row := range []struct {
		old, new string
		status   int
		says     string
	}{
		{`"Second"`, `""`, 422, "name"},
		{`"DE"`, `"Germany"`, 422, "country"},
		{`"FRA"`, `null`, 422, "city"},
		{`"index": 1`, `"index": 0`, 422, "index"},
		{`"index": 1`, `"index": "1"`, 400, "index has to be a whole number"},
		{`"tier": 2`, `"tier": 5`, 422, "tier"},
		{`"vcpu": "0.1", `, ``, 422, "prices.vcpu is missing"},
		{`0.03`, `-1`, 422, "prices.ram"},
		{`"0.05"`, `true`, 400, "prices.address has to be a decimal number"},
		{`"maxExtraStorageGib": 100`, `"maxExtraStorageGib": -1`, 422, "maxExtraStorageGib"},
		{`"validHours": 2`, `"validHours": 0`, 422, "validHours"},
		{`"validHours": 2`, `"validHours": 9000`, 422, "validHours"},
		{`"certifications": null`, `"certifications": [` + strings.Repeat(`"x",`, 20) + `"x"]`, 422, "certifications"},
		{`"DE", "city": "FRA"`, `"US", "city": "NYC"`, 409, "another provider"},
	} {
		c.sendAs(c.operator, "POST", "/v1/admin/join-tokens", strings.Replace(joinRequest, row.old, row.new, 1)).refused(row.status, row.says)
	}
}

func TestClock(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	var got struct{ Now time.Time }
	c.sendAs(c.operator, "POST", "/v1/admin/clock", `{"advance": "24h"}`).wants(http.StatusOK, &got)
	if want := time.Date(2026, 2, 1, 12, 0, 0, 0, time.UTC); !got.Now.Equal(want) {
		t.Errorf("now is %s, want %s", got.Now, want)
	}
	c.control.Advance = nil
	c.sendAs(c.operator, "POST", "/v1/admin/clock", `{"advance": "24h"}`).refused(409, "--clock test")
}
