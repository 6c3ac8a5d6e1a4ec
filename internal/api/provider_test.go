package api_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/api"
	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/vm"
)

type providerAnswer struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	CreatedAt time.Time `json:"createdAt"`
	Servers   int       `json:"servers"`
	Pending   string    `json:"pending"`
	Earned    string    `json:"earned"`
}

type appliedAnswer struct {
	DryRun  bool `json:"dryRun"`
	Changes []struct {
		Path   string `json:"path"`
		Action string `json:"action"`
		Before string `json:"before"`
		After  string `json:"after"`
		Text   string `json:"text"`
	} `json:"changes"`
}

type amountsAnswer struct {
	VCPU       int64 `json:"vcpu"`
	RAMGiB     int64 `json:"ramGib"`
	StorageGiB int64 `json:"storageGib"`
	Addresses  int64 `json:"addresses"`
}

type serverAnswer struct {
	ID            string            `json:"id"`
	Name          string            `json:"name"`
	State         string            `json:"state"`
	Offer         string            `json:"offer"`
	Datacenter    string            `json:"datacenter"`
	HeardAt       *time.Time        `json:"heardAt"`
	SilentSince   *time.Time        `json:"unreachableSince"`
	Problem       *string           `json:"problem"`
	DrainDeadline *time.Time        `json:"drainDeadline"`
	Capacity      amountsAnswer     `json:"capacity"`
	Used          amountsAnswer     `json:"used"`
	Hardware      capacity.Hardware `json:"hardware"`
	Details       struct {
		Sockets     int64 `json:"sockets"`
		Cores       int64 `json:"cores"`
		Threads     int64 `json:"threads"`
		MemoryGiB   int64 `json:"memoryGib"`
		MemorySpeed int64 `json:"memorySpeed"`
		Disks       []struct {
			Name    string `json:"name"`
			Type    string `json:"type"`
			SizeGiB int64  `json:"sizeGib"`
			Model   string `json:"model"`
		} `json:"disks"`
		Addresses []string `json:"addresses"`
	} `json:"details"`
	Declared []string         `json:"declared"`
	Bench    *json.RawMessage `json:"measured"`
	VMs      int              `json:"vms"`
	Timeline []struct {
		At   time.Time `json:"at"`
		Text string    `json:"text"`
	} `json:"timeline"`
	VirtualMachines []struct {
		ID        string    `json:"id"`
		Status    string    `json:"status"`
		CreatedAt time.Time `json:"createdAt"`
	} `json:"virtualMachines"`
}

type earningsAnswer struct {
	Pending string       `json:"pending"`
	Earned  string       `json:"earned"`
	Rows    []earningRow `json:"rows"`

	Withdrawing string `json:"withdrawing"`
	Withdrawn   string `json:"withdrawn"`
}

type earningRow struct {
	Key      string `json:"key"`
	VM       string `json:"vm"`
	Server   string `json:"server"`
	Day      string `json:"day"`
	Charged  string `json:"charged"`
	Returned string `json:"returned"`
	Net      string `json:"net"`
	Epochs   int64  `json:"epochs"`
}

const fraListing = `{"datacenters": [{"country": "DE", "city": "FRA", "index": 1, "tier": 3, "certifications": ["ISO 27001"]}],
	"offers": [{"name": "gold", "datacenter": "de-fra-1", "hardware": {"cpu": {"manufacturer": "AMD"}},
		"prices": {"vcpu": "0.2", "ram": 0.06, "storage": ".004", "address": "0.1"}, "maxExtraStorageGib": 10}]}`

