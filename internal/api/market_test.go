package api_test

import (
	"net/http"
	"slices"
	"testing"
)

const smallest = "cpu-2-ram-4gb-storage-25gb"

func TestOffers(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	var offers []offerAnswer
	c.send("POST", "/marketplace/offers", "{}").wants(http.StatusOK, &offers)
	o := offers[0]
	if o.Configuration.Slug != smallest || o.Configuration.Price != "0.84" {
		t.Errorf("the cheapest offer is %+v, want %s for 0.84", o.Configuration, smallest)
	}
	want := map[string]string{"VCPU": "0.4", "RAM": "0.24", "STORAGE": "0.1", "PUBLIC_IP": "0.1"}
	for _, r := range o.Resources {
		if r.Price != want[r.Type] || len(r.Metadata) == 0 {
			t.Errorf("resource %+v, want a price of %s", r, want[r.Type])
		}
		if got := r.Metadata["perThread"]; r.Type == "VCPU" && got != "4" {
			t.Errorf("a hardware thread is sold %q times, want it shown as 4", got)
		}
		delete(want, r.Type)
	}
	if len(want) > 0 {
		t.Errorf("resources %v are missing", want)
	}
	d := o.Datacenter
	if d.CountryCode != "US" || d.CityCode != "NYC" || d.CityIndex != 1 || d.Index != 1 || d.Tier != 3 || len(d.Certifications) != 1 || d.Slug != "us-nyc-1" {
		t.Errorf("datacenter %+v", d)
	}
	if len(o.Servers) != 1 || o.Servers[0].AvailableBasicInstances != 4 {
		t.Errorf("servers %+v, want one with 4 instances", o.Servers)
	}
	for _, x := range append(o.MaxAdditionalSupply, o.Servers[0].AdditionalResources...) {
		if x.Type != "STORAGE" || x.Metadata["type"] != "NVMe" || x.Price != "0.004" || x.Supply != 375 || x.Units != "GiB" || x.PerVM != nil {
			t.Errorf("additional %+v", x)
		}
	}
}

// Free instances fall when VMs are deployed and rise when they are gone.
func TestOffersFollowDeployments(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	free := func() uint {
		var offers []offerAnswer
		c.send("POST", "/marketplace/offers", `{"basicConfiguration": "`+smallest+`"}`).wants(http.StatusOK, &offers)
		n := uint(0)
		for _, o := range offers {
			for _, s := range o.Servers {
				n += s.AvailableBasicInstances
			}
		}
		return n
	}
	if got := free(); got != 4 {
		t.Fatalf("%d instances are free at first, want 4", got)
	}
	ids := c.deploy("3")
	if got := free(); got != 1 {
		t.Errorf("%d instances are free after a deployment of 3, want 1", got)
	}
	c.send("DELETE", "/vms/v3", `{"vmIds": ["`+ids[0]+`"]}`).wants(http.StatusOK, nil)
	c.report("ready")
	if got := free(); got != 2 {
		t.Errorf("%d instances are free after a deletion, want 2", got)
	}
}

