package api_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/vm"
)

// The life of a VM as its customer sees it: new, launching, active, gone.
func TestLife(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	ids := c.deploy("2")
	if len(ids) != 2 || ids[0] == ids[1] {
		t.Fatalf("deployed %v, want two", ids)
	}
	v := c.one(ids[0])
	if v.Name != "web-1" || v.Status != "New" || v.PublicIP != nil || v.OSImage != ubuntu || v.NextBillingAt != nil || v.TerminatedAt != nil {
		t.Errorf("after the deployment: %+v", v)
	}
	if v.PricePerEpoch != "0.84" || v.ReservedBalance != "1.68" || v.TotalSpent != "0" || c.balance() != "96.64" {
		t.Errorf("after the deployment: %+v, balance %s", v, c.balance())
	}
	if want := []portAnswer{{22, "tcp"}, {80, "tcp"}}; !slices.Equal(v.Ports, want) {
		t.Errorf("ports %v, want %v", v.Ports, want)
	}
	if v.Datacenter.Slug != "us-nyc-1" || v.Datacenter.Certifications == nil {
		t.Errorf("datacenter %+v", v.Datacenter)
	}
	want := map[string]resourceAnswer{
		"VCPU": {Supply: 2, Units: "vCPU"}, "RAM": {Supply: 4, Units: "GiB"}, "STORAGE": {Supply: 25, Units: "GiB"}, "PUBLIC_IP": {Supply: 1, Units: "address"},
	}
	for _, r := range v.Resources {
		if w := want[r.Type]; r.Supply != w.Supply || r.Quantity != w.Supply || r.Units != w.Units || r.Details == nil || r.Metadata == nil {
			t.Errorf("resource %+v, want %+v", r, w)
		}
		delete(want, r.Type)
	}
	if len(want) > 0 {
		t.Errorf("resources %v are missing", want)
	}

	c.report(vm.Booting)
	if v := c.one(ids[0]); v.Status != "Launching" || v.PublicIP != nil {
		t.Errorf("while it boots: %s, %v", v.Status, v.PublicIP)
	}
	c.report(vm.Ready)
	v = c.one(ids[0])
	if v.Status != "Active" || v.PublicIP == nil || v.NextBillingAt == nil || v.ReservedBalance != "0.84" || v.TotalSpent != "0.84" {
		t.Errorf("once it is up: %+v", v)
	}
	if !strings.HasSuffix(v.StatusChangedAt, "Z") {
		t.Errorf("statusChangedAt %s is not UTC", v.StatusChangedAt)
	}

	var removed removedAnswer
	c.send("DELETE", "/vms/v3", `{"vmIds": ["`+strings.ToLower(ids[0])+`", "`+ids[0]+`"]}`).wants(http.StatusOK, &removed)
	if !slices.Equal(removed.RemovedIDs, ids[:1]) || !slices.Equal(removed.CamelIDs, ids[:1]) || removed.Transactions == nil {
		t.Errorf("removed %+v, want %s", removed, ids[0])
	}
	if list := c.list(""); len(list) != 1 || list[0].ID != ids[1] || c.balance() != "97.48" {
		t.Errorf("after the deletion: %+v, balance %s", list, c.balance())
	}
	c.send("DELETE", "/vms/v3", `{"vm_ids": ["`+ids[0]+`"]}`).wants(http.StatusOK, nil)
	if got := c.balance(); got != "97.48" {
		t.Errorf("a second deletion made the balance %s", got)
	}
	c.send("PATCH", "/vms/v3", `{"updates": [{"id": "`+ids[0]+`", "vmName": "ghost"}]}`).refused(404, ids[0])
	c.send("GET", "/v1/vms/"+ids[0], "").refused(404, ids[0])
}

// A VM that can't be launched stays listed, its deposit is returned.
func TestFailed(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	ids := c.deploy("1")
	c.report(vm.Broken)
	v := c.one(ids[0])
	if v.Status != "Failed" || v.PublicIP != nil || v.TerminatedAt == nil || v.NextBillingAt != nil || c.balance() != "100" {
		t.Errorf("got %+v, balance %s", v, c.balance())
	}
	var story storyAnswer
	c.send("GET", "/v1/vms/"+ids[0], "").wants(http.StatusOK, &story)
	if story.Reason == nil || len(story.Timeline) < 2 {
		t.Errorf("the story doesn't say why: %+v", story)
	}
}

