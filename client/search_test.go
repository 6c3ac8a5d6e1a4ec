package client_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/client"
)

// TestSearchRequests compares what is sent with the published contract.
func TestSearchRequests(t *testing.T) {
	t.Parallel()
	wishes := client.Wishes{
		Constraints: client.Constraints{BasicConfiguration: "c", MaxPricePerEpoch: "1.5"},
		Providers:   []string{"A"}, ExcludeProviders: []string{"B"}, Datacenters: []string{"us-nyc-1"}, ExcludeDatacenters: []string{"us-lax-1"},
		MinTier: 2, Certifications: []string{"SOC2"},
		MinMeasured: client.MinMeasured{CPUSingle: 1, CPUAll: 2, Memory: 3, DiskRead: 4, DiskWrite: 5, DiskIOPS: 6, DiskFsync: 0.5, Network: 8},
	}
	const members = `"basicConfiguration":"c","maxTotalPricePerEpochUsd":"1.5","providers":["A"],"excludeProviders":["B"],"datacenters":["us-nyc-1"],` +
		`"excludeDatacenters":["us-lax-1"],"minTier":2,"certifications":["SOC2"],"minMeasured":{"cpuSingle":1,"cpuAll":2,"memory":3,"diskRead":4,` +
		`"diskWrite":5,"diskIops":6,"diskFsync":0.5,"network":8}`
	placing := client.Placing{Constraints: wishes, Instances: 2, Strategy: client.StrategySpread, AntiAffinityGroup: "db"}
	const placingJSON = `"constraints":{` + members + `},"instances":2,"strategy":"spread","antiAffinityGroup":"db"`
	for want, do := range map[string]func(context.Context, *client.Client) error{
		`POST /v1/offers {}`: func(ctx context.Context, c *client.Client) error {
			_, _, err := c.OffersPage(ctx, client.OfferQuery{})
			return err
		},
		`POST /v1/offers {` + members + `,"sort":"free","limit":7,"cursor":"abc"}`: func(ctx context.Context, c *client.Client) error {
			_, _, err := c.OffersPage(ctx, client.OfferQuery{Wishes: wishes, Sort: client.SortFree, Limit: 7, Cursor: "abc"})
			return err
		},
		`POST /v1/offers/explain {"instances":1}`: func(ctx context.Context, c *client.Client) error {
			_, err := c.Explain(ctx, client.Placing{Instances: 1})
			return err
		},
		`POST /v1/offers/explain {` + placingJSON + `}`: func(ctx context.Context, c *client.Client) error { _, err := c.Explain(ctx, placing); return err },
		`POST /v1/quotes {"instances":1}`: func(ctx context.Context, c *client.Client) error {
			_, err := c.Quote(ctx, client.Placing{Instances: 1}, 0)
			return err
		},
		`POST /v1/quotes {` + placingJSON + `,"holdSeconds":90}`: func(ctx context.Context, c *client.Client) error {
			_, err := c.Quote(ctx, placing, 89*time.Second+1)
			return err
		},
		`POST /v1/vms {` + placingJSON + `,"requestId":"r","vmConfiguration":{"name":"web","osImage":"u","sshKeys":["k"]}}`: func(ctx context.Context, c *client.Client) error {
			_, err := c.DeployWith(ctx, client.PlacedDeployment{Placing: placing, RequestID: "r", VM: client.VMConfiguration{Name: "web", OSImage: "u", SSHKeys: []string{"k"}}})
			return err
		},
		`POST /v1/vms {"instances":2,"quoteId":"quo_1","vmConfiguration":{"name":"web","osImage":"u","sshKeys":["k"]}}`: func(ctx context.Context, c *client.Client) error {
			_, err := c.DeployWith(ctx, client.PlacedDeployment{
				Placing: client.Placing{Instances: 2}, QuoteID: "quo_1", VM: client.VMConfiguration{Name: "web", OSImage: "u", SSHKeys: []string{"k"}},
			})
			return err
		},
	} {
		got := ""
		err := do(t.Context(), cloud(func(w http.ResponseWriter, r *http.Request) error {
			body, err := io.ReadAll(r.Body)
			got = strings.TrimSpace(r.Method + " " + r.URL.RequestURI() + " " + string(body))
			_, _ = io.WriteString(w, "null") // decodes into everything
			return err
		}))
		if err != nil || got != want {
			t.Errorf("sent %s, %v\nwant %s", got, err, want)
		}
	}
}

