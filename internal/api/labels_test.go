package api_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/vm"
)

type labelled struct {
	ID     string            `json:"id"`
	Name   string            `json:"vmName"`
	Labels map[string]string `json:"labels"`
}

// read reads of an answer what T has of it.
func read[T any](a answer) (out T) {
	a.t.Helper()
	if err := json.Unmarshal([]byte(a.body), &out); err != nil || a.status != http.StatusOK {
		a.t.Fatalf("%s: %d %s, %v", a.what, a.status, a.body, err)
	}
	return out
}

// chosen returns the names of the VMs that selectors choose.
func (c *cloud) chosen(selectors ...string) (names []string) {
	c.t.Helper()
	for _, v := range read[[]labelled](c.send("GET", "/v1/vms?"+url.Values{"label": selectors}.Encode(), "")) {
		names = append(names, v.Name)
	}
	return names
}

// Labels are given at deploy, changed as a whole or one by one, and choose VMs.
func TestLabels(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	made := map[string]string{}
	for name, given := range map[string]string{
		"web": `, "labels": {"env": "prod", "tier": "web"}`, "db": `, "labels": {"env": "prod", "tier": "db", "example.com/owner": "anna"}`, "plain": ``,
	} {
		var out []struct {
			ID   string `json:"vmId"`
			Name string `json:"vmName"`
		}
		body := deployBody(`"name": "web-1"`, `"name": "`+name+`"`, `{"constraints"`, `{"requestId": "`+name+`", "constraints"`, `"instances": 1`, `"instances": 1`+given)
		c.send("POST", "/v1/vms", body).wants(http.StatusCreated, &out)
		made[name] = out[0].ID
	}
	for selector, want := range map[string][]string{
		"env=prod": {"db", "web"}, "tier!=web": {"db", "plain"}, "!env": {"plain"}, "example.com/owner": {"db"}, "tier in (web,cache)": {"web"}, "": {"db", "plain", "web"},
	} {
		got := c.chosen(selector)
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("%q chooses %v, want %v", selector, got, want)
		}
	}
	if got := c.chosen("env", "tier=db"); !slices.Equal(got, []string{"db"}) {
		t.Errorf("two selectors choose %v", got)
	}
	c.send("GET", "/v1/vms?label=env%3Da%20b", "").wants(http.StatusUnprocessableEntity, nil)

	at := "/v1/vms/" + made["web"]
	for _, step := range []struct {
		method, body string
		want         string
	}{
		{"PATCH", `{"labels": {"tier": null, "owner": "bert", "none": null}}`, "env=prod,owner=bert"},
		{"PATCH", `{"labels": {"owner": "bert"}}`, "env=prod,owner=bert"},
		{"PUT", `{"labels": {"env": "test", "gone": null}}`, "env=test"},
		{"PATCH", `{"labels": {}}`, "env=test"},
		{"PUT", `{"labels": {}}`, ""},
	} {
		c.control.Advance(time.Second)
		var answer, look labelled
		c.send(step.method, at+"/labels", step.body).wants(http.StatusOK, &answer)
		look = read[labelled](c.send("GET", at, ""))
		if vm.Labels(answer.Labels).String() != step.want || vm.Labels(look.Labels).String() != step.want || look.Labels == nil {
			t.Errorf("%s %s: answered %v, shown %v, want %s", step.method, step.body, answer.Labels, look.Labels, step.want)
		}
	}
	story := c.send("GET", at, "").body
	for _, line := range []string{"labels changed to env=prod,owner=bert", "labels changed to none"} {
		if strings.Count(story, line) != 1 {
			t.Errorf("the timeline tells %q %d times", line, strings.Count(story, line))
		}
	}
	if !slices.Contains(c.allowed(made["web"]), "label") {
		t.Error("label is not among the allowed actions")
	}
}

func (c *cloud) allowed(id string) []string {
	c.t.Helper()
	return read[struct {
		Allowed []string `json:"allowedActions"`
	}](c.send("GET", "/v1/vms/"+id, "")).Allowed
}

// What can't be a label, or isn't the customer's VM, is refused, and nothing changes.
func TestLabelsRefused(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	id := c.deploy("1")[0]
	at := "/v1/vms/" + id + "/labels"
	c.send("PUT", at, `{"labels": {"env": "prod"}}`).wants(http.StatusOK, nil)
	many := strings.Builder{}
	for i := range 33 {
		many.WriteString(`"k` + string(rune('a'+i%26)) + string(rune('a'+i/26)) + `": "",`)
	}
	for body, status := range map[string]int{
		`{}`:                       http.StatusUnprocessableEntity,
		`{"labels": null}`:         http.StatusUnprocessableEntity,
		`{"labels": []}`:           http.StatusBadRequest,
		`{"labels": {"a": 1}}`:     http.StatusBadRequest,
		`{"labels": {"a b": "x"}}`: http.StatusUnprocessableEntity,
		`{"labels": {"a": "x=y"}}`: http.StatusUnprocessableEntity,
		`{"labels": {"a": "\n"}}`:  http.StatusUnprocessableEntity,
		`{"labels": {` + many.String() + `"x": ""}}`: http.StatusUnprocessableEntity,
	} {
		for _, method := range []string{"PUT", "PATCH"} {
			c.send(method, at, body).wants(status, nil)
		}
	}
	c.send("PATCH", at, `{"labels": {"a b": null}}`).wants(http.StatusUnprocessableEntity, nil)
	c.send("POST", "/v1/vms", deployBody(`"instances": 1`, `"instances": 1, "labels": {"a": "-"}`)).wants(http.StatusUnprocessableEntity, nil)
	_, nora := c.newAccount("Nora", account.Customer)
	c.sendAs(nora, "PUT", at, `{"labels": {}}`).wants(http.StatusNotFound, nil)
	if got := c.chosen("env=prod"); len(got) != 1 {
		t.Errorf("after refusals %d VMs are env=prod", len(got))
	}
	c.send("DELETE", "/vms/v3", `{"vmIds": ["`+id+`"]}`).wants(http.StatusOK, nil)
	c.send("PUT", at, `{"labels": {}}`).wants(http.StatusNotFound, nil)
}

// The published routes know no labels: they are neither shown nor looked at there.
func TestLabelsAreNoneOfThePublishedRoutes(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	id := c.deploy("1")[0]
	before := c.send("GET", "/vms/v3", "").body
	c.send("PUT", "/v1/vms/"+id+"/labels", `{"labels": {"env": "prod"}}`).wants(http.StatusOK, nil)
	for _, path := range []string{"/vms/v3", "/vms/v3?label=env%3Dtest", "/vms/v3?label=%3D"} {
		if after := c.send("GET", path, "").body; after != before {
			t.Errorf("%s says\n%s, want\n%s", path, after, before)
		}
	}
}