func (c *cloud) list(query string) []vmAnswer {
	c.t.Helper()
	var list []vmAnswer
	c.send("GET", "/vms/v3"+query, "", "Content-Type: application/json").wants(http.StatusOK, &list)
	if list == nil {
		c.t.Errorf("GET /vms/v3%s is null", query)
	}
	return list
}

func (c *cloud) one(id string) vmAnswer {
	c.t.Helper()
	list := c.list("?vm_id=" + id)
	if len(list) != 1 {
		c.t.Fatalf("VM %s is listed %d times", id, len(list))
	}
	return list[0]
}

func (c *cloud) balance() string {
	c.t.Helper()
	return c.look().Balance
}

func TestListFilters(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	if got := c.list(""); len(got) != 0 {
		t.Fatalf("a new account has %d VMs", len(got))
	}
	ids := c.deploy("3")
	c.report(vm.Ready)
	ids = append(ids, c.deploy("1")...)
	for query, want := range map[string]int{
		"": 4, "?": 4, "?unknown=1": 4, "?dealStatus=Active": 4, "?status=": 4,
		"?status=Active": 3, "?status=active,New": 4, "?status=Active&status=New": 4, "?status=Active%2CNew": 4, "?status=Terminated": 0,
		"?dcSlug=us-nyc-1": 4, "?dcSlug=US-NYC-1": 4, "?dcSlug=de-fra-1": 0, "?dcSlug=us-nyc-1&status=New": 1,
		"?vm_id=" + ids[0]: 1, "?vm_id=" + strings.ToUpper(ids[0][2:]): 0, "?vm_id=0x" + strings.ToUpper(ids[0][2:]): 1, "?vm_id=" + unknown: 0, "?vm_id=x": 0,
		"?terminatedAt=2026-01-01T00:00:00Z":                  0,
		"?pagination[page]=1":                                 4,
		"?pagination[page]=1&pagination[per_page]=3":          3,
		"?pagination%5Bpage%5D=2&pagination%5Bper_page%5D=3":  1,
		"?pagination[page]=3&pagination[per_page]=3":          0,
		"?pagination[per_page]=2":                             2,
		"?pagination[page]=1000000&pagination[per_page]=9999": 0,
	} {
		if got := c.list(query); len(got) != want {
			t.Errorf("GET /vms/v3%s: %d VMs, want %d", query, len(got), want)
		}
	}
	for query, says := range map[string]string{
		"?status=Asleep": "status", "?terminatedAt=yesterday": "terminatedAt", "?pagination[page]=0": "pagination[page]",
		"?pagination[page]=x": "pagination[page]", "?pagination[per_page]=-1": "per_page", "?pagination[per_page]=10001": "per_page",
		"?pagination[page]=9223372036854775807": "pagination[page]",
	} {
		c.send("GET", "/vms/v3"+query, "").refused(422, says)
	}
	c.send("GET", "/vms/v3?vm_id=%zz", "").refused(400, "query")
}

func TestStatuses(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	ids := c.deploy("2")
	c.report(vm.Ready)
	_, stranger := c.newAccount("stranger", "customer")
	for query, want := range map[string]int{
		"": 0, "?ids=": 0, "?ids=" + ids[0]: 1, "?ids=" + strings.ToLower(ids[0]): 1, "?ids=" + ids[0] + "," + ids[1]: 2,
		"?ids=" + url.QueryEscape(ids[0]+","+ids[1]): 2, "?ids=" + ids[0] + "&ids=" + ids[1]: 2, "?ids=" + ids[0] + "," + ids[0]: 1,
		"?ids=" + ids[0] + "," + unknown + ",x": 1, "?ids=" + unknown: 0,
	} {
		var got []statusAnswer
		c.send("GET", "/vms/v3/status"+query, "").wants(http.StatusOK, &got)
		if len(got) != want || got == nil {
			t.Errorf("%s: %v, want %d", query, got, want)
		}
		for _, s := range got {
			if s.Status != "Active" || s.PublicIP == nil || !slices.Contains(ids, s.ID) {
				t.Errorf("%s: %+v", query, s)
			}
		}
		c.sendAs(stranger, "GET", "/vms/v3/status"+query, "").wants(http.StatusOK, &got)
		if len(got) != 0 {
			t.Errorf("a stranger sees %v", got)
		}
	}
	many := "?ids=" + strings.Repeat("x,", 10_001)
	c.send("GET", "/vms/v3/status"+many, "").refused(422, "ids")
}