// seller makes an account with a provider "Nord" and a server "one" in Frankfurt
// whose agent the cloud reports for.
func (c *cloud) seller() (key string) {
	c.t.Helper()
	_, key = c.newAccount("Nora", account.Customer)
	c.sendAs(key, "POST", "/v1/providers", `{"name": "Nord"}`).wants(http.StatusCreated, nil)
	c.sendAs(key, "PUT", "/v1/providers/Nord/listing", fraListing).wants(http.StatusOK, nil)
	var made struct {
		Token     string    `json:"token"`
		ExpiresAt time.Time `json:"expiresAt"`
	}
	c.sendAs(key, "POST", "/v1/providers/Nord/tokens", `{"datacenter": "de-fra-1", "name": "one"}`).wants(http.StatusCreated, &made)
	if want := c.control.Now().Add(24 * time.Hour); !made.ExpiresAt.Equal(want) {
		c.t.Errorf("the token expires at %s, want %s", made.ExpiresAt, want)
	}
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		c.t.Fatal(err)
	}
	inv := c.agent.inventory
	inv.Declared = []string{"hardware.cpu.brand"}
	inv.Details = capacity.Details{Cores: 8, Threads: 16, Disks: []capacity.Disk{{Name: "sda", Type: "SSD", SizeGiB: 480, Model: "X"}}}
	inv.Measured = &capacity.Measured{At: c.control.Now().Add(-time.Minute), CPUSingle: 1000, DiskFsync: 0.5}
	id, err := c.control.Enroll(c.t.Context(), made.Token, public, inv)
	if err != nil {
		c.t.Fatal(err)
	}
	c.agent = &agent{server: id, inventory: inv}
	return key
}

func (c *cloud) deployIn(country string) string {
	c.t.Helper()
	var made []struct {
		ID   string `json:"vmId"`
		Name string `json:"vmName"`
	}
	body := deployBody(`"constraints": null`, `"constraints": {"datacenter": {"countries": ["`+country+`"]}}`)
	c.send("POST", "/vms/v3", body).wants(http.StatusOK, &made)
	return made[0].ID
}

// A provider sells a server, ends a customer's VM, and sees what it earned.
func TestProviderLife(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	nora := c.seller()
	var list []providerAnswer
	c.sendAs(nora, "GET", "/v1/providers", "").wants(http.StatusOK, &list)
	if len(list) != 1 || list[0].Name != "Nord" || list[0].Servers != 1 || list[0].Pending != "0" || list[0].Earned != "0" {
		t.Errorf("providers %+v", list)
	}
	byID := "/v1/providers/" + list[0].ID
	c.sendAs(c.operator, "GET", "/v1/providers", "").wants(http.StatusOK, &list)
	if len(list) != 2 {
		t.Errorf("%d providers for the operator, want 2", len(list))
	}
	id := c.deployIn("DE")
	c.report(vm.Ready)
	var servers []serverAnswer
	c.sendAs(nora, "GET", byID+"/servers", "").wants(http.StatusOK, &servers)
	s := servers[0]
	if s.Name != "one" || s.State != "open" || s.Offer != "gold" || s.Datacenter != "de-fra-1" || s.HeardAt == nil || s.SilentSince != nil || s.Problem != nil ||
		s.DrainDeadline != nil || s.Capacity.VCPU != 8 || s.Used.StorageGiB != 25 || s.Hardware != hardware || s.Details.Disks[0].SizeGiB != 480 ||
		!slices.Equal(s.Declared, []string{"hardware.cpu.brand"}) || s.VMs != 1 || !strings.Contains(string(*s.Bench), `"ageSeconds":60,"cpuSingle":1000`) {
		t.Errorf("server %+v", s)
	}
	var story serverAnswer
	c.sendAs(nora, "GET", byID+"/servers/one", "").wants(http.StatusOK, &story)
	if len(story.VirtualMachines) != 1 || story.VirtualMachines[0].ID != id || story.VirtualMachines[0].Status != "Active" || len(story.Timeline) != 1 {
		t.Errorf("server %+v", story)
	}
	c.control.Advance(6 * time.Hour)
	for range 2 {
		var ended struct{ ID, Status, Returned string }
		c.sendAs(nora, "POST", "/v1/providers/Nord/vms/"+strings.ToLower(id)+"/terminate", `{"reason": "it sends spam"}`).wants(http.StatusOK, &ended)
		if ended.ID != id || ended.Status != "Terminated" || ended.Returned != "0.63" {
			t.Errorf("ended %+v", ended)
		}
	}
	v := c.one(id)
	if v.Status != "Terminated" || v.PublicIP != nil || v.NextBillingAt != nil || v.TerminatedAt == nil || v.ReservedBalance != "1.47" || v.TotalSpent != "0.21" {
		t.Errorf("VM %+v", v)
	}
	for query, want := range map[string]earningRow{
		"":                                  {Key: id, VM: id, Charged: "0.84", Returned: "0.63", Net: "0.21", Epochs: 1},
		"?by=vm&since=2026-01-31T13:00:00Z": {Key: id, VM: id, Charged: "0", Returned: "0.63", Net: "-0.63"},
		"?by=server":                        {Key: story.ID, Server: "one", Charged: "0.84", Returned: "0.63", Net: "0.21", Epochs: 1},
		"?by=day&since=2026-01-31T12:00:00%2B01:00": {Key: "2026-01-31", Day: "2026-01-31", Charged: "0.84", Returned: "0.63", Net: "0.21", Epochs: 1},
	} {
		var e earningsAnswer
		c.sendAs(nora, "GET", "/v1/providers/Nord/earnings"+query, "").wants(http.StatusOK, &e)
		if e.Pending != "0" || e.Earned != "0.21" || len(e.Rows) != 1 || e.Rows[0] != want {
			t.Errorf("earnings %s: %+v, want %+v", query, e, want)
		}
	}
	c.send("DELETE", "/vms/v3", `{"vmIds": ["`+id+`"]}`).wants(http.StatusOK, nil)
	if got := c.balance(); got != "99.79" {
		t.Errorf("balance %s, want 99.79", got)
	}
	c.sendAs(nora, "POST", "/v1/providers/Nord/vms/"+id+"/terminate", `{"reason": "once more"}`).refused(409, "VM "+id+" has ended already: it is Stopped")
}

