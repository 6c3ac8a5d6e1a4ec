package api_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/api"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// condition is what a VM may be in while the published routes are asked of it. To add
// one: say how a VM comes to it from New, the status that they show, and what it must
// be told like.
type condition struct {
	bring    func(c *cloud, id string)
	status   string // "" for a VM that they don't list
	like     string // the condition whose VM they must not be able to tell from it, "" for none
	given    string // members of its deployment by /v1/vms
	keeps    bool   // DELETE is refused
	reported vm.Phase
}

var conditions = map[string]condition{
	"New":       {status: "New"},
	"Launching": {status: "Launching", reported: vm.Preparing},
	"Active":    {status: "Active", reported: vm.Ready},
	"SmallBalance": {status: "SmallBalance", reported: vm.Ready, bring: func(c *cloud, _ string) {
		c.spendAll()
		c.pass(24 * time.Hour)
	}},
	"InsufficientFunds": {status: "InsufficientFunds", reported: vm.Ready, bring: func(c *cloud, _ string) {
		c.spendAll()
		c.pass(48 * time.Hour)
	}},
	"started again": {status: "Launching", reported: vm.Ready, bring: func(c *cloud, _ string) {
		c.spendAll()
		c.pass(48 * time.Hour)
		_, err := c.control.Credit(c.t.Context(), control.System, c.account, gift(start*money.USDC))
		c.must(err)
		c.pass(0)
	}},
	"Terminated": {status: "Terminated", reported: vm.Ready, bring: func(c *cloud, id string) {
		c.sendAs(c.operator, "POST", "/v1/providers/Example%20Hosting/vms/"+id+"/terminate", `{"reason": "abuse"}`).wants(http.StatusOK, nil)
	}},
	"Failed": {status: "Failed", reported: vm.Broken},
	"deleted": {reported: vm.Ready, bring: func(c *cloud, id string) {
		c.send("DELETE", "/vms/v3", `{"vmIds": ["`+id+`"]}`).wants(http.StatusOK, nil)
	}},
	"deleted and purged": {reported: vm.Ready, bring: func(c *cloud, id string) {
		c.send("DELETE", "/vms/v3", `{"vmIds": ["`+id+`"]}`).wants(http.StatusOK, nil)
		c.report(vm.Ready)
	}},
	"asked to reboot": {status: "Active", like: "Active", reported: vm.Ready, bring: func(c *cloud, id string) {
		c.send("POST", "/v1/vms/"+id+"/reboot", "").wants(http.StatusAccepted, nil)
	}},
	"rebooting": {status: "Active", like: "Active", reported: vm.Ready, bring: func(c *cloud, id string) {
		c.send("POST", "/v1/vms/"+id+"/reboot", "").wants(http.StatusAccepted, nil)
		c.report(vm.Booting)
	}},
	"reset": {status: "Active", like: "Active", reported: vm.Ready, bring: func(c *cloud, id string) {
		c.send("POST", "/v1/vms/"+id+"/reset", "").wants(http.StatusAccepted, nil)
	}},
	"asked to shut down": {status: "Active", like: "Active", reported: vm.Ready, bring: func(c *cloud, id string) {
		c.send("POST", "/v1/vms/"+id+"/shutdown", "").wants(http.StatusAccepted, nil)
	}},
	"shut down": {status: "Active", like: "Active", reported: vm.Ready, bring: func(c *cloud, id string) {
		c.send("POST", "/v1/vms/"+id+"/shutdown", "").wants(http.StatusAccepted, nil)
		c.report(vm.Halted)
	}},
	"shut down, and started": {status: "Active", like: "Active", reported: vm.Ready, bring: func(c *cloud, id string) {
		c.send("POST", "/v1/vms/"+id+"/shutdown", "").wants(http.StatusAccepted, nil)
		c.report(vm.Halted)
		c.send("POST", "/v1/vms/"+id+"/start", "").wants(http.StatusAccepted, nil)
	}},
	"shut down, and the epoch over": {status: "Active", reported: vm.Ready, bring: func(c *cloud, id string) {
		c.send("POST", "/v1/vms/"+id+"/shutdown", "").wants(http.StatusAccepted, nil)
		c.report(vm.Halted)
		c.pass(24 * time.Hour)
	}},
	"resized": {status: "Active", reported: vm.Ready, bring: func(c *cloud, id string) {
		c.send("POST", "/v1/vms/"+id+"/resize", `{"storage": 30, "maxPricePerEpoch": "9"}`).wants(http.StatusAccepted, nil)
	}},
	"in rescue": {status: "Active", like: "Active", reported: vm.Ready, bring: func(c *cloud, id string) {
		c.send("POST", "/v1/vms/"+id+"/rescue", `{"sshKey": "`+keyLine+`", "image": "https://example.com/rescue.qcow2"}`).wants(http.StatusAccepted, nil)
	}},
	"deleted, and undeleted": {status: "Launching", reported: vm.Ready, bring: func(c *cloud, id string) {
		c.send("DELETE", "/v1/vms/"+id, "").wants(http.StatusOK, nil)
		c.send("POST", "/v1/vms/"+id+"/undelete", "").wants(http.StatusAccepted, nil)
	}},
	"deleted, kept, and the time over": {reported: vm.Ready, bring: func(c *cloud, id string) {
		c.send("DELETE", "/v1/vms/"+id, "").wants(http.StatusOK, nil)
		c.pass(48 * time.Hour)
	}},
	"protected": {status: "Active", like: "Active", reported: vm.Ready, keeps: true, bring: func(c *cloud, id string) {
		c.send("POST", "/v1/vms/"+id+"/protect", "").wants(http.StatusNoContent, nil)
	}},
	"labelled":           {status: "Active", like: "Active", reported: vm.Ready, given: `"labels": {"env": "prod", "tier": ""}`},
	"with user data":     {status: "New", like: "New", given: `"userData": "#!/bin/sh\necho secret"`},
	"with user data, up": {status: "Active", like: "Active", reported: vm.Ready, given: `"userData": "#!/bin/sh\necho secret"`},
	"its ports to be confirmed": {status: "Active", reported: vm.Ready, bring: func(c *cloud, id string) {
		c.send("PUT", "/v1/vms/"+id+"/ports", `{"openPorts": [{"port": 22, "protocol": "tcp"}], "confirmWithin": "60s"}`).wants(http.StatusOK, nil)
	}},
	"its machine stopped": {status: "Active", like: "Active", reported: vm.Ready, bring: func(c *cloud, _ string) { c.report(vm.Booting) }},
	"its server drained": {status: "Active", like: "Active", reported: vm.Ready, bring: func(c *cloud, _ string) {
		c.sendAs(c.operator, "POST", "/v1/providers/Example%20Hosting/servers/"+c.agent.server+"/drain", `{"deadline": "72h"}`).wants(http.StatusOK, nil)
	}},
	"its server silent": {status: "Active", like: "Active", reported: vm.Ready, bring: func(c *cloud, _ string) {
		c.control.Advance(2 * control.SilentAfter)
		_, err := c.control.NoteSilence(c.t.Context())
		c.must(err)
	}},
	"its image waited for": {status: "Launching", like: "Launching", bring: func(c *cloud, id string) {
		c.agent.sequence++
		c.must(c.control.Observe(c.t.Context(), c.agent.server, vm.Report{Sequence: c.agent.sequence, Inventory: c.agent.inventory, VMs: []vm.Sighting{{
			ID: id, Phase: vm.Preparing, Reason: "no image; it is tried again", Retry: &vm.Retry{Attempt: 2, Of: 7, At: c.control.Now().Add(time.Second)},
		}}}))
	}},
}

