package api_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
)

// said returns a limit in one line.
func said(l limitAnswer) string {
	limit, by := "none", "nobody"
	for _, one := range []struct {
		limit *string
		by    string
	}{{l.Operator, "operator"}, {l.Own, "account"}} {
		if l.Limit != nil && one.limit != nil && *one.limit == *l.Limit {
			limit, by = *l.Limit, one.by
		}
	}
	return l.Used + " of " + limit + " by " + by
}

func (c *cloud) wantLimits(what string, a allowanceAnswer, day, month, running string) {
	c.t.Helper()
	for name, got := range map[string][2]string{"day": {said(a.PerDay), day}, "month": {said(a.PerMonth), month}, "running": {said(a.Running), running}} {
		if got[0] != got[1] {
			c.t.Errorf("%s: %s: got %s, want %s", what, name, got[0], got[1])
		}
	}
}

// An account bounds itself, and its operator bounds it: the tighter one counts.
func TestAccountLimits(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	admin := "/v1/admin/accounts/" + c.account + "/limits"
	var s spendingAnswer
	var a allowanceAnswer
	c.send("GET", "/v1/account/limits", "").wants(http.StatusOK, &s)
	c.wantLimits("at first", s.allowanceAnswer, "0 of none by nobody", "0 of none by nobody", "0 of none by nobody")
	c.deploy("1")
	c.send("PUT", "/v1/account/limits", `{"perDay": 3, "perMonth": "100", "running": null}`).wants(http.StatusOK, &s)
	c.wantLimits("its own", s.allowanceAnswer, "0.84 of 3 by account", "0.84 of 100 by account", "0.84 of none by nobody")
	c.wantLimits("its key's", s.Key.allowanceAnswer, "0.84 of none by nobody", "0.84 of none by nobody", "0.84 of none by nobody")
	c.sendAs(c.operator, "PUT", admin, `{"perDay": "10", "running": "0.84"}`).wants(http.StatusOK, &a)
	c.wantLimits("with the operator's", a, "0.84 of 3 by account", "0.84 of 100 by account", "0.84 of 0.84 by operator")
	c.send("POST", "/vms/v3", deployBody()).refused(422, "the limit of the account, set by the operator, is 0.84 USDC per 24 h for all that runs: 0.84 USDC are used, "+
		"and this needs 0.84 USDC, 0.84 USDC more than is left; delete VMs that are not needed, ask the operator to raise it, or ask for less")
	c.send("POST", "/v1/quotes", `{"instances": 1}`).refused(422, "set by the operator")
	c.send("PUT", "/v1/account/limits", `{"running": "1000"}`).wants(http.StatusOK, &s)
	c.wantLimits("raised as far as it may", s.allowanceAnswer, "0.84 of 10 by operator", "0.84 of none by nobody", "0.84 of 0.84 by operator")
	c.send("PUT", admin, `{}`).refused(403, "operator")
	c.sendAs(c.operator, "PUT", admin, ``).wants(http.StatusOK, &a)
	c.sendAs(c.operator, "GET", admin, "").wants(http.StatusOK, &a)
	c.wantLimits("lifted", a, "0.84 of none by nobody", "0.84 of none by nobody", "0.84 of 1000 by account")
	c.deploy("1")

	c.unchanged("what is refused", func() {
		c.send("PUT", "/v1/account/limits", `{"perDay": "lots"}`).refused(422, "perDay: ")
		c.send("PUT", "/v1/account/limits", `{"perDay": "-1"}`).refused(422, "perDay: ")
		c.send("PUT", "/v1/account/limits", `{"perDay": ["1"]}`).refused(400, "perDay has to be a decimal number in a string, not array")
		c.send("PUT", "/v1/account/limits", `{"perMonth": "99999999999999999999"}`).refused(422, "perMonth: ")
		c.sendAs(c.operator, "PUT", "/v1/admin/accounts/acc_none/limits", `{"perDay": "1"}`).refused(404, "no such account")
		c.sendAs(c.operator, "GET", "/v1/admin/accounts/acc_none/limits", "").refused(404, "no such account")
	})
}