// A server is cordoned, drained, opened, measured and removed.
func TestServerVerbs(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	nora := c.seller()
	id := c.deployIn("DE")
	verb := func(verb, body string) (s serverAnswer) {
		t.Helper()
		c.sendAs(nora, "POST", "/v1/providers/Nord/servers/one/"+verb, body).wants(http.StatusOK, &s)
		return s
	}
	if s := verb("cordon", ""); s.State != "cordoned" {
		t.Errorf("cordon: %+v", s)
	}
	in := c.control.Now().Add(72 * time.Hour)
	for _, body := range []string{`{"deadline": "72h0m0s", "reason": "the rack moves"}`, `{"deadlineHours": 72}`} {
		if s := verb("drain", body); s.State != "draining" || !s.DrainDeadline.Equal(in) {
			t.Errorf("drain %s: %+v", body, s)
		}
	}
	story := func() (v storyAnswer) {
		t.Helper()
		c.send("GET", "/v1/vms/"+id, "").wants(http.StatusOK, &v)
		return v
	}
	c.control.Advance(2 * time.Minute)
	if _, err := c.control.NoteSilence(t.Context()); err != nil {
		t.Fatal(err)
	}
	var list []storyAnswer
	c.send("GET", "/v1/vms", "").wants(http.StatusOK, &list)
	if len(list) == 0 || list[0].Drained == nil || !list[0].Drained.Equal(in) || list[0].Silent == nil {
		t.Errorf("the list says %+v", list)
	}
	if v := story(); v.Drained == nil || !v.Drained.Equal(in) || v.Silent == nil || !v.Silent.Equal(in.Add(-72*time.Hour)) {
		t.Errorf("VM of a silent server that is drained: %+v", v)
	}
	c.list("") // which has no member that the published API doesn't have
	if s := verb("uncordon", "{}"); s.State != "open" || s.DrainDeadline != nil || s.SilentSince == nil {
		t.Errorf("uncordon: %+v", s)
	}
	c.report(vm.Ready)
	if v := story(); v.Drained != nil || v.Silent != nil {
		t.Errorf("VM of a server that is well: %+v", v)
	}
	verb("benchmark", "")
	const base = "/v1/providers/Nord/servers/one/"
	c.sendAs(nora, "POST", base+"remove", "").refused(409, "VMs are on server one: 1; drain it")
	c.send("DELETE", "/v1/vms/"+id+"?purge=true", "").wants(http.StatusOK, nil)
	c.report(vm.Ready)
	if s := verb("remove", ""); s.State != "removed" {
		t.Errorf("remove: %+v", s)
	}
	c.sendAs(nora, "POST", base+"cordon", "").refused(404, `no server "one" of provider Nord`)
	c.sendAs(nora, "POST", "/v1/providers/Nord/servers/"+c.agent.server+"/cordon", "").refused(409, "server one was removed; a machine joins again with a new token")
}