func TestUpdate(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	id := c.deploy("1")[0]
	patch := func(update string) {
		t.Helper()
		a := c.send("PATCH", "/vms/v3", `{"updates": [{"id": "`+strings.ToUpper(id[:2])+id[2:]+`", `+update+`, "note": 1}]}`)
		a.wants(http.StatusNoContent, nil)
		if a.body != "" {
			t.Errorf("PATCH answers %q", a.body)
		}
	}
	patch(`"vmName": "web-2"`)
	if v := c.one(id); v.Name != "web-2" || len(v.Ports) != 2 {
		t.Errorf("a new name: %+v", v)
	}
	patch(`"openPorts": [{"port": 443, "protocol": "TCP", "description": "https"}, {"port": 53.0, "protocol": "udp"}, {"port": 53, "protocol": "tcp"}]`)
	want := []portAnswer{{53, "tcp"}, {53, "udp"}, {443, "tcp"}}
	if v := c.one(id); v.Name != "web-2" || !slices.Equal(v.Ports, want) {
		t.Errorf("new ports: %+v, want %v", v, want)
	}
	patch(`"vmName": null, "openPorts": null`)
	if v := c.one(id); v.Name != "web-2" || !slices.Equal(v.Ports, want) {
		t.Errorf("nulls changed something: %+v", v)
	}
	patch(`"openPorts": []`)
	if v := c.one(id); v.Ports == nil || len(v.Ports) != 0 {
		t.Errorf("no ports: %+v", v)
	}
	c.send("PATCH", "/vms/v3", `{"updates": []}`).wants(http.StatusNoContent, nil)
}

func TestBadUpdates(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	ids := c.deploy("2")
	c.unchanged("a bad update", func() {
		for _, row := range []struct {
			update string
			status int
			says   string
		}{
			{`"vmName": "web 2"`, 422, "name"},
			{`"vmName": ""`, 422, "name"},
			{`"vmName": 7`, 400, "updates.vmName has to be a string, not number"},
			{`"openPorts": 80`, 400, "updates.openPorts has to be an array"},
			{`"openPorts": [80]`, 400, "updates.openPorts has to be an object"},
			{`"openPorts": [{"port": "80", "protocol": "tcp"}]`, 400, "updates.openPorts.port has to be a whole number"},
			{`"openPorts": [{"port": 10250, "protocol": "tcp"}]`, 422, "10250"},
			{`"openPorts": [{"port": 80, "protocol": "tcp"}, {"port": 80, "protocol": "tcp"}]`, 422, "twice"},
			{`"openPorts": [null]`, 422, "port 0"},
		} {
			// The first is fine: all are made, or none.
			body := `{"updates": [{"id": "` + ids[0] + `", "vmName": "fine"}, {"id": "` + ids[1] + `", ` + row.update + `}]}`
			c.send("PATCH", "/vms/v3", body).refused(row.status, row.says)
		}
		c.send("PATCH", "/vms/v3", `{"updates": [{"id": "`+ids[0]+`", "vmName": "fine"}, {"id": "`+unknown+`", "vmName": "x"}]}`).refused(404, unknown)
		c.send("PATCH", "/vms/v3", `{"updates": [{"vmName": "x"}]}`).refused(422, "updates.id is missing")
		c.send("PATCH", "/vms/v3", `{"updates": [null]}`).refused(422, "updates.id is missing")
		c.send("PATCH", "/vms/v3", `{"updates": {"id": "x"}}`).refused(400, "updates has to be an array")
		c.send("PATCH", "/vms/v3", `{"updates": null}`).refused(422, "updates is missing")
		c.send("PATCH", "/vms/v3", "").refused(422, "updates is missing")
	})
}