// shape is what a VM has on the published routes, member by member: the kinds of JSON
// that it may be. It is written down here, and not taken from the code.
var shape = map[string]string{
	"id": "string", "vmName": "string", "status": "string", "pricePerEpoch": "string", "reservedBalance": "string", "totalSpent": "string",
	"createdAt": "string", "statusChangedAt": "string", "nextBillingAt": "string null", "terminatedAt": "string null", "osImage": "string",
	"publicIp": "string null", "resources": "array", "datacenter": "object", "ports": "array",
	"resources[].type": "string", "resources[].supply": "number", "resources[].units": "string", "resources[].quantity": "number",
	"resources[].details": "object", "resources[].metadata": "object",
	"datacenter.id": "string", "datacenter.countryCode": "string", "datacenter.cityCode": "string", "datacenter.cityIndex": "number", "datacenter.index": "number",
	"datacenter.tier": "number", "datacenter.certifications": "array", "datacenter.certifications[]": "string", "datacenter.slug": "string",
	"ports[].port": "number", "ports[].protocol": "string",
}

// published are the words of the published description.
var published = []string{"New", "Launching", "Active", "SmallBalance", "InsufficientFunds", "Terminated", "Stopped", "Failed"}

// answers are the codes with which the published description has these routes answer.
var answers = map[string][]int{
	"listVMs": {200, 403, 422}, "getVMStatuses": {200, 403, 422}, "updateVMs": {204, 400, 403, 404, 422}, "deleteVMs": {200, 400, 403, 404, 409, 422},
}