// A server that died with its VMs is removed with them.
func TestServerLost(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	nora := c.seller()
	id := c.deployIn("DE")
	c.report(vm.Ready)
	c.control.Advance(2 * time.Minute)
	if _, err := c.control.NoteSilence(t.Context()); err != nil {
		t.Fatal(err)
	}
	const path = "/v1/providers/Nord/servers/one/remove"
	c.sendAs(nora, "POST", path, "{}").refused(409, "VMs are on server one: 1; drain it")
	var s serverAnswer
	c.sendAs(nora, "POST", path, `{"lost": true, "reason": "it burnt down"}`).wants(http.StatusOK, &s)
	if s.State != "removed" {
		t.Errorf("remove: %+v", s)
	}
	if told := c.send("GET", "/v1/vms/"+id, "").body; !strings.Contains(told, "its server is lost: it burnt down") {
		t.Errorf("the VM does not say why it ended: %s", told)
	}
	c.sendAs(nora, "POST", path, `{"lost": true}`).refused(404, `no server "one" of provider Nord`)
}

// A listing is declared whole; what is exported can be applied again.
func TestListing(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	nora := c.seller()
	const path = "/v1/providers/Nord/listing"
	exported := c.sendAs(nora, "GET", path, "")
	exported.wants(http.StatusOK, nil)
	const want = `{"datacenters":[{"country":"DE","city":"FRA","index":1,"tier":3,"certifications":["ISO 27001"]}],` +
		`"offers":[{"name":"gold","datacenter":"de-fra-1","hardware":{"cpu":{"manufacturer":"AMD","brand":"","architecture":"","generation":""},` +
		`"memory":{"type":"","generation":""},"storage":{"type":""}},"prices":{"vcpu":"0.2","ram":"0.06","storage":"0.004","address":"0.1"},"maxExtraStorageGib":10}]}`
	if exported.body != want {
		t.Errorf("exported %s,\nwant %s", exported.body, want)
	}
	dearer := strings.Replace(fraListing, `"vcpu": "0.2"`, `"vcpu": "0.25"`, 1)
	for _, row := range []struct {
		query, body string
		dry         bool
		changes     int
	}{
		{"", exported.body, false, 0}, {"?dryRun=true", dearer, true, 1}, {"?dryRun=false", fraListing, false, 0}, {"", dearer, false, 1},
	} {
		var a appliedAnswer
		c.sendAs(nora, "PUT", path+row.query, row.body).wants(http.StatusOK, &a)
		if a.DryRun != row.dry || a.Changes == nil || len(a.Changes) != row.changes {
			t.Errorf("PUT %s: %+v, want %d changes", row.query, a, row.changes)
			continue
		}
		if row.changes == 1 {
			x := a.Changes[0]
			if x.Path != "offers[0].prices.vcpu" || x.Action != "change" || x.Before != "0.2" || x.After != "0.25" || x.Text != "offer gold: prices.vcpu is 0.25 instead of 0.2" {
				t.Errorf("change %+v", x)
			}
		}
	}
	var said struct {
		Error  string                           `json:"error"`
		Faults []struct{ Path, Message string } `json:"faults"`
	}
	bad := strings.NewReplacer(`".004"`, `"1e3"`, `"FRA"`, `"Frankfurt"`).Replace(fraListing)
	c.sendAs(nora, "PUT", path+"?dryRun=true", bad).wants(http.StatusUnprocessableEntity, &said)
	if len(said.Faults) != 3 || !strings.HasPrefix(said.Error, "3 faults: datacenters[0].city: ") || said.Faults[2].Path != "offers[0].prices.storage" ||
		said.Faults[2].Message != `amount "1e3" is not a decimal number` {
		t.Errorf("faults %+v", said)
	}
	if other := c.sendAs(nora, "GET", "/v1/providers/x/listing", ""); other.body != `{"error":"no provider \"x\""}` {
		t.Errorf("another refusal: %s", other.body)
	}
}