func TestBadDeletions(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	id := c.deploy("1")[0]
	c.unchanged("a bad deletion", func() {
		c.send("DELETE", "/vms/v3", "").refused(422, "vmIds is missing")
		c.send("DELETE", "/vms/v3", `{"vmIds": null}`).refused(422, "vmIds is missing")
		c.send("DELETE", "/vms/v3", `{"vmIds": "`+id+`"}`).refused(400, "vmIds has to be an array, not string")
		c.send("DELETE", "/vms/v3", `{"vmIds": [7]}`).refused(400, "vmIds has to be a string, not number")
		c.send("DELETE", "/vms/v3", `{"vmIds": ["`+id+`", "`+unknown+`"]}`).refused(404, unknown)
		c.send("DELETE", "/vms/v3", `{"vmIds": ["`+id+`", "web-1"]}`).refused(404, "web-1")
		c.send("DELETE", "/vms/v3", `{"vmIds": [`+strings.Repeat(`"`+id+`",`, 10_000)+`"`+id+`"]}`).refused(422, "ids")
		c.send("DELETE", "/vms/v3", `{"vmIds": []}`).wants(http.StatusOK, nil)
	})
}

// Whatever belongs to another account answers as if it weren't there.
func TestForeign(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	id := c.deploy("1")[0]
	c.send("POST", "/ssh_keys", `{"name": "laptop", "publicKey": "`+keyLine+`"}`).wants(http.StatusCreated, nil)
	_, stranger := c.newAccount("stranger", "customer")
	c.unchanged("a stranger", func() {
		for _, key := range []string{stranger, c.operator} {
			c.sendAs(key, "PATCH", "/vms/v3", `{"updates": [{"id": "`+id+`", "vmName": "mine"}]}`).refused(404, "no VM with id")
			c.sendAs(key, "DELETE", "/vms/v3", `{"vmIds": ["`+id+`"]}`).refused(404, "no VM with id")
			c.sendAs(key, "GET", "/v1/vms/"+id, "").refused(404, "no VM with id")
			c.sendAs(key, "GET", "/v1/vms/"+id+"?wait=Active&timeout=0s", "").refused(404, "no VM with id")
			c.sendAs(key, "DELETE", "/ssh_keys", `{"fingerprint": "`+fingerprint+`"}`).refused(404, "fingerprint")
			c.sendAs(key, "POST", "/vms/v3", deployBody(keyLine, "laptop")).refused(422, "laptop")
			for _, path := range []string{"/vms/v3", "/vms/v3?vm_id=" + id, "/ssh_keys"} {
				if a := c.sendAs(key, "GET", path, ""); a.body != "[]" {
					t.Errorf("GET %s shows %s", path, a.body)
				}
			}
		}
	})
}

// One VM tells its story, and can be waited for.
func TestWait(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	id := c.deploy("1")[0]
	var story storyAnswer
	c.send("GET", "/v1/vms/"+strings.ToLower(id), "").wants(http.StatusOK, &story)
	if story.ID != id || story.Hostname != "web-1" || story.Reason == nil || story.Deadline == nil || len(story.Timeline) != 1 {
		t.Errorf("story %+v", story)
	}
	c.send("GET", "/v1/vms/"+id+"?wait=Active&timeout=1ms", "").wants(http.StatusOK, &story)
	if story.Status != "New" {
		t.Errorf("waited in vain and got %s", story.Status)
	}
	waited := make(chan answer)
	go func() { waited <- c.send("GET", "/v1/vms/"+id+"?wait=active&timeout=20s", "") }()
	c.report(vm.Booting)
	c.report(vm.Ready)
	select {
	case a := <-waited:
		a.wants(http.StatusOK, &story)
	case <-time.After(10 * time.Second):
		t.Fatal("the wait did not end")
	}
	if story.Status != "Active" || story.Deadline != nil || story.Reason != nil {
		t.Errorf("waited and got %+v", story)
	}
	for query, says := range map[string]string{
		"?wait=Ready": "wait", "?wait=Active,New": "one status", "?wait=Active&timeout=121s": "timeout", "?wait=Active&timeout=soon": "timeout",
		"?wait=Active&timeout=-1s": "timeout", "?timeout=60": "timeout",
	} {
		c.send("GET", "/v1/vms/"+id+query, "").refused(422, says)
	}
	c.send("GET", "/v1/vms/"+unknown, "").refused(404, unknown)
	c.send("GET", "/v1/vms/web-1?wait=Active", "").refused(404, "web-1")
}