func TestOffersPage(t *testing.T) {
	t.Parallel()
	offers, next, err := cloud(says(http.StatusOK, `{"offers": [{"configuration": {"slug": "c", "price": "0.84"}, "offer": "epyc", "provider": "Example Hosting",
		"datacenter": {"countryCode": "US", "cityCode": "NYC", "cityIndex": 1, "tier": 3, "slug": "us-nyc-1", "certifications": []},
		"hardware": {"cpu": {"manufacturer": "AMD", "brand": "EPYC", "architecture": "Zen", "generation": "4"}, "memory": {"type": "DDR", "generation": "5"},
			"storage": {"type": "NVMe"}}, "vcpuPerThread": 4, "prices": {"vcpu": "0.2", "ram": "0.06", "storage": "0.004", "address": "0.1"},
		"servers": 3, "instances": 36, "maxExtraStorageGib": 700,
		"measured": {"servers": 2, "oldest": "2026-01-31T12:00:00Z", "cpuSingle": {"worst": 990.5, "best": 1012.25}}}], "next": "abc"}`)).
		OffersPage(t.Context(), client.OfferQuery{})
	want := []client.OfferSummary{{
		Configuration: client.Configuration{Slug: "c", Price: "0.84"}, Offer: "epyc", Provider: "Example Hosting",
		Datacenter: client.Datacenter{CountryCode: "US", CityCode: "NYC", CityIndex: 1, Tier: 3, Slug: "us-nyc-1", Certifications: []string{}},
		Hardware: client.ServerHardware{
			CPU:    client.Processor{Manufacturer: "AMD", Brand: "EPYC", Architecture: "Zen", Generation: "4"},
			Memory: client.Memory{Type: "DDR", Generation: "5"}, Storage: client.Storage{Type: "NVMe"},
		},
		VCPUPerThread: 4, Prices: client.UnitPrices{VCPU: "0.2", RAM: "0.06", Storage: "0.004", Address: "0.1"},
		Servers: 3, Instances: 36, MaxExtraStorageGiB: 700,
		Measured: &client.MeasuredRange{
			Servers: 2, Oldest: time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC), CPUSingle: &client.Span{Worst: 990.5, Best: 1012.25},
		},
	}}
	if err != nil || next != "abc" || !reflect.DeepEqual(offers, want) {
		t.Errorf("got %+v, %q, %v, want %+v", offers, next, err, want)
	}
}

// TestEachOffer walks the pages until the last, an error, or a break.
func TestEachOffer(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		last   string // the answer for the cursor "2"
		stop   int    // after so many
		want   []string
		failed bool
		pages  int
	}{
		"to the end": {`{"offers": [{"offer": "c"}], "next": null}`, 9, []string{"a", "b", "c"}, false, 2},
		"an error":   {`{"offers": `, 9, []string{"a", "b"}, true, 2},
		"a break":    {``, 2, []string{"a", "b"}, false, 1},
		"none":       {`{"offers": [], "next": "2"}`, 9, []string{"a", "b"}, false, 2},
	} {
		pages, failed, got := 0, false, []string(nil)
		for o, err := range cloud(func(w http.ResponseWriter, r *http.Request) error {
			pages++
			var q client.OfferQuery
			if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
				return err
			}
			answer := `{"offers": [{"offer": "a"}, {"offer": "b"}], "next": "2"}`
			if q.Cursor == "2" && q.Limit == 2 {
				answer = c.last
			}
			_, err := io.WriteString(w, answer)
			return err
		}).EachOffer(t.Context(), client.OfferQuery{Limit: 2}) {
			if failed = err != nil; failed {
				continue
			}
			if got = append(got, o.Offer); len(got) == c.stop {
				break
			}
		}
		if !slices.Equal(got, c.want) || failed != c.failed || pages != c.pages {
			t.Errorf("%s: got %v, failed %t, %d pages; want %+v", name, got, failed, pages, c)
		}
	}
}

