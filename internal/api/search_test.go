package api_test

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/vm"
)

type summaryAnswer struct {
	Configuration struct {
		Slug  string `json:"slug"`
		Price string `json:"price"`
	} `json:"configuration"`
	Offer      string           `json:"offer"`
	Provider   string           `json:"provider"`
	Datacenter datacenterAnswer `json:"datacenter"`
	Hardware   struct {
		CPU     map[string]string `json:"cpu"`
		Memory  map[string]string `json:"memory"`
		Storage map[string]string `json:"storage"`
	} `json:"hardware"`
	PerThread int               `json:"vcpuPerThread"`
	Prices    map[string]string `json:"prices"`
	Servers   int               `json:"servers"`
	Instances int               `json:"instances"`
	MaxExtra  int               `json:"maxExtraStorageGib"`
	Measured  *measuredAnswer   `json:"measured"`
}

type measuredAnswer struct {
	Servers   int           `json:"servers"`
	Oldest    time.Time     `json:"oldest"`
	CPUSingle *figureAnswer `json:"cpuSingle"`
	DiskFsync *figureAnswer `json:"diskFsync"`
	Memory    *figureAnswer `json:"memory"`
}

type figureAnswer struct {
	Worst float64 `json:"worst"`
	Best  float64 `json:"best"`
}

type pageAnswer struct {
	Offers []summaryAnswer `json:"offers"`
	Next   *string         `json:"next"`
}

// crowd adds simulated servers, every one of a kind of its own.
func (c *cloud) crowd(n int) {
	c.t.Helper()
	var lines strings.Builder
	for i := range n {
		fmt.Fprintf(&lines, "%d,%d,%d,DE,AMD,ARCH%d,DDR%d,SSD,%d,%d,800,8,0,0,0,0,%d\n", i+1, i%3, i%5, i%11, 4+i%2, 4+2*(i%3), 32+i%4, 100_000+1_000*(i%7))
	}
	c.sendAs(c.operator, "POST", "/v1/admin/simulation", `{"fleet": `+strconv.Quote(lines.String())+`}`).wants(http.StatusCreated, nil)
}

// A long answer is streamed, and is what a search finds.
func TestOffersStream(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.crowd(300)
	var offers []offerAnswer
	answer := c.send("POST", "/marketplace/offers", "{}")
	answer.wants(http.StatusOK, &offers)
	i := 0
	if err := c.control.Offers(market.Constraints{}, func(m *market.Match) bool {
		o := offers[i]
		if o.Configuration.Slug != m.Configuration.Slug() || o.Configuration.Price != m.Price.String() || o.Datacenter.Slug != m.Offer.Datacenter.Slug() ||
			len(o.Servers) != len(m.Rooms) || o.Resources[0].Metadata["architecture"] != m.Hardware.CPU.Architecture ||
			int64(o.Servers[0].AvailableBasicInstances) != m.Rooms[0].Instances || int64(o.MaxAdditionalSupply[0].Supply) != m.MaxExtraGiB {
			t.Errorf("offer %d is %+v, want that of %+v", i, o, m.Summary)
		}
		i++
		return true
	}); err != nil || i != len(offers) || i < 600 {
		t.Errorf("%d offers, %d were found: %v", len(offers), i, err)
	}
}

