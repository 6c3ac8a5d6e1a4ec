package api

import (
	"net/http"

	"github.com/cpucloud/cpucloud/internal/market"
)

var listConfigurations = operation{
	method: http.MethodGet, path: "/marketplace/basic_configurations", id: "listBasicConfigurations", tag: "Marketplace",
	summary:  "List basic configurations",
	text:     "Slugs of the sizes that are on offer, smallest first.",
	response: `["cpu-2-ram-4gb-storage-25gb", "cpu-4-ram-8gb-storage-25gb"]`,
}

func (a *api) listConfigurations(_ *call, _ none) ([]string, error) {
	known := a.control.Catalogue()
	return known.Configurations, nil
}

var listCountries = operation{
	method: http.MethodGet, path: "/marketplace/countries", id: "listCountries", tag: "Marketplace",
	summary:  "List countries",
	text:     "ISO 3166-1 alpha-2 codes of the countries with datacenters on offer.",
	response: `["DE", "US"]`,
}

func (a *api) listCountries(_ *call, _ none) ([]string, error) {
	known := a.control.Catalogue()
	return known.Countries, nil
}

var listHardware = operation{
	method: http.MethodGet, path: "/marketplace/hardware", id: "listHardware", tag: "Marketplace",
	summary: "List hardware specifications",
	text:    "Every value that offers can be filtered by, each once.",
	response: `{"cpu": [{"manufacturer": "AMD", "architecture": "Zen"}], "memory": [{"type": "DDR", "generation": "5"}],
		"storage": [{"type": "NVMe"}]}`,
}

type hardware struct {
	CPU     []cpuName     `json:"cpu"`
	Memory  []memoryName  `json:"memory"`
	Storage []storageName `json:"storage"`
}

func (a *api) listHardware(_ *call, _ none) (hardware, error) {
	known := a.control.Catalogue()
	out := hardware{CPU: []cpuName{}, Memory: []memoryName{}, Storage: []storageName{}}
	for _, x := range known.CPU {
		out.CPU = append(out.CPU, cpuName{Manufacturer: x.Manufacturer, Architecture: x.Architecture})
	}
	for _, x := range known.Memory {
		out.Memory = append(out.Memory, memoryName(x))
	}
	for _, x := range known.Storage {
		out.Storage = append(out.Storage, storageName(x))
	}
	return out, nil
}

var listDatacenters = operation{
	method: http.MethodGet, path: "/v1/marketplace/datacenters", id: "listDatacenters", tag: "Marketplace",
	summary:  "List datacenters",
	response: `[` + exampleDatacenter + `]`,
}

// datacenter is a place. Its index within the city goes by two names, as
// clients read either.
type datacenter struct {
	ID             string   `json:"id"`
	Country        string   `json:"countryCode" example:"US"`
	City           string   `json:"cityCode" example:"NYC"`
	CityIndex      int64    `json:"cityIndex" minimum:"0" example:"1"`
	Index          int64    `json:"index" minimum:"0" doc:"The same as cityIndex." example:"1"`
	Tier           int64    `json:"tier" minimum:"1" maximum:"4" example:"3"`
	Certifications []string `json:"certifications"`
	Slug           string   `json:"slug" example:"us-nyc-1"`
}

func datacenterOf(d market.Datacenter) datacenter {
	return datacenter{
		ID: d.ID, Country: d.Country, City: d.City, CityIndex: d.Index, Index: d.Index, Tier: d.Tier,
		Certifications: append([]string{}, d.Certifications...), Slug: d.Slug(),
	}
}

func (a *api) listDatacenters(c *call, _ none) ([]datacenter, error) {
	known, err := a.control.Datacenters(c.Context())
	out := make([]datacenter, len(known))
	for i, d := range known {
		out[i] = datacenterOf(d)
	}
	return out, err
}
