package client_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/client"
)

// TestProviderRequests compares what is sent with the published contract.
func TestProviderRequests(t *testing.T) {
	t.Parallel()
	l := client.Listing{
		Datacenters: []client.ListedDatacenter{{Country: "DE", City: "FRA", Index: 1, Tier: 3, Certifications: []string{}}},
		Offers: []client.ListedOffer{{
			Name: "a", Datacenter: "de-fra-1", Hardware: client.ServerHardware{Storage: client.Storage{Type: "NVMe"}},
			Prices: client.UnitPrices{VCPU: "0.05", RAM: "0.02", Storage: "0.004", Address: "0.02"},
		}},
	}
	const lJSON = ` {"datacenters":[{"country":"DE","city":"FRA","index":1,"tier":3,"certifications":[]}],"offers":[{"name":"a","datacenter":"de-fra-1",` +
		`"hardware":{"cpu":{},"memory":{},"storage":{"type":"NVMe"}},"prices":{"vcpu":"0.05","ram":"0.02","storage":"0.004","address":"0.02"},"maxExtraStorageGib":0}]}`
	since := time.Date(2026, 1, 31, 13, 0, 0, 0, time.FixedZone("", 3600))
	type do = func(context.Context, *client.Client) (any, error)
	for want, do := range map[string]do{
		`POST /v1/providers {"name":"Ex"}`:                func(ctx context.Context, c *client.Client) (any, error) { return c.CreateProvider(ctx, "Ex") },
		`GET /v1/providers`:                               func(ctx context.Context, c *client.Client) (any, error) { return c.Providers(ctx) },
		`GET /v1/providers/a%2Fb%20c/listing`:             func(ctx context.Context, c *client.Client) (any, error) { return c.Listing(ctx, "a/b c") },
		`PUT /v1/providers/p/listing` + lJSON:             func(ctx context.Context, c *client.Client) (any, error) { return c.ApplyListing(ctx, "p", l, false) },
		`PUT /v1/providers/p/listing?dryRun=true` + lJSON: func(ctx context.Context, c *client.Client) (any, error) { return c.ApplyListing(ctx, "p", l, true) },
		`GET /v1/providers/p/servers`:                     func(ctx context.Context, c *client.Client) (any, error) { return c.Servers(ctx, "p") },
		`GET /v1/providers/p/servers/s%3F`:                func(ctx context.Context, c *client.Client) (any, error) { return c.Server(ctx, "p", "s?") },
		`POST /v1/providers/p/servers/s/cordon {}`:        func(ctx context.Context, c *client.Client) (any, error) { return c.Cordon(ctx, "p", "s") },
		`POST /v1/providers/p/servers/s/uncordon {}`:      func(ctx context.Context, c *client.Client) (any, error) { return c.Uncordon(ctx, "p", "s") },
		`POST /v1/providers/p/servers/s/remove {}`:        func(ctx context.Context, c *client.Client) (any, error) { return c.RemoveServer(ctx, "p", "s") },
		`POST /v1/providers/p/servers/s/remove {"lost":true}`: func(ctx context.Context, c *client.Client) (any, error) {
			return c.RemoveLostServer(ctx, "p", "s", "")
		},
		`POST /v1/providers/p/servers/s/remove {"lost":true,"reason":"r"}`: func(ctx context.Context, c *client.Client) (any, error) {
			return c.RemoveLostServer(ctx, "p", "s", "r")
		},
		`POST /v1/providers/p/servers/s/benchmark {}`: func(ctx context.Context, c *client.Client) (any, error) { return c.BenchmarkServer(ctx, "p", "s") },
		`POST /v1/providers/p/vms/0x1/terminate {"reason":"r"}`: func(ctx context.Context, c *client.Client) (any, error) {
			return c.TerminateVM(ctx, "p", "0x1", "r")
		},
		`POST /v1/providers/p/servers/s/drain {"deadline":"72h0m0s"}`: func(ctx context.Context, c *client.Client) (any, error) {
			return c.Drain(ctx, "p", "s", 72*time.Hour, "")
		},
		`POST /v1/providers/p/servers/s/drain {"deadline":"1h0m0s","reason":"r"}`: func(ctx context.Context, c *client.Client) (any, error) {
			return c.Drain(ctx, "p", "s", time.Hour, "r")
		},
		`POST /v1/providers/p/tokens {"datacenter":"de-fra-1"}`: func(ctx context.Context, c *client.Client) (any, error) {
			return c.CreateServerToken(ctx, "p", client.ServerInvitation{Datacenter: "de-fra-1"})
		},
		`POST /v1/providers/p/tokens {"datacenter":"d","offer":"o","name":"n","validHours":48}`: func(ctx context.Context, c *client.Client) (any, error) {
			return c.CreateServerToken(ctx, "p", client.ServerInvitation{Datacenter: "d", Offer: "o", Name: "n", ValidHours: 48})
		},
		`POST /v1/providers/p/withdrawals {"amount":"1","to":"t"} key k`: func(ctx context.Context, c *client.Client) (any, error) {
			return c.Withdraw(ctx, "p", client.WithdrawalRequest{Amount: "1", To: "t", RequestID: "k"})
		},
		`POST /v1/providers/p/withdrawals {"amount":"1","to":"t","note":"n"}`: func(ctx context.Context, c *client.Client) (any, error) {
			return c.Withdraw(ctx, "p", client.WithdrawalRequest{Amount: "1", To: "t", Note: "n"})
		},
		`GET /v1/providers/p/withdrawals`:                  func(ctx context.Context, c *client.Client) (any, error) { return c.Withdrawals(ctx, "p", "") },
		`GET /v1/providers/p/withdrawals?status=cancelled`: func(ctx context.Context, c *client.Client) (any, error) { return c.Withdrawals(ctx, "p", "cancelled") },
		`DELETE /v1/providers/p/withdrawals/w`:             func(ctx context.Context, c *client.Client) (any, error) { return c.CancelWithdrawal(ctx, "p", "w") },
		`GET /v1/providers/p/earnings?by=vm`: func(ctx context.Context, c *client.Client) (any, error) {
			return c.Earnings(ctx, "p", "vm", time.Time{})
		},
		`GET /v1/providers/p/earnings?by=day&since=2026-01-31T12%3A00%3A00Z`: func(ctx context.Context, c *client.Client) (any, error) {
			return c.Earnings(ctx, "p", "day", since)
		},
	} {
		got := ""
		_, err := do(t.Context(), cloud(func(w http.ResponseWriter, r *http.Request) error {
			body, err := io.ReadAll(r.Body)
			got = strings.TrimSpace(r.Method + " " + r.URL.RequestURI() + " " + string(body))
			if key := r.Header.Get("Idempotency-Key"); key != "" {
				got += " key " + key
			}
			_, _ = io.WriteString(w, "null") // decodes into everything
			return err
		}))
		if err != nil || got != want {
			t.Errorf("sent %s, %v\nwant %s", got, err, want)
		}
	}
}