func TestQuoteAndExplanation(t *testing.T) {
	t.Parallel()
	q, err := cloud(says(http.StatusCreated, `{"quoteId": "quo_1", "expiresAt": "2026-01-31T12:02:00Z", "configuration": "c", "storageGib": 25,
		"depositAmountUsdc": "3.36", "depositEpochs": 2, "totalPricePerEpoch": "1.68", "maxPricePerEpoch": "0.84", "instances": 2}`)).
		Quote(t.Context(), client.Placing{Instances: 2}, time.Minute)
	want := client.Quote{
		ID: "quo_1", ExpiresAt: time.Date(2026, 1, 31, 12, 2, 0, 0, time.UTC), Configuration: "c", StorageGiB: 25,
		Estimate: client.Estimate{Deposit: "3.36", DepositEpochs: 2, Total: "1.68", Max: "0.84", Instances: 2},
	}
	if err != nil || q != want {
		t.Errorf("got %+v, %v, want %+v", q, err, want)
	}
	e, err := cloud(says(http.StatusOK, `{"servers": 3, "matching": 0, "reasons": [{"constraint": "minTier", "wanted": "4", "alone": 3, "inOrder": 2}],
		"relaxations": [{"constraint": "minTier", "change": "accept tier 3 instead of 4", "price": "0.31", "configuration": "c", "instances": 1}]}`)).
		Explain(t.Context(), client.Placing{Instances: 1})
	explained := client.Explanation{
		Servers: 3, Reasons: []client.Reason{{Constraint: "minTier", Wanted: "4", Alone: 3, InOrder: 2}},
		Relaxations: []client.Relaxation{{Constraint: "minTier", Change: "accept tier 3 instead of 4", Price: "0.31", Configuration: "c", Instances: 1}},
	}
	if err != nil || !reflect.DeepEqual(e, explained) {
		t.Errorf("got %+v, %v, want %+v", e, err, explained)
	}
}

// TestWhatOfTheMarketIsRepeated: a quote may be held by the time its answer is
// lost, and so may a deployment that nothing names.
func TestWhatOfTheMarketIsRepeated(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		tries int
		do    func(context.Context, *client.Client) error
	}{
		"search": {2, func(ctx context.Context, c *client.Client) error {
			_, _, err := c.OffersPage(ctx, client.OfferQuery{})
			return err
		}},
		"explain": {2, func(ctx context.Context, c *client.Client) error {
			_, err := c.Explain(ctx, client.Placing{Instances: 1})
			return err
		}},
		"quote": {1, func(ctx context.Context, c *client.Client) error {
			_, err := c.Quote(ctx, client.Placing{Instances: 1}, time.Minute)
			return err
		}},
		"deploy": {1, func(ctx context.Context, c *client.Client) error {
			_, err := c.DeployWith(ctx, client.PlacedDeployment{})
			return err
		}},
		"named deploy": {2, func(ctx context.Context, c *client.Client) error {
			_, err := c.DeployWith(ctx, client.PlacedDeployment{RequestID: "r"})
			return err
		}},
	} {
		tries := 0
		err := c.do(t.Context(), cloud(func(w http.ResponseWriter, _ *http.Request) error {
			if tries++; tries == 1 {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			_, err := io.WriteString(w, "null")
			return err
		}))
		if tries != c.tries || (err == nil) != (c.tries == 2) {
			t.Errorf("%s: %d tries, %v; want %d", name, tries, err, c.tries)
		}
	}
}

// TestWarningsOfAVM: they are there when the cloud says so.
func TestWarningsOfAVM(t *testing.T) {
	t.Parallel()
	v, err := cloud(says(http.StatusOK, `{"id": "0xab", "unreachableSince": "2026-01-31T13:00:00Z", "drainedAt": "2026-02-03T12:00:00Z"}`)).VM(t.Context(), "0xab")
	if err != nil || v.UnreachableSince == nil || v.UnreachableSince.Hour() != 13 || v.DrainedAt == nil || v.DrainedAt.Day() != 3 {
		t.Errorf("got %+v, %v", v, err)
	}
	v, err = cloud(says(http.StatusOK, `{"id": "0xab", "unreachableSince": null, "drainedAt": null}`)).VM(t.Context(), "0xab")
	if err != nil || v.UnreachableSince != nil || v.DrainedAt != nil {
		t.Errorf("got %+v, %v", v, err)
	}
}