// Every way in which clients say nothing, and every filter.
func TestOfferFilters(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	var all []offerAnswer
	c.send("POST", "/marketplace/offers", "").wants(http.StatusOK, &all)
	for _, body := range []string{
		"{}", " \n", "null", `{"unknown": [1, {"a": null}]}`,
		`{"basicConfiguration": null, "datacenter": null, "hardware": null, "additionalResources": null, "maxTotalPricePerEpochUsd": null}`,
		`{"datacenter": {}, "hardware": {}, "additionalResources": {}}`,
		`{"datacenter": {"countries": null}, "hardware": {"cpu": null, "memory": null, "storage": null}, "additionalResources": {"storage": null}}`,
		`{"datacenter": {"countries": []}, "hardware": {"cpu": [], "memory": [], "storage": []}, "additionalResources": {"storage": []}}`,
		`{"datacenter": {"countries": ["us"]}}`, `{"datacenter": {"countries": ["DE", "US"]}}`,
		`{"hardware": {"cpu": [{"manufacturer": "AMD"}]}}`, `{"hardware": {"cpu": [{"manufacturer": "AMD", "architecture": ""}]}}`,
		`{"hardware": {"cpu": [{"manufacturer": "Intel"}, {"architecture": "zen"}]}}`, `{"hardware": {"memory": [{"generation": "5"}]}}`,
		`{"hardware": {"memory": [{"type": "DDR", "generation": null}], "storage": [{"type": "NVMe"}, {"type": "HDD"}]}}`,
		`{"maxTotalPricePerEpochUsd": "1000"}`, `{"maxTotalPricePerEpochUsd": 1e3}`, `{"maxTotalPricePerEpochUsd": "1E3"}`,
		`{"basicConfiguration": null, "basicConfiguration": ""}`,
	} {
		var got []offerAnswer
		c.send("POST", "/marketplace/offers", body).wants(http.StatusOK, &got)
		if len(got) != len(all) {
			t.Errorf("%s: %d offers, want all %d", body, len(got), len(all))
		}
	}
	for body, want := range map[string]int{
		`{"basicConfiguration": "` + smallest + `"}`:                                     1,
		`{"basicConfiguration": "cpu-3-ram-1gb-storage-9gb"}`:                            0,
		`{"datacenter": {"countries": ["DE"]}}`:                                          0,
		`{"hardware": {"cpu": [{"manufacturer": "Intel"}]}}`:                             0,
		`{"hardware": {"cpu": [{"manufacturer": "AMD"}], "storage": [{"type": "HDD"}]}}`: 0,
		`{"maxTotalPricePerEpochUsd": "0.84"}`:                                           1,
		`{"maxTotalPricePerEpochUsd": 0.84}`:                                             1,
		`{"maxTotalPricePerEpochUsd": "8.4e-1"}`:                                         1,
		`{"maxTotalPricePerEpochUsd": "0.839999"}`:                                       0,
		`{"maxTotalPricePerEpochUsd": "0"}`:                                              0,
		`{"basicConfiguration": "` + smallest + `", "additionalResources": {"storage": [{"supply": 375, "units": "GiB", "type": "NVMe"}]}}`: 1,
		`{"basicConfiguration": "` + smallest + `", "additionalResources": {"storage": [{"supply": 375.0, "units": "GB"}]}}`:                1,
		`{"basicConfiguration": "` + smallest + `", "additionalResources": {"storage": [{"supply": 376, "units": "GiB", "type": "NVMe"}]}}`: 0,
		`{"additionalResources": {"storage": [{"supply": 1, "units": "GiB", "type": "HDD"}]}}`:                                              0,
		`{"additionalResources": {"storage": [{"supply": 10, "units": "GiB"}]}, "maxTotalPricePerEpochUsd": "0.84"}`:                        0,
		`{"additionalResources": {"storage": [{"supply": 10, "units": "GiB"}]}, "maxTotalPricePerEpochUsd": "0.88"}`:                        1,
	} {
		var got []offerAnswer
		a := c.send("POST", "/marketplace/offers", body)
		a.wants(http.StatusOK, &got)
		if len(got) != want || got == nil {
			t.Errorf("%s: %d offers, want %d", body, len(got), want)
		}
	}
}

// What is wrong with constraints, wherever they are sent.
func TestBadConstraints(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	for _, row := range []struct {
		constraints string
		status      int
		says        string
	}{
		{`{"basicConfiguration": 7}`, 400, "basicConfiguration has to be a string, not number"},
		{`{"basicConfiguration": ["x"]}`, 400, "basicConfiguration has to be a string, not array"},
		{`{"datacenter": "US"}`, 400, "datacenter has to be an object, not string"},
		{`{"datacenter": {"countries": "US"}}`, 400, "datacenter.countries has to be an array, not string"},
		{`{"datacenter": {"countries": [1]}}`, 400, "datacenter.countries has to be a string, not number"},
		{`{"hardware": []}`, 400, "hardware has to be an object, not array"},
		{`{"hardware": {"cpu": {"manufacturer": "AMD"}}}`, 400, "hardware.cpu has to be an array, not object"},
		{`{"hardware": {"cpu": ["AMD"]}}`, 400, "hardware.cpu has to be an object, not string"},
		{`{"hardware": {"memory": [{"generation": 5}]}}`, 400, "hardware.memory.generation has to be a string, not number"},
		{`{"maxTotalPricePerEpochUsd": true}`, 400, "maxTotalPricePerEpochUsd has to be a decimal number in a string, not bool"},
		{`{"maxTotalPricePerEpochUsd": ["1"]}`, 400, "maxTotalPricePerEpochUsd has to be a decimal number in a string, not array"},
		{`{"maxTotalPricePerEpochUsd": NaN}`, 400, "not JSON"},
		{`{"maxTotalPricePerEpochUsd": "cheap"}`, 422, "maxTotalPricePerEpochUsd"},
		{`{"maxTotalPricePerEpochUsd": ""}`, 422, "maxTotalPricePerEpochUsd"},
		{`{"maxTotalPricePerEpochUsd": "NaN"}`, 422, "maxTotalPricePerEpochUsd"},
		{`{"maxTotalPricePerEpochUsd": "Infinity"}`, 422, "maxTotalPricePerEpochUsd"},
		{`{"maxTotalPricePerEpochUsd": "0x10"}`, 422, "maxTotalPricePerEpochUsd"},
		{`{"maxTotalPricePerEpochUsd": "-1"}`, 422, "maxTotalPricePerEpochUsd"},
		{`{"maxTotalPricePerEpochUsd": -1}`, 422, "maxTotalPricePerEpochUsd"},
		{`{"maxTotalPricePerEpochUsd": 1e999999999}`, 422, "maxTotalPricePerEpochUsd"},
		{`{"additionalResources": {"storage": [{"supply": 10}]}}`, 422, "units"},
		{`{"additionalResources": {"storage": [{"supply": 10, "units": "TB"}]}}`, 422, "units"},
		{`{"additionalResources": {"storage": [{"supply": 10, "units": ""}]}}`, 422, "units"},
		{`{"additionalResources": {"storage": [{"supply": 0, "units": "GiB"}]}}`, 422, "additional storage"},
		{`{"additionalResources": {"storage": [{"supply": -1, "units": "GiB"}]}}`, 422, "additional storage"},
		{`{"additionalResources": {"storage": [{"units": "GiB"}]}}`, 422, "additional storage"},
		{`{"additionalResources": {"storage": [{"supply": 1.5, "units": "GiB"}]}}`, 400, "additionalResources.storage.supply has to be a whole number, not number 1.5"},
		{`{"additionalResources": {"storage": [{"supply": "10", "units": "GiB"}]}}`, 400, "additionalResources.storage.supply has to be a whole number, not string"},
		{`{"additionalResources": {"storage": [{"supply": 9223372036854775807, "units": "GiB"}]}}`, 422, "additional storage"},
		{`{"hardware": {"storage": [{"type": "HDD"}]}, "additionalResources": {"storage": [{"supply": 1, "units": "GiB", "type": "NVMe"}]}}`, 422, "contradicts"},
	} {
		c.unchanged(row.constraints, func() {
			c.send("POST", "/marketplace/offers", row.constraints).refused(row.status, row.says)
			c.send("POST", "/vms/v3/estimate", `{"instances": 1, "constraints": `+row.constraints+`}`).refused(row.status, row.says)
			c.send("POST", "/vms/v3", deployBody(`"constraints": null`, `"constraints": `+row.constraints)).refused(row.status, row.says)
		})
	}
}