// Pages hold every offer once, in the order that is asked for.
func TestOfferPages(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.crowd(60)
	measured := c.agent.inventory
	measured.Measured = &capacity.Measured{At: c.control.Now(), CPUSingle: 1234.5, DiskFsync: 0.25}
	c.agent.sequence++
	if err := c.control.Observe(t.Context(), c.agent.server, vm.Report{Sequence: c.agent.sequence, Inventory: measured}); err != nil {
		t.Fatal(err)
	}
	key := func(s summaryAnswer) string {
		return fmt.Sprint(s.Configuration.Slug, s.Offer, s.Datacenter.Slug, s.Hardware, s.PerThread)
	}
	price := func(s summaryAnswer) float64 { return number(t, s.Configuration.Price) }
	figure := func(s summaryAnswer) float64 {
		if s.Measured == nil {
			return 0
		}
		return s.Measured.CPUSingle.Best
	}
	for sort, before := range map[string]func(a, b summaryAnswer) bool{
		"":          func(a, b summaryAnswer) bool { return price(a) <= price(b) },
		"price":     func(a, b summaryAnswer) bool { return price(a) <= price(b) },
		"free":      func(a, b summaryAnswer) bool { return a.Instances >= b.Instances },
		"cpuSingle": func(a, b summaryAnswer) bool { return figure(a) >= figure(b) },
		"diskFsync": func(a, b summaryAnswer) bool { return figure(a) >= figure(b) }, // the only one that was measured comes first
	} {
		var whole pageAnswer
		c.send("POST", "/v1/offers", `{"limit": 1000, "sort": "`+sort+`"}`).wants(http.StatusOK, &whole)
		var all []summaryAnswer
		for cursor := ""; ; {
			var page pageAnswer
			c.send("POST", "/v1/offers", `{"limit": 7, "sort": "`+sort+`", "cursor": "`+cursor+`"}`).wants(http.StatusOK, &page)
			all = append(all, page.Offers...)
			if page.Next == nil {
				break
			}
			if cursor = *page.Next; len(page.Offers) != 7 || len(all) > len(whole.Offers) {
				t.Fatalf("%s: a page of %d offers, %d of %d in all", sort, len(page.Offers), len(all), len(whole.Offers))
			}
		}
		same := func(a, b summaryAnswer) bool { return key(a) == key(b) }
		if whole.Next != nil || len(all) < 120 || !slices.EqualFunc(all, whole.Offers, same) {
			t.Errorf("%s: pages hold %d offers, one long page %d", sort, len(all), len(whole.Offers))
		}
		for i := 1; i < len(all); i++ {
			if !before(all[i-1], all[i]) {
				t.Errorf("%s: %+v comes before %+v", sort, all[i-1], all[i])
			}
		}
	}
}

