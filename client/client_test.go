package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cpucloud/cpucloud/client"
)

// direct hands requests to a handler without a network, so that a test may run
// on simulated time.
type direct func(w http.ResponseWriter, r *http.Request) error

// RoundTrip answers with what the handler wrote, or fails with its error.
func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	if err := d(w, r); err != nil {
		return nil, err
	}
	return w.Result(), nil
}

func cloud(d direct) *client.Client {
	return client.New("http://cloud.example/", "cpu_secret", client.WithHTTPClient(&http.Client{Transport: d}), client.WithUserAgent("test/1"))
}

// says answers every request with one document.
func says(status int, document string) direct {
	return func(w http.ResponseWriter, _ *http.Request) error {
		w.WriteHeader(status)
		_, err := io.WriteString(w, document)
		return err
	}
}

// TestRequests compares what is sent with the published contract.
func TestRequests(t *testing.T) {
	t.Parallel()
	full := client.Constraints{
		BasicConfiguration: "cpu-2-ram-4gb-storage-25gb",
		Datacenter:         client.DatacenterFilter{Countries: []string{"US"}},
		Hardware: client.Hardware{
			CPU: []client.CPU{{Manufacturer: "AMD"}}, Memory: []client.Memory{{Type: "DDR", Generation: "4"}}, Storage: []client.Storage{{Type: "SSD"}},
		},
		AdditionalResources: client.AdditionalResources{Storage: []client.ExtraStorage{{Supply: 50, Units: "GiB", Type: "SSD"}}},
		MaxPricePerEpoch:    "1.5",
	}
	const fullJSON = `{"basicConfiguration":"cpu-2-ram-4gb-storage-25gb","datacenter":{"countries":["US"]},` +
		`"hardware":{"cpu":[{"manufacturer":"AMD"}],"memory":[{"type":"DDR","generation":"4"}],"storage":[{"type":"SSD"}]},` +
		`"additionalResources":{"storage":[{"supply":50,"units":"GiB","type":"SSD"}]},"maxTotalPricePerEpochUsd":"1.5"}`
	since := time.Date(2026, 1, 31, 13, 0, 0, 0, time.FixedZone("", 3600))
	for want, do := range map[string]func(context.Context, *client.Client) (any, error){
		`POST /marketplace/offers {}`:           func(ctx context.Context, c *client.Client) (any, error) { return c.Offers(ctx, client.Constraints{}) },
		`POST /marketplace/offers ` + fullJSON:  func(ctx context.Context, c *client.Client) (any, error) { return c.Offers(ctx, full) },
		`GET /marketplace/basic_configurations`: func(ctx context.Context, c *client.Client) (any, error) { return c.BasicConfigurations(ctx) },
		`GET /marketplace/countries`:            func(ctx context.Context, c *client.Client) (any, error) { return c.Countries(ctx) },
		`GET /marketplace/hardware`:             func(ctx context.Context, c *client.Client) (any, error) { return c.Hardware(ctx) },
		`GET /v1/marketplace/datacenters`:       func(ctx context.Context, c *client.Client) (any, error) { return c.Datacenters(ctx) },
		`GET /vms/v3/default_images`:            func(ctx context.Context, c *client.Client) (any, error) { return c.DefaultImages(ctx) },
		`POST /vms/v3/estimate {"constraints":{},"instances":2}`: func(ctx context.Context, c *client.Client) (any, error) {
			return c.Estimate(ctx, client.Constraints{}, 2)
		},
		`POST /vms/v3 {"instances":1,"requestId":"r1","vmConfiguration":{"name":"web","openPorts":[{"port":80,"protocol":"tcp"}],` +
			`"osImage":"https://i.example/a.qcow2","sshKeys":["laptop"]}}`: func(ctx context.Context, c *client.Client) (any, error) {
			return c.Deploy(ctx, client.Deployment{Instances: 1, RequestID: "r1", VM: client.VMConfiguration{
				Name: "web", Ports: []client.Port{{Port: 80, Protocol: "tcp"}}, OSImage: "https://i.example/a.qcow2", SSHKeys: []string{"laptop"},
			}})
		},
		`GET /v1/vms`: func(ctx context.Context, c *client.Client) (any, error) { return c.VMs(ctx, client.ListOptions{}) },
		`GET /v1/vms?dcSlug=us-nyc-1&pagination%5Bpage%5D=2&pagination%5Bper_page%5D=10&status=Active%2CNew&terminatedAt=2026-01-31T12%3A00%3A00Z`: func(ctx context.Context, c *client.Client) (any, error) {
			return c.VMs(ctx, client.ListOptions{Statuses: []string{"Active", "New"}, Datacenter: "us-nyc-1", TerminatedSince: since, Page: 2, PerPage: 10})
		},
		`GET /v1/vms/a%2Fb`:          func(ctx context.Context, c *client.Client) (any, error) { return c.VM(ctx, "a/b") },
		`POST /v1/vms/a%2Fb/reboot`:  func(ctx context.Context, c *client.Client) (any, error) { return c.RebootVM(ctx, "a/b", "r") },
		`POST /v1/vms/a/reset`:       func(ctx context.Context, c *client.Client) (any, error) { return c.ResetVM(ctx, "a", "") },
		`POST /v1/vms/a%2Fb/protect`: func(ctx context.Context, c *client.Client) (any, error) { return nil, c.ProtectVM(ctx, "a/b") },
		`POST /v1/vms/a/unprotect`:   func(ctx context.Context, c *client.Client) (any, error) { return nil, c.UnprotectVM(ctx, "a") },
		`POST /v1/vms/a%2Fb/reinstall {}`: func(ctx context.Context, c *client.Client) (any, error) {
			return c.ReinstallVM(ctx, "a/b", client.Reinstall{}, "r")
		},
		`POST /v1/vms/a/reinstall {"image":"u","imageChecksum":"s","sshKeys":["k"],"userData":""}`: func(ctx context.Context, c *client.Client) (any, error) {
			return c.ReinstallVM(ctx, "a", client.Reinstall{Image: new("u"), ImageChecksum: new("s"), SSHKeys: []string{"k"}, UserData: new("")}, "r")
		},
		`POST /v1/vms/a%2Fb/rescue {"sshKey":"k","image":"u"}`: func(ctx context.Context, c *client.Client) (any, error) {
			return c.RescueVM(ctx, "a/b", client.Rescue{SSHKey: "k", Image: "u"}, "r")
		},
		`POST /v1/vms/a%2Fb/unrescue`:       func(ctx context.Context, c *client.Client) (any, error) { return c.UnrescueVM(ctx, "a/b", "r") },
		`GET /v1/vms/a%2Fb/disks`:           func(ctx context.Context, c *client.Client) (any, error) { return c.Disks(ctx, "a/b") },
		`POST /v1/vms/a%2Fb/disks/4/return`: func(ctx context.Context, c *client.Client) (any, error) { return c.ReturnDisk(ctx, "a/b", 4, "r") },
		`DELETE /v1/vms/a%2Fb/disks/4`:      func(ctx context.Context, c *client.Client) (any, error) { return nil, c.PurgeDisk(ctx, "a/b", 4) },
		`GET /v1/vms/a%2Fb/operations`:      func(ctx context.Context, c *client.Client) (any, error) { return c.Operations(ctx, "a/b") },
		`GET /v1/operations/op_1?wait=25s`:  func(ctx context.Context, c *client.Client) (any, error) { return c.WaitOperation(ctx, "op_1") },
		`GET /vms/v3/status?ids=a%2Cb`:      func(ctx context.Context, c *client.Client) (any, error) { return c.VMStatuses(ctx, "a", "b") },
		`PATCH /vms/v3 {"updates":[{"id":"a","vmName":"b"},{"id":"c","openPorts":[]}]}`: func(ctx context.Context, c *client.Client) (any, error) {
			return nil, c.UpdateVMs(ctx, client.Update{ID: "a", Name: "b"}, client.Update{ID: "c", Ports: []client.Port{}})
		},
		`PUT /v1/vms/a%2Fb/ports {"confirmWithin":"1m0s","cutConnections":true,"openPorts":[]}`: func(ctx context.Context, c *client.Client) (any, error) {
			return c.SetPorts(ctx, "a/b", client.PortChange{Cut: true, Confirm: time.Minute})
		},
		`POST /v1/vms/a/ports/confirm`:   func(ctx context.Context, c *client.Client) (any, error) { return c.ConfirmPorts(ctx, "a") },
		`DELETE /vms/v3 {"vmIds":["a"]}`: func(ctx context.Context, c *client.Client) (any, error) { return c.DeleteVMs(ctx, "a") },
		`GET /ssh_keys`:                  func(ctx context.Context, c *client.Client) (any, error) { return c.SSHKeys(ctx) },
		`POST /ssh_keys {"name":"l","publicKey":"ssh-ed25519 A"}`: func(ctx context.Context, c *client.Client) (any, error) {
			return c.AddSSHKey(ctx, "l", "ssh-ed25519 A")
		},
		`DELETE /ssh_keys {"fingerprint":"SHA256:x"}`: func(ctx context.Context, c *client.Client) (any, error) { return nil, c.DeleteSSHKey(ctx, "SHA256:x") },
		`GET /v1/account`:                      func(ctx context.Context, c *client.Client) (any, error) { return c.Account(ctx) },
		`GET /v1/admin/accounts`:               func(ctx context.Context, c *client.Client) (any, error) { return c.Accounts(ctx) },
		`POST /v1/admin/accounts {"name":"a"}`: func(ctx context.Context, c *client.Client) (any, error) { return c.CreateAccount(ctx, "a", "") },
		`POST /v1/admin/accounts {"name":"a","role":"operator"}`: func(ctx context.Context, c *client.Client) (any, error) {
			return c.CreateAccount(ctx, "a", "operator")
		},
		`GET /v1/admin/accounts/acc_1/balance`: func(ctx context.Context, c *client.Client) (any, error) { return c.Balance(ctx, "acc_1") },
		`PUT /v1/admin/accounts/acc_1/balance {"amount":"5","note":"n"}`: func(ctx context.Context, c *client.Client) (any, error) {
			return c.SetBalance(ctx, "acc_1", "5", "n")
		},
		`POST /v1/admin/accounts/acc_1/credit {"amount":"0.5","note":"n"}`: func(ctx context.Context, c *client.Client) (any, error) {
			return c.Credit(ctx, "acc_1", client.Credit{Amount: "0.5", Note: "n"})
		},
		`POST /v1/admin/accounts/acc_1/credit {"amount":"0.5","note":"n","paymentId":"p"}`: func(ctx context.Context, c *client.Client) (any, error) {
			return c.Credit(ctx, "acc_1", client.Credit{Amount: "0.5", Note: "n", PaymentID: "p"})
		},
		`GET /v1/admin/accounts/acc_1/payments`:      func(ctx context.Context, c *client.Client) (any, error) { return c.Payments(ctx, "acc_1") },
		`GET /v1/admin/withdrawals`:                  func(ctx context.Context, c *client.Client) (any, error) { return c.AllWithdrawals(ctx, "") },
		`GET /v1/admin/withdrawals?status=requested`: func(ctx context.Context, c *client.Client) (any, error) { return c.AllWithdrawals(ctx, "requested") },
		`POST /v1/admin/withdrawals/w%2F/confirm {"reference":"r"}`: func(ctx context.Context, c *client.Client) (any, error) {
			return c.ConfirmWithdrawal(ctx, "w/", "r")
		},
		`POST /v1/admin/withdrawals/w/reject {"reason":"r"}`: func(ctx context.Context, c *client.Client) (any, error) { return c.RejectWithdrawal(ctx, "w", "r") },
		`POST /v1/admin/join-tokens {"provider":"P","country":"US","city":"NYC","index":1,"tier":3,` +
			`"prices":{"vcpu":"1","ram":"2","storage":"3","address":"4"},"validHours":24}`: func(ctx context.Context, c *client.Client) (any, error) {
			return c.CreateJoinToken(ctx, client.Invitation{
				Provider: "P", Country: "US", City: "NYC", Index: 1, Tier: 3, ValidHours: 24,
				Prices: client.UnitPrices{VCPU: "1", RAM: "2", Storage: "3", Address: "4"},
			})
		},
		`POST /v1/admin/clock {"advance":"24h0m0s"}`: func(ctx context.Context, c *client.Client) (any, error) { return c.AdvanceClock(ctx, 24*time.Hour) },
	} {
		got := ""
		_, err := do(t.Context(), cloud(func(w http.ResponseWriter, r *http.Request) error {
			body, err := io.ReadAll(r.Body)
			got = strings.TrimSpace(r.Method + " " + r.URL.RequestURI() + " " + string(body))
			if key := r.Header.Get("X-API-KEY"); key != "cpu_secret" {
				t.Errorf("%s: X-API-KEY = %q", want, key)
			}
			if agent := r.UserAgent(); agent != "test/1" {
				t.Errorf("%s: User-Agent = %q", want, agent)
			}
			if kind := r.Header.Get("Content-Type"); (kind == "application/json") != (len(body) > 0) {
				t.Errorf("%s: Content-Type = %q for a body of %d bytes", want, kind, len(body))
			}
			_, _ = io.WriteString(w, "null") // decodes into everything
			return err
		}))
		if err != nil || got != want {
			t.Errorf("sent %s, %v\nwant %s", got, err, want)
		}
	}
}

