package api_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/cpucloud/cpucloud/internal/api"
	"github.com/cpucloud/cpucloud/internal/hostkey"
	"github.com/cpucloud/cpucloud/internal/store/storetest"
	"github.com/cpucloud/cpucloud/internal/userdata"
	"github.com/cpucloud/cpucloud/internal/vm"
)

const guestScript = "#!/bin/sh\necho hunter2 <&>\n"

// giving is a deployment with user data.
func giving(text string) string {
	return strings.Replace(deployBody(), "{", `{"userData": `+strconv.Quote(text)+`, `, 1)
}

// User data reaches the agent as it was given. No answer, no log and no other table
// holds it, and once the VM is Active no table does.
func TestUserData(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, e storetest.Engine) {
		url := e.URL(t)
		c := newCloudAt(t, url)
		var log bytes.Buffer
		c.handler = api.New(c.control, api.Config{Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})), Version: "v-test"})
		var made []struct {
			ID   string `json:"vmId"`
			Name string `json:"vmName"`
		}
		c.send("POST", "/v1/vms", giving(guestScript), "Idempotency-Key: once").wants(http.StatusCreated, &made)
		id := made[0].ID
		orders := func() []vm.Order {
			list, err := c.control.Orders(t.Context(), c.agent.server)
			if err != nil {
				t.Fatal(err)
			}
			return list.Orders
		}
		if got := orders()[0].UserData; string(got) != guestScript {
			t.Errorf("ordered %q, want %q", string(got), guestScript)
		}
		secret := func(where string, tables ...string) {
			t.Helper()
			text := log.String() + c.send("POST", "/v1/vms", giving(guestScript), "Idempotency-Key: once").body
			for _, path := range []string{"/v1/vms/" + id, "/v1/vms", "/vms/v3", "/v1/account/events", "/v1/statement", "/v1/operations"} {
				text += c.send("GET", path, "").body
			}
			if strings.Contains(text, "hunter2") {
				t.Errorf("%s: user data is told:\n%s", where, text)
			}
			for table, rows := range storetest.Dump(t, url) {
				if found := strings.Contains(strings.Join(rows, "\n"), "hunter2"); found != (len(tables) > 0 && tables[0] == table) {
					t.Errorf("%s: user data in table %s: %v", where, table, found)
				}
			}
		}
		secret("while it starts", "vms")
		c.report(vm.Ready)
		if got := orders()[0].UserData; got != "" {
			t.Errorf("ordered %q once it is active", string(got))
		}
		secret("once it is active")
	})
}

// What no guest would understand is refused before anything is taken, and not quoted;
// the older endpoint knows no user data.
func TestUserDataIsRefused(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	before := c.state()
	for text, says := range map[string]string{
		"hunter2":                               "userData begins with none of what is understood",
		"#cloud-config\npackages: hunter2: [\n": "userData is not well-formed YAML near line",
		"#!/bin/sh\n" + strings.Repeat("x", userdata.Most): "userData has 16394 bytes; at most 16384 fit",
		"#!/bin/sh\n\x00hunter2":                           "userData has a control character in line 2",
	} {
		for _, path := range []string{"/v1/vms", "/v1/vms?dryRun=true"} {
			body := strings.Replace(giving("TEXT"), `"TEXT"`, quoteJSON(text), 1)
			a := c.send("POST", path, body)
			a.refused(http.StatusUnprocessableEntity, says)
			if strings.Contains(a.body, "hunter2") {
				t.Errorf("quoted: %s", a.body)
			}
		}
	}
	c.send("POST", "/v1/vms", strings.Replace(giving("x"), `"x"`, `["hunter2"]`, 1)).refused(http.StatusBadRequest, "userData has to be")
	if after := c.state(); after != before {
		t.Errorf("state was %v, is %v", before, after)
	}
	c.send("POST", "/v1/vms?dryRun=true", giving(guestScript)).wants(http.StatusOK, nil)
	if after := c.state(); after != before {
		t.Errorf("after a dry run: state was %v, is %v", before, after)
	}
}

// quoteJSON writes text as JSON does; strconv.Quote has escapes that it has not.
func quoteJSON(text string) string {
	return strings.ReplaceAll(strconv.Quote(text), `\x00`, `\u0000`)
}

// A VM's host keys are shown where it is shown alone, and the published endpoints
// know nothing of them.
func TestHostKeysAreShown(t *testing.T) {
	t.Parallel()
	const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
	c := newCloud(t)
	id := c.deploy("1")[0]
	var v storyAnswer
	c.send("GET", "/v1/vms/"+id, "").wants(http.StatusOK, &v)
	if v.HostKeys == nil || len(v.HostKeys) > 0 {
		t.Errorf("keys %v before they are known, want an empty array", v.HostKeys)
	}
	c.report(vm.Ready)
	c.agent.sequence++
	seen := vm.Sighting{ID: id, Generation: 1, Phase: vm.Ready, HostKeys: []hostkey.Key{key}}
	if err := c.control.Observe(t.Context(), c.agent.server, vm.Report{Sequence: c.agent.sequence, Inventory: c.agent.inventory, VMs: []vm.Sighting{seen}}); err != nil {
		t.Fatal(err)
	}
	c.send("GET", "/v1/vms/"+id, "").wants(http.StatusOK, &v)
	if len(v.HostKeys) != 1 || v.HostKeys[0].PublicKey != key || v.HostKeys[0].Type != "ssh-ed25519" ||
		v.HostKeys[0].Fingerprint != "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU" {
		t.Errorf("keys %v", v.HostKeys)
	}
	for _, path := range []string{"/vms/v3", "/v1/vms"} {
		if body := c.send("GET", path, "").body; strings.Contains(body, "sshHostKeys") || strings.Contains(body, "AAAAC3") {
			t.Errorf("%s tells them: %s", path, body)
		}
	}
}