// Nothing that a provider sends by mistake changes anything, and it reads why.
func TestBadProviderRequests(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	nora := c.seller()
	id := c.deployIn("DE")
	const server = "/v1/providers/Nord/servers/one"
	for i := range 9 {
		c.sendAs(nora, "POST", "/v1/providers", `{"name": "Nord `+strings.Repeat("I", i+1)+`"}`).wants(http.StatusCreated, nil)
	}
	c.unchanged("a bad request of a provider", func() {
		for _, row := range []struct {
			method, path, body string
			status             int
			says               string
		}{
			{"POST", "/v1/providers", `{}`, 422, "a name is 1 to 100 printable characters"},
			{"POST", "/v1/providers", `{"name": 7}`, 400, "name has to be a string, not number"},
			{"POST", "/v1/providers", `{"name": "Nord"}`, 409, `the name "Nord" is taken; choose another`},
			{"POST", "/v1/providers", `{"name": "Ost"}`, 422, "an account has at most 10 providers"},
			{"POST", "/v1/providers", `{"name": "prv_1"}`, 422, "does not begin with prv_"},
			{"PUT", "/v1/providers/Nord/listing", ``, 422, "offers is missing; write [] to withdraw all"},
			{"PUT", "/v1/providers/Nord/listing", `{"offers": {}}`, 400, "offers has to be an array"},
			{"PUT", "/v1/providers/Nord/listing?dryRun=yes", fraListing, 400, `dryRun "yes" is neither true nor false`},
			{"POST", "/v1/providers/Nord/tokens", `{}`, 422, "datacenter is missing"},
			{"POST", "/v1/providers/Nord/tokens", `{"datacenter": "us-nyc-1"}`, 404, `provider Nord has no datacenter "us-nyc-1"; add it to the listing and apply that`},
			{"POST", "/v1/providers/Nord/tokens", `{"datacenter": "de-fra-1", "offer": "tin"}`, 404, `provider Nord has no offer "tin" in de-fra-1`},
			{"POST", "/v1/providers/Nord/tokens", `{"datacenter": "de-fra-1", "name": "one"}`, 409, "another server of this provider is named one"},
			{"POST", "/v1/providers/Nord/tokens", `{"datacenter": "de-fra-1", "name": "a_b"}`, 422, "letters, digits and hyphens"},
			{"POST", "/v1/providers/Nord/tokens", `{"datacenter": "de-fra-1", "validHours": 0}`, 422, "validHours is 0; it has to be within 1 to 8760"},
			{"POST", "/v1/providers/Nord/tokens", `{"datacenter": "de-fra-1", "validHours": "1"}`, 400, "validHours has to be a whole number"},
			{"GET", "/v1/providers/Nord/servers/two", ``, 404, `no server "two" of provider Nord`},
			{"POST", server + "/drain", `{}`, 422, "deadline is missing: say how long customers get, such as 72h"},
			{"POST", server + "/drain", `{"deadline": "30m"}`, 422, "a server is drained within 1h to 720h, not 30m0s"},
			{"POST", server + "/drain", `{"deadlineHours": 721}`, 422, "a server is drained within 1h to 720h, not 721h0m0s"},
			{"POST", server + "/drain", `{"deadlineHours": -9223372036854775808}`, 422, "a server is drained within"},
			{"POST", server + "/drain", `{"deadline": "soon"}`, 422, `deadline "soon" is not a duration such as 72h`},
			{"POST", server + "/drain", `{"deadline": "72h", "deadlineHours": 72}`, 422, "give one of them"},
			{"POST", server + "/drain", `{"deadline": 72}`, 400, "deadline has to be a string, not number"},
			{"POST", server + "/drain", `{"deadline": "72h", "reason": "a\nb"}`, 422, "reason is not 1 to 500 printable characters on one line"},
			{"POST", server + "/remove", ``, 409, "VMs are on server one: 1; drain it, and remove it once its agent has purged them"},
			{"POST", server + "/remove", `{"lost": true}`, 409, "server one is not lost: its agent was heard at "},
			{"POST", server + "/remove", `{"lost": true, "reason": "a\nb"}`, 422, "reason is not 1 to 500 printable characters on one line"},
			{"POST", server + "/remove", `{"lost": "yes"}`, 400, "lost has to be true or false, not string"},
			{"POST", server + "/remove", `{"reason": "fire"}`, 422, "reason is for a server that is lost; say lost too, or leave it out"},
			{"POST", server + "/paint", ``, 404, "no such path"},
			{"POST", "/v1/providers/Nord/vms/" + id + "/terminate", `{}`, 422, "reason is missing: say why in a sentence, the customer reads it"},
			{"POST", "/v1/providers/Nord/vms/" + id + "/terminate", `{"reason": 1}`, 400, "reason has to be a string, not number"},
			{"POST", "/v1/providers/Nord/vms/" + unknown + "/terminate", `{"reason": "x"}`, 404, `no VM with id "` + unknown + `"`},
			{"POST", "/v1/providers/Nord/vms/7/terminate", `{"reason": "x"}`, 404, `no VM with id "7"`},
			{"POST", "/v1/providers/Nord/withdrawals", `{"amount": "1", "to": "me"}`, 422, "0 USDC can be withdrawn, not 1"},
			{"POST", "/v1/providers/Nord/withdrawals", `{"amount": "1"}`, 422, "to is not 1 to 200 printable characters on one line"},
			{"POST", "/v1/providers/Nord/withdrawals", `{"to": "me"}`, 422, "amount is missing"},
			{"POST", "/v1/providers/Nord/withdrawals", `{"amount": "1", "to": 7}`, 400, "to has to be a string, not number"},
			{"GET", "/v1/providers/Nord/withdrawals?status=lost", ``, 422, `a withdrawal is requested, confirmed, rejected or cancelled, not "lost"`},
			{"DELETE", "/v1/providers/Nord/withdrawals/wdr_none", ``, 404, `no withdrawal "wdr_none"`},
			{"GET", "/v1/providers/Nord/earnings?by=year", ``, 422, `earnings are summed up by vm, server or day, not "year"`},
			{"GET", "/v1/providers/Nord/earnings?since=yesterday", ``, 422, `since "yesterday" is not a time as RFC 3339 says`},
		} {
			c.sendAs(nora, row.method, row.path, row.body).refused(row.status, row.says)
		}
	})
}

