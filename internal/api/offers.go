package api

import (
	"net/http"
	"strconv"

	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/money"
)

var searchOffers = operation{
	method: http.MethodPost, path: "/marketplace/offers", id: "searchOffers", tag: "Marketplace",
	summary: "Search for available offers",
	text: "Returns what is free and fits, cheapest first. All filters are optional; an empty object, or no body, returns every offer. " +
		"No match is an empty array. Lists are alternatives, different filters must all hold.",
	request: `{"basicConfiguration": "cpu-2-ram-4gb-storage-25gb", "datacenter": {"countries": ["US"]},
		"hardware": {"cpu": [{"manufacturer": "AMD", "architecture": "Zen"}], "memory": [{"type": "DDR", "generation": "5"}], "storage": [{"type": "NVMe"}]},
		"additionalResources": {"storage": [{"supply": 50, "units": "GiB", "type": "NVMe"}]}, "maxTotalPricePerEpochUsd": "2.5"}`,
	response: `[{"configuration": {"slug": "cpu-2-ram-4gb-storage-25gb", "price": "0.84"},
		"resources": [
			{"type": "VCPU", "metadata": {"manufacturer": "AMD", "brand": "EPYC", "architecture": "Zen", "generation": "4", "perThread": "4"}, "price": "0.4"},
			{"type": "RAM", "metadata": {"type": "DDR", "generation": "5"}, "price": "0.24"},
			{"type": "STORAGE", "metadata": {"type": "NVMe"}, "price": "0.1"},
			{"type": "PUBLIC_IP", "metadata": {"version": "4"}, "price": "0.1"}],
		"datacenter": ` + exampleDatacenter + `,
		"servers": [{"availableBasicInstances": 12, "additionalResources": [` + exampleAdditional + `]}],
		"maxAdditionalSupply": [` + exampleAdditional + `]}]`,
	refusals: map[int]string{
		http.StatusBadRequest:          "datacenter.countries has to be an array, not string",
		http.StatusUnprocessableEntity: `maxTotalPricePerEpochUsd: price limit "cheap" is not a number`,
	},
}

const (
	exampleDatacenter = `{"id": "dc_06abk5", "countryCode": "US", "cityCode": "NYC", "cityIndex": 1, "index": 1, "tier": 3,
		"certifications": ["ISO 27001"], "slug": "us-nyc-1"}`
	exampleAdditional = `{"type": "STORAGE", "metadata": {"type": "NVMe"}, "price": "0.004", "supply": 700, "units": "GiB", "perVmLimit": null}`
)

// offer is an offer in one basic configuration.
type offer struct {
	Configuration configuration `json:"configuration"`
	Resources     []offeredPart `json:"resources"`
	Datacenter    datacenter    `json:"datacenter"`
	Servers       []offeredRoom `json:"servers"`
	MaxAdditional []additional  `json:"maxAdditionalSupply" doc:"Most that one VM can add, on the best server."`
}

type configuration struct {
	Slug  string       `json:"slug" example:"cpu-2-ram-4gb-storage-25gb"`
	Price money.Amount `json:"price" doc:"USDC per epoch: the sum of the resources' prices." example:"0.84"`
}

type offeredPart struct {
	Type     string            `json:"type" enum:"VCPU,RAM,STORAGE,PUBLIC_IP"`
	Metadata map[string]string `json:"metadata"`
	Price    money.Amount      `json:"price" doc:"USDC per epoch for the configuration's share." example:"0.4"`
}

type offeredRoom struct {
	Instances  int64        `json:"availableBasicInstances" minimum:"0" doc:"How many VMs of the configuration are free."`
	Additional []additional `json:"additionalResources"`
}

type additional struct {
	Type     string            `json:"type" enum:"STORAGE"`
	Metadata map[string]string `json:"metadata"`
	Price    money.Amount      `json:"price" doc:"USDC per unit and epoch." example:"0.004"`
	Supply   int64             `json:"supply" minimum:"0"`
	Units    string            `json:"units" enum:"GiB"`
	PerVM    *int64            `json:"perVmLimit" doc:"Most that one VM may add; null for no limit."`
}

func (a *api) searchOffers(c *call, in constraints) ([]offer, error) {
	want, err := in.market()
	if err != nil {
		return nil, err
	}
	found, err := a.control.Offers(c.Context(), want)
	if err != nil {
		return nil, err
	}
	out := make([]offer, len(found))
	for i, m := range found {
		if out[i], err = offerOf(m); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func offerOf(m market.Match) (offer, error) {
	o := offer{
		Configuration: configuration{Slug: m.Configuration.Slug(), Price: m.Price},
		Datacenter:    datacenterOf(m.Offer.Datacenter),
		Resources:     make([]offeredPart, 0, 4),
		Servers:       make([]offeredRoom, 0, len(m.Instances)),
		MaxAdditional: []additional{additionalOf(m.Offer, m.MaxExtraGiB())},
	}
	prices, demand := m.Offer.Prices, m.Configuration.Demand(0)
	units := map[string]money.Amount{vcpu: prices.VCPU, ram: prices.RAM, storage: prices.Storage, publicIP: prices.Address}
	for _, p := range partsOf(demand, m.Offer.Hardware) {
		price, err := units[p.Type].Times(p.Supply)
		if err != nil {
			return o, err
		}
		if p.Type == vcpu {
			p.Metadata["perThread"] = strconv.FormatInt(m.VCPUPerThread(), 10) // customers see what is oversold
		}
		o.Resources = append(o.Resources, offeredPart{Type: p.Type, Metadata: p.Metadata, Price: price})
	}
	for i, n := range m.Instances {
		o.Servers = append(o.Servers, offeredRoom{Instances: n, Additional: []additional{additionalOf(m.Offer, m.ExtraGiB[i])}})
	}
	return o, nil
}

func additionalOf(o *market.Offer, supply int64) additional {
	extra := additional{
		Type: storage, Metadata: map[string]string{"type": o.Hardware.Storage.Type}, Price: o.Prices.Storage, Supply: supply, Units: "GiB",
	}
	if o.MaxExtraStorage > 0 {
		extra.PerVM = &o.MaxExtraStorage
	}
	return extra
}
