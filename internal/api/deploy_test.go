package api_test

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// Every way in which clients ask for the same VM.
func TestDeployLeniency(t *testing.T) {
	t.Parallel()
	for name, changes := range map[string][]string{
		"no hostname":           {`"hostname": null,`, ""},
		"empty hostname":        {`"hostname": null`, `"hostname": ""`},
		"no constraints":        {`"constraints": null,`, ""},
		"empty constraints":     {`"constraints": null`, `"constraints": {}`},
		"empty sections":        {`"constraints": null`, `"constraints": {"additionalResources": {}, "hardware": null, "datacenter": null}`},
		"no ports":              {`"openPorts": [{"port": 80, "protocol": "tcp"}],`, ""},
		"null ports":            {`[{"port": 80, "protocol": "tcp"}]`, "null"},
		"empty ports":           {`[{"port": 80, "protocol": "tcp"}]`, "[]"},
		"port 22 itself":        {`"port": 80`, `"port": 22`},
		"described ports":       {`"protocol": "tcp"}`, `"protocol": "tcp", "description": "web"}`},
		"a float port":          {`"port": 80`, `"port": 80.0`},
		"an exponent":           {`"port": 80`, `"port": 8e1`},
		"unknown members":       {`"name": "web-1"`, `"name": "web-1", "resources": {"cpu": 2}`, `"instances": 1`, `"instances": 1, "x": [[]]`},
		"float instances":       {`"instances": 1`, `"instances": 1.0`},
		"null requestId":        {`"instances": 1`, `"instances": 1, "requestId": null`},
		"a price as number":     {`"constraints": null`, `"constraints": {"maxTotalPricePerEpochUsd": 5}`},
		"a price of Python":     {`"constraints": null`, `"constraints": {"maxTotalPricePerEpochUsd": "5.0"}`},
		"a duplicate member":    {`"instances": 1`, `"instances": 7, "instances": 1`},
		"the same key twice":    {`"sshKeys": ["`, `"sshKeys": ["` + keyLine + `", "`},
		"escaped characters":    {`"name"`, `"\u006eame"`},
		"image with a query":    {".img", ".img?x=1"},
		"an image of http":      {"https://cloud", "http://cloud"},
		"an image.raw.xz":       {".img", ".raw.xz"},
		"spaces around the key": {`["ssh`, `["  ssh`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCloud(t)
			var made []struct{ VMID, VMName string }
			c.send("POST", "/vms/v3", deployBody(changes...), "Content-Type: text/plain").wants(http.StatusOK, &made)
			if len(made) != 1 || made[0].VMName != "web-1" || len(c.list("")) != 1 {
				t.Errorf("made %v", made)
			}
		})
	}
}

// Keys are given by line, by name or by fingerprint.
func TestDeployWithRegisteredKeys(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.send("POST", "/ssh_keys", `{"name": "laptop", "publicKey": "`+keyLine+`"}`).wants(http.StatusCreated, nil)
	for _, key := range []string{"laptop", fingerprint, keyLine} {
		c.send("POST", "/vms/v3", deployBody(keyLine, key)).wants(http.StatusOK, nil)
	}
	list, err := c.control.Orders(t.Context(), c.agent.server)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range list.Orders {
		if len(o.SSHKeys) != 1 || o.SSHKeys[0] != keyLine {
			t.Errorf("the agent is given the keys %v", o.SSHKeys)
		}
	}
}