func TestVM(t *testing.T) {
	t.Parallel()
	v, err := cloud(says(http.StatusOK, `{"id": "0xAb", "vmName": "web", "status": "Active", "pricePerEpoch": "0.84", "reservedBalance": "0.84",
		"totalSpent": "0.84", "resources": [{"type": "VCPU", "supply": 2, "units": "vCPU", "quantity": 2, "details": {"brand": "EPYC"}, "metadata": {}}],
		"createdAt": "2026-01-31T12:00:00Z", "statusChangedAt": "2026-01-31T12:00:41.5Z", "nextBillingAt": "2026-02-01T12:00:41.5Z", "terminatedAt": null,
		"osImage": "https://i.example/a.qcow2", "publicIp": "203.0.113.7", "ports": [{"port": 22, "protocol": "tcp"}],
		"datacenter": {"id": "dc", "countryCode": "US", "cityCode": "NYC", "cityIndex": 1, "index": 1, "tier": 3, "certifications": [], "slug": "us-nyc-1"},
		"hostname": "web", "reason": null, "deadline": null, "timeline": [{"at": "2026-01-31T12:00:00Z", "text": "accepted"}], "later": {"unknown": 1}}`)).
		VM(t.Context(), "0xab")
	if err != nil {
		t.Fatal(err)
	}
	if v.Address() != "203.0.113.7" || v.Supply("VCPU") != 2 || v.Supply("GPU") != 0 || v.Deadline != nil || v.TerminatedAt != nil {
		t.Errorf("VM = %+v", v)
	}
	if want := time.Date(2026, 2, 1, 12, 0, 41, 500_000_000, time.UTC); v.NextBillingAt == nil || !v.NextBillingAt.Equal(want) {
		t.Errorf("NextBillingAt = %v, want %v", v.NextBillingAt, want)
	}
	if want := []client.Event{{At: time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC), Text: "accepted"}}; !reflect.DeepEqual(v.Timeline, want) {
		t.Errorf("Timeline = %v, want %v", v.Timeline, want)
	}
	if (client.VM{}).Address() != "" {
		t.Error("a VM without an address has one")
	}
}