func number(t *testing.T, text string) float64 {
	t.Helper()
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// What is measured stands beside what is declared, and can be asked for.
func TestOffersMeasured(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	page := func(body string) (p pageAnswer) {
		c.send("POST", "/v1/offers", body).wants(http.StatusOK, &p)
		return p
	}
	first := page(`{"basicConfiguration": "` + smallest + `"}`).Offers[0]
	if first.Measured != nil || first.Provider != "Example Hosting" || first.PerThread != 4 || first.Servers != 1 || first.Instances != 4 || first.MaxExtra != 375 ||
		first.Prices["vcpu"] != "0.2" || first.Hardware.CPU["brand"] != "EPYC" || first.Hardware.Memory["generation"] != "5" || first.Datacenter.Slug != "us-nyc-1" {
		t.Errorf("before it was measured: %+v", first)
	}
	at := c.control.Now().Add(-time.Hour)
	c.agent.inventory.Measured = &capacity.Measured{At: at, CPUSingle: 900.25, DiskFsync: 1.5}
	c.report(vm.Ready)
	m := page(`{}`).Offers[0].Measured
	if m == nil || m.Servers != 1 || !m.Oldest.Equal(at) || *m.CPUSingle != (figureAnswer{900.25, 900.25}) || *m.DiskFsync != (figureAnswer{1.5, 1.5}) || m.Memory != nil {
		t.Errorf("measured: %+v", m)
	}
	for body, want := range map[string]bool{
		`{"minMeasured": {"cpuSingle": 900.25}}`: true, `{"minMeasured": {"cpuSingle": 901}}`: false,
		`{"minMeasured": {"diskFsync": 1.5}}`: true, `{"minMeasured": {"diskFsync": 1.4}}`: false, `{"minMeasured": {"memory": 1}}`: false,
		`{"minTier": 3}`: true, `{"minTier": 4}`: false, `{"certifications": ["iso 27001"]}`: true, `{"certifications": ["SOC 2"]}`: false,
		`{"providers": ["Example Hosting"]}`: true, `{"providers": ["other"]}`: false, `{"excludeProviders": ["example hosting"]}`: false,
		`{"datacenters": ["us-nyc-1"]}`: true, `{"excludeDatacenters": ["us-nyc-1"]}`: false,
	} {
		if got := len(page(body).Offers) > 0; got != want {
			t.Errorf("%s: found %t, want %t", body, got, want)
		}
	}
	for body, want := range map[string]string{
		`{"sort": "colour"}`: "sort", `{"limit": 0}`: "limit", `{"limit": 1001}`: "limit", `{"cursor": "***"}`: "cursor", `{"cursor": "e30x"}`: "cursor",
		`{"maxTotalPricePerEpochUsd": "cheap"}`: "price limit",
	} {
		c.send("POST", "/v1/offers", body).refused(http.StatusUnprocessableEntity, want)
	}
}

// The reasons why nothing fits, and what would.
func TestExplain(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	var e struct {
		Servers, Matching int
		Reasons           []struct {
			Constraint, Wanted string
			Alone, InOrder     int
		}
		Relaxations []struct {
			Constraint, Change, Price, Configuration string
			Instances                                int
		}
	}
	c.send("POST", "/v1/offers/explain", `{"constraints": {"basicConfiguration": "`+smallest+`", "datacenter": {"countries": ["US", "FR"]}, "maxTotalPricePerEpochUsd": "0.5"}}`).wants(http.StatusOK, &e)
	if e.Servers != 1 || e.Matching != 0 || len(e.Relaxations) != 1 {
		t.Fatalf("got %+v", e)
	}
	if r := e.Relaxations[0]; r.Price != "0.84" || r.Configuration != smallest || r.Instances != 1 || !strings.Contains(r.Change, "0.5 to 0.84") {
		t.Errorf("relaxation %+v", r)
	}
	for _, r := range e.Reasons {
		if want := map[string]int{"maxTotalPricePerEpochUsd": 1}[r.Constraint]; r.Alone != want || r.InOrder != want {
			t.Errorf("reason %+v, want %d", r, want)
		}
	}
	c.send("POST", "/v1/offers/explain", `{"instances": 0}`).refused(http.StatusUnprocessableEntity, "instances")
}

// A quote is deployed at its price, once.
func TestQuotes(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	var q struct {
		ID        string    `json:"quoteId"`
		ExpiresAt time.Time `json:"expiresAt"`
		Config    string    `json:"configuration"`
		Storage   int       `json:"storageGib"`
		Deposit   string    `json:"depositAmountUsdc"`
		Epochs    int       `json:"depositEpochs"`
		Total     string    `json:"totalPricePerEpoch"`
		Dearest   string    `json:"maxPricePerEpoch"`
		Instances int       `json:"instances"`
	}
	c.send("POST", "/v1/quotes", `{"instances": 3, "constraints": {"minTier": 2}, "holdSeconds": 60}`).wants(http.StatusCreated, &q)
	if q.Config != smallest || q.Storage != 25 || q.Deposit != "5.04" || q.Epochs != 2 || q.Total != "2.52" || q.Dearest != "0.84" || q.Instances != 3 ||
		!q.ExpiresAt.Equal(c.control.Now().Add(time.Minute)) {
		t.Errorf("quote %+v", q)
	}
	deploy := func(quote string) answer {
		return c.send("POST", "/v1/vms", `{"instances": 3, "quoteId": "`+quote+`", "vmConfiguration": {"name": "web", "osImage": "`+ubuntu+`", "sshKeys": ["`+keyLine+`"]}}`)
	}
	c.send("POST", "/vms/v3/estimate", `{"instances": 2}`).refused(http.StatusUnprocessableEntity, "Not enough offers found")
	deploy("quo_no").refused(http.StatusNotFound, "quo_no")
	var made []struct {
		ID   string `json:"vmId"`
		Name string `json:"vmName"`
	}
	deploy(q.ID).wants(http.StatusCreated, &made)
	if len(made) != 3 {
		t.Errorf("made %+v", made)
	}
	deploy(q.ID).refused(http.StatusConflict, "has expired or was used")
	for body, want := range map[string]string{
		`{}`: "instances", `{"instances": 1, "holdSeconds": 59}`: "holds for", `{"instances": 1, "holdSeconds": 1e9}`: "holdSeconds",
		`{"instances": 2}`: "Not enough offers found", `{"instances": 1, "strategy": "odd"}`: "strategy",
	} {
		c.send("POST", "/v1/quotes", body).refused(http.StatusUnprocessableEntity, want)
	}
	c.send("POST", "/v1/vms", `{"instances": 1, "antiAffinityGroup": "a b", "vmConfiguration": {"name": "web", "osImage": "`+ubuntu+`", "sshKeys": ["`+keyLine+`"]}}`).
		refused(http.StatusUnprocessableEntity, "affinity group")
	for _, path := range []string{"/v1/vms", "/v1/vms?dryRun=true"} {
		c.send("POST", path, `{"instances": 1, "imageChecksum": "md5:00", "vmConfiguration": {"name": "web", "osImage": "`+ubuntu+`", "sshKeys": ["`+keyLine+`"]}}`).
			refused(http.StatusUnprocessableEntity, `imageChecksum "md5:00" is not sha256:`)
	}
}

// Only where it is allowed, and only for operators.
func TestSimulationIsTheOperators(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.send("POST", "/v1/admin/simulation", `{"fleet": ""}`).refused(http.StatusForbidden, "operator")
	c.sendAs(c.operator, "POST", "/v1/admin/simulation", `{"fleet": "a,b\n"}`).refused(http.StatusUnprocessableEntity, "the fleet can't be read")
}
