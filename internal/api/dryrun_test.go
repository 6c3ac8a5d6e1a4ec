package api_test

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/api"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/store/storetest"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// reading are the operations that change nothing though their method is not GET.
var reading = []string{"searchOffers", "listOffers", "explainOffers", "estimateVMs"}

// scene is a cloud with one of everything that can be changed.
type scene struct {
	*cloud
	url   string
	nora  string // key of an account with a provider
	asked string // id of a withdrawal that the provider has asked for
	vm    string // id of a VM of the customer
	spare string // id of another key of the customer

	snapshot string // id of one of the VM, where that has one
	export   string // id of one of that, where there is one
}

func newScene(t *testing.T, e storetest.Engine) *scene {
	t.Helper()
	s := &scene{url: e.URL(t)}
	s.cloud = newCloudAt(t, s.url)
	s.vm = s.deploy("1")[0]
	_, hangUp := s.control.Changes(s.agent.server) // consoles are for servers whose agent is there
	t.Cleanup(hangUp)
	made, _, err := s.control.CreateKey(t.Context(), account.Actor{AccountID: s.account}, "spare", account.Customer, account.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	s.spare = made.ID
	s.send("POST", "/ssh_keys", `{"name": "laptop", "publicKey": "`+keyLine+`"}`).wants(http.StatusCreated, nil)
	_, s.nora = s.newAccount("Nora", account.Customer)
	s.sendAs(s.nora, "POST", "/v1/providers", `{"name": "Nord"}`).wants(http.StatusCreated, nil)
	s.sendAs(s.nora, "PUT", "/v1/providers/Nord/listing", fraListing).wants(http.StatusOK, nil)
	s.earns()
	var w withdrawalAnswer
	s.sendAs(s.nora, "POST", "/v1/providers/Nord/withdrawals", `{"amount": "10", "to": "IBAN 7"}`).wants(http.StatusCreated, &w)
	s.asked = w.ID
	return s
}

// earns gives the provider 20 USDC that it has for good.
func (s *scene) earns() {
	s.t.Helper()
	list, err := s.control.Providers(s.t.Context(), control.System)
	if err == nil {
		nord := list[slices.IndexFunc(list, func(p control.Provider) bool { return p.Name == "Nord" })]
		err = s.store.Write(s.t.Context(), func(tx *store.Tx) error {
			return tx.PostAll(s.t.Context(), []ledger.Entry{{
				At: s.control.Now(), Kind: ledger.Settle, From: ledger.External, To: ledger.Earned(nord.ID), Amount: 20 * money.USDC, Key: "earned",
			}})
		})
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// snap takes a snapshot of the VM and returns its id.
func (s *scene) snap() string {
	s.t.Helper()
	s.report(vm.Ready)
	var o operationAnswer
	s.send("POST", "/v1/vms/"+s.vm+"/snapshots", `{}`).wants(http.StatusAccepted, &o)
	s.report(vm.Ready)
	return o.Result["snapshotId"]
}

// silence has the server be lost.
func (s *scene) silence() {
	s.t.Helper()
	s.control.Advance(2 * control.SilentAfter)
	if n, err := s.control.NoteSilence(s.t.Context()); err != nil || n == 0 {
		s.t.Fatalf("NoteSilence: %d, %v", n, err)
	}
}

// request is a request that would succeed.
type request struct{ key, path, body string }

// requests are requests for every operation that changes something, by its id.
func (s *scene) requests() map[string]request {
	server := "/v1/providers/Example%20Hosting/servers/" + s.agent.server
	one := deployBody("{\"constraints\"", "{\"requestId\": \"r\", \"constraints\"")
	limits := `{"perDay": "10", "running": "7.5"}`
	return map[string]request{
		"deployVMs":             {s.key, "/vms/v3", one},
		"deployWithPreferences": {s.key, "/v1/vms", one},
		"updateVMs":             {s.key, "/vms/v3", `{"updates": [{"id": "` + s.vm + `", "vmName": "other", "openPorts": []}]}`},
		"setPorts":              {s.key, "/v1/vms/" + s.vm + "/ports", `{"openPorts": [], "confirmWithin": "60s"}`},
		"confirmPorts":          {s.key, "/v1/vms/" + s.vm + "/ports/confirm", ""},
		"deleteVMs":             {s.key, "/vms/v3", `{"vmIds": ["` + s.vm + `"]}`},
		"openConsole":           {s.key, "/v1/vms/" + s.vm + "/console", `{"take": true}`},
		"createQuote":           {s.key, "/v1/quotes", `{"instances": 1}`},
		"addSSHKey":             {s.nora, "/ssh_keys", `{"publicKey": "` + keyLine + `"}`},
		"deleteSSHKey":          {s.key, "/ssh_keys", `{"fingerprint": "SHA256:CSBNzi4dgeWjBe88DAxR/KNTIKym/6NrJkLytIKsFDE"}`},
		"setLimits":             {s.key, "/v1/account/limits", limits},
		"createAPIKey":          {s.key, "/v1/api-keys", `{"name": "ci", "limits": ` + limits + `}`},
		"setAPIKeyLimits":       {s.key, "/v1/api-keys/" + s.spare + "/limits", limits},
		"revokeAPIKey":          {s.key, "/v1/api-keys/" + s.spare, ""},
		"createProvider":        {s.nora, "/v1/providers", `{"name": "Nord 2"}`},
		"applyListing":          {s.nora, "/v1/providers/Nord/listing", strings.ReplaceAll(fraListing, `"0.2"`, `"0.3"`)},
		"createServerToken":     {s.nora, "/v1/providers/Nord/tokens", `{"datacenter": "de-fra-1"}`},
		"cordonServer":          {s.operator, server + "/cordon", ""},
		"uncordonServer":        {s.operator, server + "/uncordon", ""},
		"benchmarkServer":       {s.operator, server + "/benchmark", ""},
		"drainServer":           {s.operator, server + "/drain", `{"deadline": "72h"}`},
		"removeServer":          {s.operator, server + "/remove", `{"lost": true}`},
		"rebootVM":              {s.key, "/v1/vms/" + s.vm + "/reboot", ""},
		"reinstallVM":           {s.key, "/v1/vms/" + s.vm + "/reinstall", `{"image": "https://example.com/b.qcow2", "userData": "#!/bin/sh\necho hi"}`},
		"returnDisk":            {s.key, "/v1/vms/" + s.vm + "/disks/0/return", ""},
		"purgeDisk":             {s.key, "/v1/vms/" + s.vm + "/disks/0", ""},
		"rescueVM":              {s.key, "/v1/vms/" + s.vm + "/rescue", `{"sshKey": "` + keyLine + `", "image": "https://example.com/rescue.qcow2"}`},
		"unrescueVM":            {s.key, "/v1/vms/" + s.vm + "/unrescue", ""},
		"shutdownVM":            {s.key, "/v1/vms/" + s.vm + "/shutdown", ""},
		"startVM":               {s.key, "/v1/vms/" + s.vm + "/start", ""},
		"resizeVM":              {s.key, "/v1/vms/" + s.vm + "/resize", `{"storage": 30, "maxPricePerEpoch": "9"}`},
		"takeSnapshot":          {s.key, "/v1/vms/" + s.vm + "/snapshots", `{"name": "one"}`},
		"restoreVM":             {s.key, "/v1/vms/" + s.vm + "/restore", `{"snapshot": "` + s.snapshot + `"}`},
		"deleteSnapshot":        {s.key, "/v1/snapshots/" + s.snapshot, ""},
		"exportSnapshot":        {s.key, "/v1/snapshots/" + s.snapshot + "/export", ""},
		"deleteExport":          {s.key, "/v1/exports/" + s.export, ""},
		"setSchedule":           {s.key, "/v1/vms/" + s.vm + "/schedule", `{"every": "24h", "keep": 7}`},
		"deleteSchedule":        {s.key, "/v1/vms/" + s.vm + "/schedule", ""},
		"undeleteVM":            {s.key, "/v1/vms/" + s.vm + "/undelete", ""},
		"deleteVM":              {s.key, "/v1/vms/" + s.vm, ""},
		"protectVM":             {s.key, "/v1/vms/" + s.vm + "/protect", ""},
		"unprotectVM":           {s.key, "/v1/vms/" + s.vm + "/unprotect", ""},
		"setLabels":             {s.key, "/v1/vms/" + s.vm + "/labels", `{"labels": {"env": "prod"}}`},
		"changeLabels":          {s.key, "/v1/vms/" + s.vm + "/labels", `{"labels": {"tier": "web"}}`},
		"resetVM":               {s.key, "/v1/vms/" + s.vm + "/reset", ""},
		"terminateVM":           {s.operator, "/v1/providers/Example%20Hosting/vms/" + s.vm + "/terminate", `{"reason": "abuse"}`},
		"createAccount":         {s.operator, "/v1/admin/accounts", `{"name": "Bert"}`},
		"setBalance":            {s.operator, "/v1/admin/accounts/" + s.account + "/balance", `{"amount": "7", "note": "closed"}`},
		"creditAccount":         {s.operator, "/v1/admin/accounts/" + s.account + "/credit", `{"amount": "7", "note": "invoice"}`},
		"requestWithdrawal":     {s.nora, "/v1/providers/Nord/withdrawals", `{"amount": "5", "to": "IBAN 8"}`},
		"cancelWithdrawal":      {s.nora, "/v1/providers/Nord/withdrawals/" + s.asked, ""},
		"confirmWithdrawal":     {s.operator, "/v1/admin/withdrawals/" + s.asked + "/confirm", `{"reference": "tx 1"}`},
		"rejectWithdrawal":      {s.operator, "/v1/admin/withdrawals/" + s.asked + "/reject", `{"reason": "unknown"}`},
		"setAccountLimits":      {s.operator, "/v1/admin/accounts/" + s.account + "/limits", limits},
		"createJoinToken": {s.operator, "/v1/admin/join-tokens", `{"provider": "New", "country": "DE", "city": "BER", "index": 1, "tier": 1,
			"prices": {"vcpu": "0.2", "ram": "0.06", "storage": "0.004", "address": "0.1"}}`},
		"simulateFleet": {s.operator, "/v1/admin/simulation", `{"fleet": "1,6,9,US,INTEL,SAPPHIRERAPIDS,DDR5,HDD,128,1024,6400,64,21,43,262,10,92000\n"}`},
		"advanceClock":  {s.operator, "/v1/admin/clock", `{"advance": "48h"}`},
	}
}

// what is all that a dry run must not change, in memory and behind it.
func (s *scene) what() map[string][]string {
	s.t.Helper()
	all := storetest.Dump(s.t, s.url)
	if len(all) < 15 || len(all["vms"]) == 0 || len(all["entries"]) == 0 {
		s.t.Fatalf("the dump lacks tables or rows: %v", slices.Sorted(maps.Keys(all)))
	}
	for _, ask := range [][2]string{{"POST", "/marketplace/offers"}, {"POST", "/v1/offers"}, {"GET", "/v1/account"}, {"GET", "/v1/vms"}} {
		all[ask[1]] = []string{s.send(ask[0], ask[1], "").body}
	}
	tokens, _ := s.control.ConsolesOpen()
	all["consoles"] = []string{strconv.Itoa(tokens)}
	all["clock"] = []string{s.control.Now().String()}
	return all
}

// Every operation that changes something takes dryRun, is answered as it would be,
// and changes nothing: no row of any table, no offer, not the clock; nobody is
// woken, and no secret is told. Without dryRun the same request does.
func TestDryRuns(t *testing.T) {
	t.Parallel()
	for _, path := range api.OpenAPI().Paths {
		for method, op := range map[string]*huma.Operation{"POST": path.Post, "PUT": path.Put, "PATCH": path.Patch, "DELETE": path.Delete} {
			if op == nil {
				continue
			}
			takes := slices.ContainsFunc(op.Parameters, func(p *huma.Param) bool { return p.Ref == "#/components/parameters/dryRun" })
			if takes == slices.Contains(reading, op.OperationID) {
				t.Errorf("%s: dryRun is %t", op.OperationID, takes)
			}
			if takes {
				t.Run(op.OperationID, func(t *testing.T) {
					t.Parallel()
					storetest.Each(t, func(t *testing.T, e storetest.Engine) { tryDry(t, e, method, op) })
				})
			}
		}
	}
}

func tryDry(t *testing.T, e storetest.Engine, method string, op *huma.Operation) {
	t.Helper()
	s := newScene(t, e)
	switch op.OperationID {
	case "deleteSnapshot", "restoreVM", "exportSnapshot":
		s.snapshot = s.snap()
	case "deleteExport":
		var e exportAnswer
		s.send("POST", "/v1/snapshots/"+s.snap()+"/export", "").wants(http.StatusAccepted, &e)
		s.export = e.ID
	}
	r, known := s.requests()[op.OperationID]
	if !known {
		t.Fatalf("add a request to the table that %s grants", op.OperationID)
	}
	switch op.OperationID {
	case "uncordonServer":
		s.sendAs(s.operator, "POST", strings.Replace(r.path, "/uncordon", "/cordon", 1), "").wants(http.StatusOK, nil)
	case "removeServer":
		s.silence()
	case "confirmPorts":
		s.send("PUT", strings.TrimSuffix(r.path, "/confirm"), `{"openPorts": [], "confirmWithin": "60s"}`).wants(http.StatusOK, nil)
	case "unprotectVM":
		s.send("POST", strings.Replace(r.path, "/unprotect", "/protect", 1), "").wants(http.StatusNoContent, nil)
	case "deleteSchedule":
		s.send("PUT", r.path, `{"every": "24h", "keep": 7}`).wants(http.StatusOK, nil)
	case "rebootVM", "resetVM", "shutdownVM", "resizeVM", "takeSnapshot", "reinstallVM", "rescueVM":
		s.report(vm.Ready)
	case "returnDisk", "purgeDisk":
		s.report(vm.Ready)
		s.send("POST", "/v1/vms/"+s.vm+"/reinstall", "").wants(http.StatusAccepted, nil)
		s.report(vm.Ready)
	case "unrescueVM":
		s.report(vm.Ready)
		s.sendAs(r.key, "POST", strings.Replace(r.path, "/unrescue", "/rescue", 1), s.requests()["rescueVM"].body).wants(http.StatusAccepted, nil)
		s.report(vm.Ready)
	case "startVM":
		s.report(vm.Ready)
		s.send("POST", strings.Replace(r.path, "/start", "/shutdown", 1), "").wants(http.StatusAccepted, nil)
		s.report(vm.Halted)
	case "undeleteVM":
		s.report(vm.Ready)
		s.send("DELETE", strings.TrimSuffix(r.path, "/undelete"), "").wants(http.StatusOK, nil)
	}
	changes, cancel := s.control.Changes(s.agent.server)
	defer cancel()
	before := s.what()
	for range 2 {
		a := s.sendAs(r.key, method, r.path+"?dryRun=true", r.body)
		if a.status < 200 || a.status > 299 || a.header.Get("Cpucloud-Dry-Run") != "true" {
			t.Fatalf("%s: got %d %s, header %q", a.what, a.status, a.body, a.header.Get("Cpucloud-Dry-Run"))
		}
		for _, secret := range []string{`"cpu_`, `"join_`, `"con_`} {
			if strings.Contains(a.body, secret) {
				t.Errorf("%s tells a secret: %s", a.what, a.body)
			}
		}
	}
	after := s.what()
	for table, rows := range before {
		if !slices.Equal(rows, after[table]) {
			t.Errorf("%s changed by a dry run:\nbefore %v\nafter  %v", table, rows, after[table])
		}
	}
	select {
	case <-changes:
		t.Error("the agent was woken")
	default:
	}
	a := s.sendAs(r.key, method, r.path+"?dryRun=perhaps", r.body)
	a.refused(http.StatusBadRequest, `dryRun "perhaps" is neither true nor false`)
	a = s.sendAs(r.key, method, r.path+"?dryRun=false", r.body)
	if a.status < 200 || a.status > 299 || a.header.Get("Cpucloud-Dry-Run") != "" {
		t.Fatalf("%s: got %d %s", a.what, a.status, a.body)
	}
	if after = s.what(); maps.EqualFunc(before, after, slices.Equal[[]string]) {
		t.Errorf("%s changes nothing even when it is meant", a.what)
	}
}

// A dry run of a deployment says what it would cost and leave, within the limits.
func TestDryDeployment(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.send("PUT", "/v1/account/limits", `{"perDay": "2"}`).wants(http.StatusOK, nil)
	type plan struct {
		DryRun bool `json:"dryRun"`
		estimateAnswer
		Left     string         `json:"balanceAfter"`
		Limits   spendingAnswer `json:"limits"`
		Repeated []struct {
			ID   string `json:"vmId"`
			Name string `json:"vmName"`
		} `json:"repeated"`
	}
	for _, path := range []string{"/vms/v3?dryRun=true", "/v1/vms?dryRun=true"} {
		var got plan
		c.send("POST", path, deployBody(`"instances": 1`, `"instances": 2`), "Idempotency-Key: k").wants(http.StatusOK, &got)
		if !got.DryRun || got.Deposit != "3.36" || got.Total != "1.68" || got.Dearest != "0.84" || got.Instances != 2 || got.Left != "96.64" ||
			got.Limits.PerDay.Used != "1.68" || *got.Limits.PerDay.Limit != "2" || got.Repeated != nil {
			t.Errorf("%s: %+v", path, got)
		}
		c.send("POST", path, deployBody(`"instances": 1`, `"instances": 3`)).refused(422, "the limit of the account is 2 USDC charged per day")
		c.send("POST", path, deployBody(`"instances": 1`, `"instances": 5`)).refused(422, "Not enough offers found")
	}
	c.send("POST", "/vms/v3", deployBody(), "Idempotency-Key: k").wants(http.StatusOK, nil)
	var got plan
	c.send("POST", "/vms/v3?dryRun=true", deployBody(), "Idempotency-Key: k").wants(http.StatusOK, &got)
	if len(got.Repeated) != 1 || got.Deposit != "0" || got.Left != "98.32" {
		t.Errorf("the same request once more: %+v", got)
	}
	c.send("POST", "/vms/v3?dryRun=true", deployBody("web-1", "web-2"), "Idempotency-Key: k").refused(409, "was used for another request")
	if _, err := c.control.Fsck(t.Context(), control.System); err != nil {
		t.Error(err)
	}
}