// TestVMKeepsItsWireNames: what is decoded encodes to the same list element.
func TestVMKeepsItsWireNames(t *testing.T) {
	t.Parallel()
	const document = `{"id":"0xAb","vmName":"web","status":"New","publicIp":null,"ports":[],"osImage":"u","datacenter":{"countryCode":"US","cityCode":"NYC",` +
		`"cityIndex":1,"tier":3,"certifications":[]},"resources":[],"pricePerEpoch":"0.84","reservedBalance":"1.68","totalSpent":"0",` +
		`"createdAt":"2026-01-31T12:00:00Z","statusChangedAt":"2026-01-31T12:00:00Z","nextBillingAt":null,"terminatedAt":null}`
	var v client.VM
	if err := json.Unmarshal([]byte(document), &v); err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(v)
	if err != nil || string(got) != document {
		t.Errorf("encodes to %s, %v\nwant %s", got, err, document)
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status  int
		body    string
		message string
	}{
		"a refusal":         {422, `{"error": "No suitable offer found"}`, client.NoSuitableOffer},
		"extra members":     {403, `{"error": "Auth failed. No such API Key", "code": 7}`, "Auth failed. No such API Key"},
		"a proxy's page":    {502, `<html>bad gateway</html>`, "the cloud answered 502 Bad Gateway"},
		"an empty body":     {500, ``, "the cloud answered 500 Internal Server Error"},
		"a wrong type":      {400, `{"error": {"a": 1}}`, "the cloud answered 400 Bad Request"},
		"an endless text":   {400, `{"error": "` + strings.Repeat("x", 1<<20), "the cloud answered 400 Bad Request"},
		"a redirect":        {302, ``, "the cloud answered 302 Found"},
		"an unknown status": {299 + 300, ``, "the cloud answered 599 "},
	} {
		_, err := cloud(func(w http.ResponseWriter, r *http.Request) error {
			w.Header().Set("X-Request-Id", "req_1")
			w.Header().Set("Location", "http://elsewhere.example/")
			return says(c.status, c.body)(w, r)
		}).Account(t.Context())
		e, ok := errors.AsType[*client.Error](err)
		if !ok || e.Status != c.status || e.Message != c.message || e.RequestID != "req_1" || client.StatusOf(err) != c.status {
			t.Errorf("%s: error %#v, want %d %q", name, err, c.status, c.message)
		}
	}
	if client.StatusOf(nil) != 0 || client.StatusOf(io.EOF) != 0 || client.Unreached(nil) {
		t.Error("other errors have a status")
	}
}