func TestServer(t *testing.T) {
	t.Parallel()
	v, err := cloud(says(http.StatusOK, `{"id": "srv_1", "name": "rack1", "state": "open", "offer": "a", "datacenter": "de-fra-1", "heardAt": "2026-01-31T12:00:00Z",
		"unreachableSince": null, "problem": null, "drainDeadline": null, "capacity": {"vcpu": 64, "ramGib": 256, "storageGib": 3500, "addresses": 8},
		"declared": ["hardware.cpu.brand"], "measured": {"at": "2026-01-31T11:00:00Z", "ageSeconds": 3600, "cpuSingle": 1034.5, "diskIops": 11800}, "vms": 2}`)).
		Server(t.Context(), "p", "rack1")
	if err != nil {
		t.Fatal(err)
	}
	if v.Capacity != (client.ServerCapacity{VCPU: 64, RAMGiB: 256, StorageGiB: 3500, Addresses: 8}) || v.VMs != 2 || v.Problem != nil || v.HeardAt == nil {
		t.Errorf("Server = %+v", v)
	}
	if m := v.Measured; m == nil || m.CPUSingle != 1034.5 || m.DiskIOPS != 11800 || m.AgeSeconds != 3600 {
		t.Errorf("Measured = %+v", m)
	}
}

// TestAllFaultsOfAListing: a refusal carries each fault with its path.
func TestAllFaultsOfAListing(t *testing.T) {
	t.Parallel()
	_, err := cloud(says(http.StatusUnprocessableEntity, `{"error": "2 faults: …", "faults": [{"path": "offers[1].prices.vcpu", "message": "no"}, {"path": "offers", "message": "n"}]}`)).
		ApplyListing(t.Context(), "p", client.Listing{}, true)
	e, ok := errors.AsType[*client.Error](err)
	want := []client.Fault{{Path: "offers[1].prices.vcpu", Message: "no"}, {Path: "offers", Message: "n"}}
	if !ok || e.Status != http.StatusUnprocessableEntity || e.Message != "2 faults: …" || !reflect.DeepEqual(e.Faults, want) {
		t.Errorf("error %#v, want the faults %v", err, want)
	}
}

// TestWhatIsRepeated: only what done twice is done once is tried again while
// the cloud starts.
func TestWhatIsRepeated(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		tries int
		do    func(context.Context, *client.Client) error
	}{
		"apply": {2, func(ctx context.Context, c *client.Client) error {
			_, err := c.ApplyListing(ctx, "p", client.Listing{}, false)
			return err
		}},
		"cordon": {2, func(ctx context.Context, c *client.Client) error { _, err := c.Cordon(ctx, "p", "s"); return err }},
		"create": {1, func(ctx context.Context, c *client.Client) error { _, err := c.CreateProvider(ctx, "p"); return err }},
		"remove": {1, func(ctx context.Context, c *client.Client) error { _, err := c.RemoveServer(ctx, "p", "s"); return err }},
		"terminate": {1, func(ctx context.Context, c *client.Client) error {
			_, err := c.TerminateVM(ctx, "p", "v", "r")
			return err
		}},
	} {
		tries := 0
		err := c.do(t.Context(), cloud(func(w http.ResponseWriter, _ *http.Request) error {
			if tries++; tries == 1 {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			_, err := io.WriteString(w, "{}")
			return err
		}))
		if tries != c.tries || (err == nil) != (c.tries == 2) {
			t.Errorf("%s: %d tries, %v; want %d", name, tries, err, c.tries)
		}
	}
}