// What is refused, why, and that nothing happened.
func TestBadDeployments(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	port := func(p string) []string { return []string{`{"port": 80, "protocol": "tcp"}`, p} }
	long := strings.Repeat("n", 256)
	for _, row := range []struct {
		changes []string
		status  int
		says    string
	}{
		{[]string{`"instances": 1`, `"instances": 1.5`}, 400, "instances has to be a whole number, not number 1.5"},
		{[]string{`"instances": 1`, `"instances": "2"`}, 400, "instances has to be a whole number, not string"},
		{[]string{`"instances": 1`, `"instances": true`}, 400, "instances has to be a whole number, not bool"},
		{[]string{`"instances": 1`, `"instances": [1]`}, 400, "instances has to be a whole number, not array"},
		{[]string{`"instances": 1`, `"instances": {}`}, 400, "instances has to be a whole number, not object"},
		{[]string{`"instances": 1`, `"instances": 1e309`}, 400, "instances has to be a whole number"},
		{[]string{`"instances": 1`, `"instances": 99999999999999999999`}, 400, "instances has to be a whole number"},
		{[]string{`"instances": 1`, `"instances": NaN`}, 400, "not JSON"},
		{[]string{`"instances": 1`, `"instances": 01`}, 400, "not JSON"},
		{[]string{`"instances": 1`, `"instances": 0`}, 422, "instances"},
		{[]string{`"instances": 1`, `"instances": -1`}, 422, "instances"},
		{[]string{`"instances": 1`, `"instances": -9223372036854775808`}, 422, "instances"},
		{[]string{`"instances": 1`, `"instances": null`}, 422, "instances is missing"},
		{[]string{`"instances": 1,`, ``}, 422, "instances is missing"},
		{[]string{`"instances": 1`, `"instances": 5`}, 422, "Not enough offers found"},
		{[]string{`"instances": 1`, `"instances": 1000000000`}, 422, "Not enough offers found"},
		{[]string{`"instances": 1`, `"instances": 9223372036854775807`}, 422, "Not enough offers found"},
		{[]string{`"constraints": null`, `"constraints": {"datacenter": {"countries": ["DE"]}}`}, 422, "No suitable offer found"},
		{[]string{`"constraints": null`, `"constraints": {"basicConfiguration": "huge"}`}, 422, "No suitable offer found"},
		{[]string{`"constraints": null`, `"constraints": {"maxTotalPricePerEpochUsd": "0.839999"}`}, 422, "No suitable offer found"},
		{[]string{`"constraints": null`, `"constraints": []`}, 400, "constraints has to be an object, not array"},
		{[]string{`"instances": 1`, `"instances": 1, "requestId": 7`}, 400, "requestId has to be a string, not number"},
		{[]string{`"instances": 1`, `"instances": 1, "requestId": "` + long + `"`}, 422, "requestId"},

		{[]string{`"name": "web-1",`, ``}, 422, "name"},
		{[]string{`"name": "web-1"`, `"name": null`}, 422, "name"},
		{[]string{`"name": "web-1"`, `"name": ""`}, 422, "name"},
		{[]string{`"name": "web-1"`, `"name": "web 1"`}, 422, "name"},
		{[]string{`"name": "web-1"`, `"name": "web_1"`}, 422, "name"},
		{[]string{`"name": "web-1"`, `"name": "wéb"`}, 422, "name"},
		{[]string{`"name": "web-1"`, `"name": "web\n"`}, 422, "name"},
		{[]string{`"name": "web-1"`, `"name": "<script>"`}, 422, "name"},
		{[]string{`"name": "web-1"`, `"name": "` + long + `"`}, 422, "name"},
		{[]string{`"name": "web-1"`, `"name": 7`}, 400, "vmConfiguration.name has to be a string, not number"},
		{[]string{`"name": "web-1"`, `"name": ["web"]`}, 400, "vmConfiguration.name has to be a string, not array"},

		{[]string{`"hostname": null`, `"hostname": "-web"`}, 422, "hostname"},
		{[]string{`"hostname": null`, `"hostname": "a_b"`}, 422, "hostname"},
		{[]string{`"hostname": null`, `"hostname": "a..b"`}, 422, "hostname"},
		{[]string{`"hostname": null`, `"hostname": "web\nruncmd: [reboot]"`}, 422, "hostname"},
		{[]string{`"hostname": null`, `"hostname": "` + long + `"`}, 422, "hostname"},
		{[]string{`"hostname": null`, `"hostname": false`}, 400, "vmConfiguration.hostname has to be a string, not bool"},

		{port(`{"port": 0, "protocol": "tcp"}`), 422, "port 0"},
		{port(`{"port": -1, "protocol": "tcp"}`), 422, "port -1"},
		{port(`{"port": 65536, "protocol": "tcp"}`), 422, "port 65536"},
		{port(`{"port": 10250, "protocol": "tcp"}`), 422, "10250"},
		{port(`{"port": 10250, "protocol": "udp"}`), 422, "10250"},
		{port(`{"port": 80, "protocol": "sctp"}`), 422, "sctp"},
		{port(`{"port": 80, "protocol": ""}`), 422, "protocol"},
		{port(`{"port": 80, "protocol": null}`), 422, "protocol"},
		{port(`{"port": 80}`), 422, "protocol"},
		{port(`{"protocol": "tcp"}`), 422, "port 0"},
		{port(`{"port": null, "protocol": "tcp"}`), 422, "port 0"},
		{port(`null`), 422, "port 0"},
		{port(`{"port": 80, "protocol": "tcp"}, {"port": 80, "protocol": "TCP"}`), 422, "twice"},
		{port(manyPorts(51)), 422, "50"},
		{port(`80`), 400, "vmConfiguration.openPorts has to be an object, not number"},
		{port(`{"port": "80", "protocol": "tcp"}`), 400, "vmConfiguration.openPorts.port has to be a whole number, not string"},
		{port(`{"port": 80.5, "protocol": "tcp"}`), 400, "vmConfiguration.openPorts.port has to be a whole number, not number 80.5"},
		{port(`{"port": 80, "protocol": 6}`), 400, "vmConfiguration.openPorts.protocol has to be a string, not number"},
		{[]string{`[{"port": 80, "protocol": "tcp"}]`, `{"port": 80}`}, 400, "vmConfiguration.openPorts has to be an array, not object"},

		{[]string{`"osImage"`, `"image"`}, 422, "osImage"},
		{[]string{`"` + ubuntu + `"`, `null`}, 422, "osImage"},
		{[]string{`"` + ubuntu + `"`, `7`}, 400, "vmConfiguration.osImage has to be a string, not number"},
		{[]string{"https://cloud", "ftp://cloud"}, 422, "osImage"},
		{[]string{"https://cloud", "file:///cloud"}, 422, "osImage"},
		{[]string{"https://cloud", "/var/lib/cloud"}, 422, "osImage"},
		{[]string{".img", ".iso"}, 422, "osImage"},
		{[]string{".img", ".qcow2.gz"}, 422, "osImage"},
		{[]string{"https://cloud", "https://user:secret@cloud"}, 422, "osImage"},

		{[]string{`, "sshKeys": ["` + keyLine + `"]`, ``}, 422, "sshKeys"},
		{[]string{`["` + keyLine + `"]`, `null`}, 422, "sshKeys"},
		{[]string{`["` + keyLine + `"]`, `[]`}, 422, "sshKeys"},
		{[]string{`["` + keyLine + `"]`, `[null]`}, 422, "key"},
		{[]string{`["` + keyLine + `"]`, `[""]`}, 422, "key"},
		{[]string{`["` + keyLine + `"]`, `"` + keyLine + `"`}, 400, "vmConfiguration.sshKeys has to be an array, not string"},
		{[]string{`["` + keyLine + `"]`, `[{"publicKey": "x"}]`}, 400, "vmConfiguration.sshKeys has to be a string, not object"},
		{[]string{keyLine, "laptop"}, 422, "laptop"},
		{[]string{keyLine, "SHA256:abc"}, 422, "SHA256:abc"},
		{[]string{keyLine, keyLine[:40]}, 422, "key"},
		{[]string{keyLine, keyLine + `\n` + keyLine}, 422, "key"},
		{[]string{keyLine, `-----BEGIN OPENSSH PRIVATE KEY-----`}, 422, "private"},
		{[]string{`["` + keyLine + `"]`, `[` + strings.Repeat(`"`+keyLine+`",`, 64) + `"` + keyLine + `"]`}, 422, "64"},
	} {
		body := deployBody(row.changes...)
		c.unchanged(shorten(body), func() { c.send("POST", "/vms/v3", body).refused(row.status, row.says) })
	}
	for _, row := range [][2]string{{"", "instances is missing"}, {"{}", "instances is missing"}, {"null", "instances is missing"}, {`{"instances": 1}`, "name"}} {
		c.unchanged(row[0], func() { c.send("POST", "/vms/v3", row[0]).refused(422, row[1]) })
	}
}