func TestTheKeyFollowsNoRedirect(t *testing.T) {
	t.Parallel()
	var leaked atomic.Bool
	thief := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { leaked.Store(true) }))
	t.Cleanup(thief.Close)
	server := httptest.NewServer(http.RedirectHandler(thief.URL, http.StatusTemporaryRedirect))
	t.Cleanup(server.Close)
	_, err := client.New(server.URL, "cpu_secret").Account(t.Context())
	if client.StatusOf(err) != http.StatusTemporaryRedirect || leaked.Load() {
		t.Errorf("error %v, redirect followed: %t", err, leaked.Load())
	}
}

func TestAnswersAreBounded(t *testing.T) {
	t.Parallel()
	_, err := cloud(func(w http.ResponseWriter, _ *http.Request) error {
		_, err := io.WriteString(w, "["+strings.Repeat(" ", 65<<20)+"]")
		return err
	}).VMs(t.Context(), client.ListOptions{})
	if err == nil || !strings.Contains(err.Error(), "larger than 64 MiB") {
		t.Errorf("error %v, want one about the size", err)
	}
}

func TestAddress(t *testing.T) {
	t.Parallel()
	for _, base := range []string{"", "cloud.example", "ftp://cloud.example", "http://", "http://user:hunter2@cloud.example", "http://c?a=b", "http://[::1", "file:///x"} {
		_, err := client.New(base, "cpu_secret").Account(t.Context())
		if err == nil || client.Unreached(err) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("New(%q): error %v, want one about the address", base, err)
		}
	}
}