// The published routes answer as they always did, whatever is done to a VM by the
// newer ones: with the same members, words and codes.
func TestPublishedRoutesInEveryState(t *testing.T) {
	t.Parallel()
	for _, word := range published {
		if !slices.ContainsFunc(slices.Collect(maps.Values(conditions)), func(c condition) bool { return c.status == word }) && word != "Stopped" {
			t.Errorf("no condition is %s", word)
		}
	}
	shown := map[string]map[string]any{}
	for _, name := range []string{"New", "Launching", "Active"} {
		shown[name] = bring(t, name).alike()
	}
	for name, condition := range conditions {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := bring(t, name)
			s.lists()
			if condition.like != "" && !reflect.DeepEqual(s.alike(), shown[condition.like]) {
				t.Errorf("a VM that is %q is told from one that is %s:\n%v\n%v", name, condition.like, s.alike(), shown[condition.like])
			}
			s.changes()
			s.deletes()
		})
	}
}

// stage is a cloud with a VM in a condition.
type stage struct {
	*cloud
	condition
	id string
}

func bring(t *testing.T, name string) *stage {
	t.Helper()
	s := &stage{cloud: newCloud(t), condition: conditions[name]}
	var made []struct {
		ID   string `json:"vmId"`
		Name string `json:"vmName"`
	}
	if s.given == "" {
		s.send("POST", "/vms/v3", deployBody()).wants(http.StatusOK, &made)
	} else {
		s.send("POST", "/v1/vms", deployBody(`"instances": 1`, `"instances": 1, `+s.given)).wants(http.StatusCreated, &made)
	}
	s.id = made[0].ID
	if s.reported != "" {
		s.report(s.reported)
	}
	if s.bring != nil {
		s.bring(s.cloud, s.id)
	}
	return s
}

func (c *cloud) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// spendAll takes the customer's balance away.
func (c *cloud) spendAll() {
	c.t.Helper()
	_, err := c.control.SetBalance(c.t.Context(), control.System, c.account, 0, "spent elsewhere")
	c.must(err)
}

// ask sends a request, and reports a code that the published description hasn't, or
// that the document of today doesn't tell.
func (s *stage) ask(op, method, path, body string) answer {
	s.t.Helper()
	a := s.send(method, path, body)
	_, told := operations(api.OpenAPI())[op].Responses[strconv.Itoa(a.status)]
	if !slices.Contains(answers[op], a.status) || !told {
		s.t.Errorf("%s: %d is none of %v; in the document it is %t", a.what, a.status, answers[op], told)
	}
	return a
}

// vms returns the VMs that the list shows, with every member.
func (s *stage) vms(query string) []map[string]any {
	s.t.Helper()
	var list []map[string]any
	s.ask("listVMs", "GET", "/vms/v3"+query, "").wants(http.StatusOK, &list)
	return list
}

// alike returns the VM as the list shows it, without what differs from VM to VM.
func (s *stage) alike() map[string]any {
	s.t.Helper()
	list := s.vms("")
	if len(list) != 1 {
		s.t.Fatalf("%d VMs are listed", len(list))
	}
	v := list[0]
	delete(v, "id")
	place, _ := v["datacenter"].(map[string]any)
	delete(place, "id")
	return v
}

// lists looks at the answers of GET.
func (s *stage) lists() {
	s.t.Helper()
	var short []map[string]any
	s.ask("getVMStatuses", "GET", "/vms/v3/status?ids="+s.id, "").wants(http.StatusOK, &short)
	list := s.vms("")
	if s.status == "" {
		if len(list) != 0 || len(short) != 0 {
			s.t.Errorf("listed: %v, %v", list, short)
		}
		return
	}
	if len(list) != 1 || len(short) != 1 || len(s.vms("?status="+s.status)) != 1 || len(s.vms("?vm_id="+s.id)) != 1 {
		s.t.Fatalf("listed: %v, %v", list, short)
	}
	v, ended := list[0], s.status == "Failed" || s.status == "Terminated"
	s.fits(v, shape)
	s.fits(short[0], map[string]string{"id": "string", "status": "string", "statusChangedAt": "string", "publicIp": "string null"})
	for member, value := range short[0] {
		if !reflect.DeepEqual(v[member], value) {
			s.t.Errorf("%s is %v in the list and %v in the statuses", member, v[member], value)
		}
	}
	if v["status"] != s.status || !slices.Contains(published, s.status) || v["id"] != s.id || v["vmName"] != "web-1" || v["osImage"] != ubuntu {
		s.t.Errorf("shown as %v", v)
	}
	runs := s.status == "Active" || s.status == "SmallBalance"
	if (v["publicIp"] != nil) != runs || (v["nextBillingAt"] != nil) != runs || (v["terminatedAt"] != nil) != ended {
		s.t.Errorf("publicIp %v, nextBillingAt %v, terminatedAt %v", v["publicIp"], v["nextBillingAt"], v["terminatedAt"])
	}
}