func manyPorts(n int) string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf(`{"port": %d, "protocol": "tcp"}`, 1000+i))
	}
	return strings.Join(list, ",")
}

// A deposit that can't be paid is refused in full, with what is missing.
func TestUnaffordable(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.sendAs(c.operator, "PUT", "/v1/admin/accounts/"+c.account+"/balance", `{"amount": "3.359999", "note": "to begin with"}`).wants(http.StatusOK, nil)
	c.unchanged("an unaffordable deployment", func() {
		c.send("POST", "/vms/v3", deployBody(`"instances": 1`, `"instances": 2`)).refused(422, "0.000001 USDC")
	})
	if _, err := c.control.Credit(t.Context(), control.System, c.account, gift(1)); err != nil {
		t.Fatal(err)
	}
	c.deploy("2")
	if got := c.balance(); got != "0" {
		t.Errorf("the balance is %s, want 0", got)
	}
}

// A deployment may be sent again: at once, or after its answer was lost.
func TestIdempotency(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	withID := deployBody(`"instances": 1`, `"instances": 1, "requestId": "order-1"`)
	first := c.send("POST", "/vms/v3", withID)
	first.wants(http.StatusOK, nil)
	c.unchanged("a repeated request", func() {
		if again := c.send("POST", "/vms/v3", withID); again.status != 200 || again.body != first.body {
			t.Errorf("the same request again: %d %s, want %s", again.status, again.body, first.body)
		}
		c.send("POST", "/vms/v3", strings.Replace(withID, "web-1", "web-2", 1)).refused(409, "order-1")
	})
	if a := c.send("POST", "/vms/v3", deployBody(), "Idempotency-Key: order-1"); a.body != first.body {
		t.Errorf("the header instead of the member: %s, want %s", a.body, first.body)
	}
	var wg sync.WaitGroup
	answers := make([]string, 8)
	for i := range answers {
		wg.Go(func() { answers[i] = c.send("POST", "/vms/v3", deployBody(), "Idempotency-Key: order-2").body })
	}
	wg.Wait()
	for _, a := range answers {
		if a != answers[0] || !strings.Contains(a, "vmId") {
			t.Errorf("at once: %s and %s", a, answers[0])
		}
	}
	if n := len(c.list("")); n != 2 {
		t.Errorf("%d VMs, want 2", n)
	}
	other, key := c.newAccount("other", "customer")
	if _, err := c.control.Credit(t.Context(), control.System, other, gift(money.USDC*10)); err != nil {
		t.Fatal(err)
	}
	if a := c.sendAs(key, "POST", "/vms/v3", withID); a.status != 200 || a.body == first.body {
		t.Errorf("another account with the same id: %d %s", a.status, a.body)
	}
}