// TestRetries counts tries: only what is safe to repeat is, and not for ever.
func TestRetries(t *testing.T) {
	t.Parallel()
	account := func(ctx context.Context, c *client.Client) error { _, err := c.Account(ctx); return err }
	deploy := func(id string) func(context.Context, *client.Client) error {
		return func(ctx context.Context, c *client.Client) error {
			_, err := c.Deploy(ctx, client.Deployment{Instances: 1, RequestID: id})
			return err
		}
	}
	credit := func(ctx context.Context, c *client.Client) error {
		_, err := c.Credit(ctx, "a", client.Credit{Amount: "1", Note: "n"})
		return err
	}
	payment := func(ctx context.Context, c *client.Client) error {
		_, err := c.Credit(ctx, "a", client.Credit{Amount: "1", Note: "n", PaymentID: "p"})
		return err
	}
	remove := func(ctx context.Context, c *client.Client) error { _, err := c.DeleteVMs(ctx, "a"); return err }
	refused := func(http.ResponseWriter, *http.Request) error { return syscall.ECONNREFUSED }
	for name, c := range map[string]struct {
		do    func(context.Context, *client.Client) error
		first direct // what answers before everything is well
		bad   int    // how often
		tries int
		ok    bool
	}{
		"GET, refused once":        {account, refused, 1, 2, true},
		"GET, refused for ever":    {account, refused, 99, 4, false},
		"GET, 503 twice":           {account, says(503, `{}`), 2, 3, true},
		"GET, 500":                 {account, says(500, `{}`), 1, 1, false},
		"GET, 404":                 {account, says(404, `{}`), 1, 1, false},
		"GET, nonsense":            {account, says(200, `{`), 1, 1, false},
		"deploy with an id":        {deploy("r"), refused, 1, 2, true},
		"deploy with an id, 503":   {deploy("r"), says(503, `{}`), 1, 2, true},
		"deploy without an id":     {deploy(""), refused, 1, 1, false},
		"credit is not repeated":   {credit, says(503, `{}`), 1, 1, false},
		"credit of a payment":      {payment, says(503, `{}`), 1, 2, true},
		"deletion is not repeated": {remove, refused, 1, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				tries := 0
				err := c.do(t.Context(), cloud(func(w http.ResponseWriter, r *http.Request) error {
					if tries++; tries <= c.bad {
						return c.first(w, r)
					}
					return says(200, `null`)(w, r)
				}))
				if tries != c.tries || (err == nil) != c.ok {
					t.Errorf("%d tries, error %v; want %d, success %t", tries, err, c.tries, c.ok)
				}
			})
		})
	}
}