func TestCatalogue(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	var slugs, countries []string
	c.send("GET", "/marketplace/basic_configurations", "").wants(http.StatusOK, &slugs)
	if !slices.Contains(slugs, smallest) {
		t.Errorf("configurations %v lack %s", slugs, smallest)
	}
	c.send("GET", "/marketplace/countries", "", "Content-Type: application/json").wants(http.StatusOK, &countries)
	if !slices.Equal(countries, []string{"US"}) {
		t.Errorf("countries %v, want US", countries)
	}
	var hw struct {
		CPU     []struct{ Manufacturer, Architecture string }
		Memory  []struct{ Type, Generation string }
		Storage []struct{ Type string }
	}
	c.send("GET", "/marketplace/hardware", "").wants(http.StatusOK, &hw)
	if len(hw.CPU) != 1 || hw.CPU[0].Manufacturer != "AMD" || len(hw.Memory) != 1 || hw.Memory[0].Generation != "5" || len(hw.Storage) != 1 || hw.Storage[0].Type != "NVMe" {
		t.Errorf("hardware %+v", hw)
	}
	var places []datacenterAnswer
	c.send("GET", "/v1/marketplace/datacenters", "").wants(http.StatusOK, &places)
	if len(places) != 1 || places[0].Slug != "us-nyc-1" || places[0].Index != 1 || places[0].CityIndex != 1 {
		t.Errorf("datacenters %+v", places)
	}
	var images []imageAnswer
	c.send("GET", "/vms/v3/default_images", "").wants(http.StatusOK, &images)
	if len(images) != 1 || images[0].DownloadURL != ubuntu || images[0].CreatedAt != "2026-01-31T12:00:00Z" || images[0].UpdatedAt == "" || len(images[0].ID) != 32 {
		t.Errorf("images %+v", images)
	}
}

func TestEstimate(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	var e estimateAnswer
	c.send("POST", "/vms/v3/estimate", `{"constraints": {}, "instances": 3}`).wants(http.StatusOK, &e)
	if want := (estimateAnswer{"5.04", 2, "2.52", "0.84", 3}); e != want {
		t.Errorf("estimate %+v, want %+v", e, want)
	}
	c.send("POST", "/vms/v3/estimate", `{"constraints": {"additionalResources": {"storage": [{"supply": 100, "units": "GiB"}]}}, "instances": 1}`).wants(http.StatusOK, &e)
	if e.Total != "1.24" || e.Dearest != "1.24" {
		t.Errorf("estimate with 100 GiB more %+v, want 1.24", e)
	}
	c.unchanged("an estimate", func() {
		c.send("POST", "/vms/v3/estimate", `{"instances": 5, "constraints": null}`).refused(422, "Not enough offers found")
		c.send("POST", "/vms/v3/estimate", `{"instances": 1, "constraints": {"datacenter": {"countries": ["DE"]}}}`).refused(422, "No suitable offer found")
	})
}
