package api_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

const fingerprint = "SHA256:CSBNzi4dgeWjBe88DAxR/KNTIKym/6NrJkLytIKsFDE"

func TestSSHKeys(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	if a := c.send("GET", "/ssh_keys", ""); a.body != "[]" {
		t.Errorf("no keys are %s", a.body)
	}
	var key keyAnswer
	c.send("POST", "/ssh_keys", `{"name": "laptop", "publicKey": "`+keyLine+`"}`).wants(http.StatusCreated, &key)
	if key.Name == nil || *key.Name != "laptop" || key.Algorithm != "ssh-ed25519" || key.Comment != "me@laptop" || !key.Active ||
		key.PublicKey != keyLine || key.SnakeKey != keyLine || key.CreatedAt != "2026-01-31T12:00:00Z" {
		t.Errorf("key %+v", key)
	}
	if !strings.HasPrefix(key.Fingerprint, "SHA256:") {
		t.Errorf("fingerprint %q", key.Fingerprint)
	}
	var again keyAnswer
	c.send("POST", "/ssh_keys", `{"name": "other", "publicKey": "`+keyLine+`"}`).wants(http.StatusOK, &again)
	if again.Name == nil || *again.Name != "laptop" || again.Fingerprint != key.Fingerprint {
		t.Errorf("the same key again: %+v", again)
	}
	var list []keyAnswer
	c.send("GET", "/ssh_keys", "").wants(http.StatusOK, &list)
	if len(list) != 1 || list[0].Fingerprint != key.Fingerprint || list[0].SnakeKey != keyLine {
		t.Errorf("list %+v", list)
	}
	if a := c.send("DELETE", "/ssh_keys", `{"fingerprint": "`+key.Fingerprint+`"}`); a.status != 200 || a.body != "{}" {
		t.Errorf("DELETE answers %d %s", a.status, a.body)
	}
	c.send("DELETE", "/ssh_keys", `{"fingerprint": "`+key.Fingerprint+`"}`).refused(404, "fingerprint")
}

// A key may be registered without a name; then it has none.
func TestUnnamedSSHKeys(t *testing.T) {
	t.Parallel()
	for _, name := range []string{`"name": "",`, `"name": null,`, ``} {
		c := newCloud(t)
		var key keyAnswer
		c.send("POST", "/ssh_keys", `{`+name+` "publicKey": "`+strings.TrimSuffix(keyLine, " me@laptop")+`"}`).wants(http.StatusCreated, &key)
		if key.Name != nil || key.Comment != "" {
			t.Errorf("%s: %+v", name, key)
		}
	}
}

func TestBadSSHKeys(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.unchanged("a bad key", func() {
		for body, says := range map[string]string{
			"": "empty", "{}": "empty", `{"name": "x"}`: "empty", `{"publicKey": null}`: "empty", `{"publicKey": " "}`: "empty",
			`{"publicKey": "hello"}`:                "SSH public key",
			`{"publicKey": "` + keyLine[:60] + `"}`: "SSH public key",
			`{"publicKey": "` + strings.Replace(keyLine, "ssh-ed25519", "ssh-rsa", 1) + `"}`: "SSH public key",
			`{"publicKey": "ssh-dss AAAAB3NzaC1kc3M="}`:                                      "SSH public key",
			`{"publicKey": "command=\"x\" ` + keyLine + `"}`:                                 "SSH public key",
			`{"publicKey": "` + keyLine + `\n` + keyLine + `"}`:                              "one line",
			`{"publicKey": "-----BEGIN OPENSSH PRIVATE KEY-----"}`:                           "private key",
			`{"name": "` + strings.Repeat("n", 101) + `", "publicKey": "` + keyLine + `"}`:   "name",
			`{"name": "a\nb", "publicKey": "` + keyLine + `"}`:                               "name",
		} {
			c.send("POST", "/ssh_keys", body).refused(422, says)
		}
		c.send("POST", "/ssh_keys", `{"publicKey": ["x"]}`).refused(400, "publicKey has to be a string, not array")
		c.send("POST", "/ssh_keys", `{"name": 7, "publicKey": "x"}`).refused(400, "name has to be a string, not number")
		c.send("DELETE", "/ssh_keys", "").refused(422, "fingerprint is missing")
		c.send("DELETE", "/ssh_keys", `{"fingerprint": null}`).refused(422, "fingerprint is missing")
		c.send("DELETE", "/ssh_keys", `{"fingerprint": 7}`).refused(400, "fingerprint has to be a string")
		c.send("DELETE", "/ssh_keys", `{"fingerprint": "SHA256:none"}`).refused(404, "fingerprint")
	})
}

// VMs that were deployed with a key keep it when it is deleted.
func TestDeletedKeyStaysOnVMs(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.send("POST", "/ssh_keys", `{"name": "laptop", "publicKey": "`+keyLine+`"}`).wants(http.StatusCreated, nil)
	c.send("POST", "/vms/v3", deployBody(keyLine, "laptop")).wants(http.StatusOK, nil)
	c.send("DELETE", "/ssh_keys", `{"fingerprint": "`+fingerprint+`"}`).wants(http.StatusOK, nil)
	list, err := c.control.Orders(t.Context(), c.agent.server)
	if err != nil || len(list.Orders) != 1 || !slices.Equal(list.Orders[0].SSHKeys, []string{keyLine}) {
		t.Errorf("orders %+v, %v", list, err)
	}
}