func TestUnreached(t *testing.T) {
	t.Parallel()
	err := client.New("http://127.0.0.1:1", "cpu_secret").DeleteSSHKey(t.Context(), "x")
	if !client.Unreached(err) || !errors.Is(err, syscall.ECONNREFUSED) || strings.Contains(err.Error(), "cpu_secret") {
		t.Errorf("error %v, want a refused connection", err)
	}
}

func TestRetriesEndWithTheContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
		defer cancel()
		tries := 0
		_, err := cloud(func(http.ResponseWriter, *http.Request) error { tries++; return syscall.ECONNREFUSED }).Account(ctx)
		if tries != 2 || !client.Unreached(err) {
			t.Errorf("%d tries, error %v; want 2 within 150 ms", tries, err)
		}
	})
}

// TestWaitVM lets a VM become Active after a minute, at a server that holds
// requests and at one that doesn't.
func TestWaitVM(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		holds   bool
		watched bool
		most    int
	}{
		"held":             {holds: true, most: 4},
		"held and watched": {holds: true, watched: true, most: 62},
		"not held":         {most: 242},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				began, calls, seen := time.Now(), 0, 0
				active := began.Add(time.Minute)
				slow := cloud(func(w http.ResponseWriter, r *http.Request) error {
					calls++
					timeout, err := time.ParseDuration(r.URL.Query().Get("timeout"))
					if err != nil || r.URL.Query().Get("wait") != client.StatusActive {
						t.Errorf("asked %s: %v", r.URL, err)
					}
					if c.holds {
						time.Sleep(min(timeout, time.Until(active)))
					}
					if time.Now().Before(active) {
						return says(200, `{"status": "Launching"}`)(w, r)
					}
					return says(200, `{"status": "Active"}`)(w, r)
				})
				var watch []func(client.VM)
				if c.watched {
					watch = append(watch, func(client.VM) { seen++ })
				}
				v, err := slow.WaitVM(t.Context(), "a", client.StatusActive, watch...)
				if err != nil || v.Status != client.StatusActive {
					t.Errorf("WaitVM = %q, %v", v.Status, err)
				}
				if calls > c.most || c.watched && seen != calls {
					t.Errorf("%d calls, watched %d of them; want at most %d", calls, seen, c.most)
				}
				if late := time.Since(active); late > 250*time.Millisecond {
					t.Errorf("noticed %s late", late)
				}
			})
		})
	}
}

func TestWaitVMEndsWithTheVM(t *testing.T) {
	t.Parallel()
	v, err := cloud(says(200, `{"status": "Failed", "reason": "no image"}`)).WaitVM(t.Context(), "a", client.StatusActive)
	if err != nil || v.Status != client.StatusFailed || v.Reason != "no image" {
		t.Errorf("WaitVM = %q %q, %v; want the VM as it ended", v.Status, v.Reason, err)
	}
}

func TestWaitVMEndsWithTheContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		v, err := cloud(says(200, `{"status": "New"}`)).WaitVM(ctx, "a", client.StatusActive)
		if !errors.Is(err, context.DeadlineExceeded) || v.Status != client.StatusNew {
			t.Errorf("WaitVM = %q, %v; want the last look and the deadline", v.Status, err)
		}
	})
}

func TestDeleteReturnsIDs(t *testing.T) {
	t.Parallel()
	ids, err := cloud(says(200, `{"removed_ids": ["0xAb"], "transactions": []}`)).DeleteVMs(t.Context(), "0xab")
	if err != nil || !reflect.DeepEqual(ids, []string{"0xAb"}) {
		t.Errorf("DeleteVMs = %v, %v", ids, err)
	}
}