// Whatever is sent, the answer is one of the contract's, never a 500.
func FuzzDeploy(f *testing.F) {
	for _, body := range []string{
		"", "{}", "null", "[]", "7", deployBody(), deployBody(`"instances": 1`, `"instances": 1e0`),
		deployBody(`"constraints": null`, `"constraints": {"hardware": {"cpu": [{}]}, "maxTotalPricePerEpochUsd": 1.5}`),
		`{"instances": 1, "vmConfiguration": {"openPorts": [{"port": 22}]}}`, "\xef\xbb\xbf{}", `{"a":`, strings.Repeat("[", 20_000), "\"\xff\"",
	} {
		f.Add(body)
	}
	c := newCloud(f)
	f.Fuzz(func(t *testing.T, body string) {
		here := *c
		here.t = t
		a := here.send("POST", "/vms/v3", body)
		switch a.status {
		case 200, 400, 413, 422:
		default:
			t.Errorf("%q: %d %s", body, a.status, a.body)
		}
		if a.status != 200 && !strings.HasPrefix(a.body, `{"error":"`) {
			t.Errorf("%q: %s", body, a.body)
		}
	})
}

// Where only addresses that rest are free, the newer route says until when; the
// published one keeps to its sentence.
func TestDeployWhereAddressesRest(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.control.AddressRest = 10 * time.Minute
	c.agent.inventory.Pool, c.agent.inventory.Total.Addresses = netip.MustParsePrefix("203.0.113.0/30"), 2
	c.report(vm.Ready)
	ids := c.deploy("2")
	c.send("DELETE", "/vms/v3", `{"vmIds": ["`+strings.Join(ids, `", "`)+`"]}`).wants(http.StatusOK, nil)
	c.report(vm.Absent)
	other, nora := c.newAccount("Nora", account.Customer)
	if _, err := c.control.Credit(t.Context(), control.System, other, gift(start*money.USDC)); err != nil {
		t.Fatal(err)
	}
	a := c.sendAs(nora, "POST", "/vms/v3", deployBody())
	a.refused(http.StatusUnprocessableEntity, "No suitable offer found")
	if a.body != `{"error":"No suitable offer found"}` {
		t.Errorf("the published route says %s", a.body)
	}
	c.sendAs(nora, "POST", "/v1/vms", deployBody()).refused(http.StatusUnprocessableEntity,
		"No suitable offer found: the free addresses of all servers that fit rest until 2026-01-31T12:10:00Z, as VMs of other accounts had them; try again then")
	c.control.Advance(10 * time.Minute)
	c.sendAs(nora, "POST", "/v1/vms", deployBody()).wants(http.StatusCreated, nil)
}