// Keys are made with limits, seen, bounded and revoked; what one deploys counts for it alone.
func TestAPIKeys(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.control.Advance(time.Second) // it is the younger one
	var ci, changed apiKeyAnswer
	c.send("POST", "/v1/api-keys", `{"name": "ci", "limits": {"perDay": "1"}}`).wants(http.StatusCreated, &ci)
	if ci.Secret == "" || ci.Manages || ci.Current || ci.Role != "customer" {
		t.Errorf("a new key: %+v", ci)
	}
	c.deploy("1")
	c.sendAs(ci.Secret, "POST", "/vms/v3", deployBody()).wants(http.StatusOK, nil)
	c.sendAs(ci.Secret, "POST", "/vms/v3", deployBody()).refused(422, "the limit of API key "+ci.ID+" is 1 USDC charged per day: 0.84 USDC are used, and this needs 0.84 USDC")
	c.deploy("1")
	var list []apiKeyAnswer
	c.sendAs(ci.Secret, "GET", "/v1/api-keys", "").wants(http.StatusOK, &list)
	if len(list) != 2 || list[0].Name != "first" || !list[0].Manages || list[0].Current || !list[1].Current || list[1].ID != ci.ID || list[1].Secret != "" {
		t.Errorf("keys: %+v", list)
	}
	c.wantLimits("of the first", list[0].allowanceAnswer, "1.68 of none by nobody", "1.68 of none by nobody", "1.68 of none by nobody")
	c.wantLimits("of the second", list[1].allowanceAnswer, "0.84 of 1 by account", "0.84 of none by nobody", "0.84 of none by nobody")

	first := list[0]
	c.unchanged("a key with limits", func() {
		for _, r := range [][3]string{
			{"PUT", "/v1/account/limits", "{}"},
			{"POST", "/v1/api-keys", `{"name": "more"}`},
			{"PUT", "/v1/api-keys/" + ci.ID + "/limits", "{}"},
			{"DELETE", "/v1/api-keys/" + ci.ID, ""},
			{"DELETE", "/v1/api-keys/" + first.ID, ""},
		} {
			c.sendAs(ci.Secret, r[0], r[1], r[2]).refused(403, "has limits itself")
		}
	})
	c.send("PUT", "/v1/api-keys/"+ci.ID+"/limits", `{"perDay": "2", "running": "0"}`).wants(http.StatusOK, &changed)
	c.wantLimits("changed", changed.allowanceAnswer, "0.84 of 2 by account", "0.84 of none by nobody", "0.84 of 0 by account")
	if changed.Secret != "" {
		t.Error("the key is told again")
	}
	c.sendAs(ci.Secret, "POST", "/vms/v3", deployBody()).refused(422, "the limit of API key "+ci.ID+" is 0 USDC per 24 h for all that runs")
	c.send("PUT", "/v1/api-keys/"+first.ID+"/limits", `{"perDay": "2"}`).refused(409, "no API key without limits would be left")
	c.send("DELETE", "/v1/api-keys/"+first.ID, "").refused(409, "no API key without limits would be left")
	c.send("POST", "/v1/api-keys", `{"name": ""}`).refused(422, "a name is 1 to 100 printable characters")
	c.send("POST", "/v1/api-keys", `{"name": "x", "role": "god"}`).refused(422, "role")
	c.send("POST", "/v1/api-keys", `{"name": "x", "role": "operator"}`).refused(403, "operator")

	_, nora := c.newAccount("Nora", account.Customer)
	for _, id := range []string{ci.ID, "key_none", c.account} {
		c.sendAs(nora, "PUT", "/v1/api-keys/"+id+"/limits", "{}").refused(404, "no API key with id")
		c.sendAs(nora, "DELETE", "/v1/api-keys/"+id, "").refused(404, "no API key with id")
	}
}

// A key that is revoked is refused at once, though it was good a moment ago; its
// VMs go on. Operators are never locked out.
func TestRevoke(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.control.Advance(time.Second)
	var spare apiKeyAnswer
	c.send("POST", "/v1/api-keys", `{"name": "spare"}`).wants(http.StatusCreated, &spare)
	c.sendAs(spare.Secret, "POST", "/vms/v3", deployBody()).wants(http.StatusOK, nil)
	for range 2 { // it may be repeated
		c.send("DELETE", "/v1/api-keys/"+spare.ID, "").wants(http.StatusNoContent, nil)
		c.sendAs(spare.Secret, "GET", "/vms/v3", "").refused(403, "Auth failed")
	}
	var vms []vmAnswer
	c.send("GET", "/vms/v3", "").wants(http.StatusOK, &vms)
	if len(vms) != 1 || vms[0].Status != "New" {
		t.Errorf("VMs of a revoked key: %+v", vms)
	}
	c.send("PUT", "/v1/api-keys/"+spare.ID+"/limits", "{}").refused(404, "no API key with id")

	var list []apiKeyAnswer
	c.sendAs(c.operator, "GET", "/v1/api-keys", "").wants(http.StatusOK, &list)
	c.sendAs(c.operator, "POST", "/v1/api-keys", `{"name": "plain"}`).wants(http.StatusCreated, &spare)
	c.sendAs(spare.Secret, "DELETE", "/v1/api-keys/"+list[0].ID, "").refused(409, "last API key of an operator")
	c.sendAs(c.operator, "POST", "/v1/api-keys", `{"name": "second", "role": "operator"}`).wants(http.StatusCreated, &spare)
	c.sendAs(spare.Secret, "DELETE", "/v1/api-keys/"+list[0].ID, "").wants(http.StatusNoContent, nil)
	c.sendAs(c.operator, "GET", "/v1/admin/accounts", "").refused(403, "Auth failed")
}