// Every operation on a provider is refused to every other account as if the
// provider weren't there, and to a bad key at all.
func TestForeignProvider(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	nora := c.seller()
	id := c.deployIn("DE")
	_, other := c.newAccount("Otto", account.Customer)
	c.sendAs(other, "POST", "/v1/providers", `{"name": "Ost"}`).wants(http.StatusCreated, nil)
	revoked := c.revoked()
	tried := 0
	for path, item := range api.OpenAPI().Paths {
		if !strings.Contains(path, "{provider}") {
			continue
		}
		for method, op := range map[string]bool{"GET": item.Get != nil, "PUT": item.Put != nil, "POST": item.Post != nil, "DELETE": item.Delete != nil, "PATCH": item.Patch != nil} {
			if !op {
				continue
			}
			tried++
			body := `{"datacenters": [], "offers": [], "datacenter": "de-fra-1", "deadline": "72h", "lost": true, "reason": "why not", "amount": "1", "to": "me"}`
			at := strings.NewReplacer("{provider}", "Nord", "{server}", "one", "{id}", id).Replace(path)
			for _, key := range []string{other, c.key} {
				c.sendAs(key, method, at, body).refused(404, `no provider "Nord"`)
			}
			for _, key := range []string{nora, c.operator} {
				c.sendAs(key, method, strings.Replace(at, "Nord", "prv_none", 1), body).refused(404, `no provider "prv_none"`)
			}
			for _, key := range []string{"", revoked} {
				c.sendAs(key, method, at, "not JSON").refused(403, "Auth failed. No such API Key")
			}
		}
	}
	if tried != 15 {
		t.Errorf("%d operations were tried, want 15", tried)
	}
	if v := c.one(id); v.Status != "New" {
		t.Errorf("the VM is %s", v.Status)
	}
}