// fits reports members that are missing, or are too many, or are not of their kind.
func (s *stage) fits(v any, shape map[string]string) {
	s.t.Helper()
	found := map[string]string{}
	walk("", v, found)
	for path, kind := range found {
		if !slices.Contains(strings.Fields(shape[path]), kind) {
			s.t.Errorf("%s is %s, want %q", path, kind, shape[path])
		}
	}
	for path := range shape {
		if _, is := found[path]; !is {
			s.t.Errorf("%s is missing", path)
		}
	}
}

// walk notes the kind of each member below v, at its path. What hardware is made of is
// not looked into.
func walk(path string, v any, found map[string]string) {
	if path != "" {
		found[path] = kindOf(v)
	}
	switch v := v.(type) {
	case map[string]any:
		if path == "resources[].details" || path == "resources[].metadata" {
			return
		}
		for name, member := range v {
			walk(strings.TrimPrefix(path+"."+name, "."), member, found)
		}
	case []any:
		for _, element := range v {
			if _, isObject := element.(map[string]any); !isObject {
				walk(path+"[]", element, found)
				continue
			}
			inner := map[string]string{}
			walk(path+"[]", element, inner)
			delete(inner, path+"[]")
			maps.Copy(found, inner)
		}
	}
}

func kindOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case string:
		return "string"
	case float64:
		return "number"
	case bool:
		return "boolean"
	case []any:
		return "array"
	}
	return "object"
}

// changes looks at the answers of PATCH.
func (s *stage) changes() {
	s.t.Helper()
	a := s.ask("updateVMs", "PATCH", "/vms/v3", `{"updates": [{"id": "`+s.id+`", "vmName": "other", "openPorts": [{"port": 443, "protocol": "tcp"}]}]}`)
	if s.status == "" {
		s.refuses(a, http.StatusNotFound)
		return
	}
	if a.status != http.StatusNoContent || a.body != "" {
		s.t.Errorf("%s: %d %q", a.what, a.status, a.body)
	}
	v := s.vms("")[0]
	if ports := fmt.Sprint(v["ports"]); v["vmName"] != "other" || ports != "[map[port:443 protocol:tcp]]" || v["status"] != s.status {
		s.t.Errorf("after PATCH it is %v", v)
	}
	s.refuses(s.ask("updateVMs", "PATCH", "/vms/v3", `{"updates": [{"id": "`+s.id+`", "openPorts": [{"port": 10250, "protocol": "tcp"}]}]}`), http.StatusUnprocessableEntity)
}

// deletes looks at the answers of DELETE, twice.
func (s *stage) deletes() {
	s.t.Helper()
	for range 2 {
		a := s.ask("deleteVMs", "DELETE", "/vms/v3", `{"vmIds": ["`+s.id+`"]}`)
		if s.keeps {
			s.refuses(a, http.StatusConflict)
			continue
		}
		var got map[string]any
		a.wants(http.StatusOK, &got)
		if want := (map[string]any{"removed_ids": []any{s.id}, "removedIds": []any{s.id}, "transactions": []any{}}); !reflect.DeepEqual(got, want) {
			s.t.Errorf("%s: %v, want %v", a.what, got, want)
		}
	}
	if left := len(s.vms("")); (left == 1) != s.keeps {
		s.t.Errorf("%d VMs are listed after DELETE", left)
	}
}

// refuses reports an answer that is not this code with an error and nothing else.
func (s *stage) refuses(a answer, status int) {
	s.t.Helper()
	a.refused(status, "")
	var body map[string]any
	if err := json.Unmarshal([]byte(a.body), &body); err != nil || len(body) != 1 {
		s.t.Errorf("%s: %s has other members than error", a.what, a.body)
	}
}
