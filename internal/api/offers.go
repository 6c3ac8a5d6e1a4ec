package api

import (
	"context"
	"net/http"
	"reflect"

	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/money"
)

var searchOffers = operation{
	method: http.MethodPost, path: "/marketplace/offers", id: "searchOffers", tag: "Marketplace", reads: true, body: reflect.TypeFor[[]offer](),
	summary: "Search for available offers",
	text: "Returns what is free and fits, cheapest first. All filters are optional; an empty object, or no body, returns every offer. " +
		"No match is an empty array. Lists are alternatives, different filters must all hold.",
	optional: true,
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

func (a *api) searchOffers(_ *call, in constraints) (offerList, error) {
	want, err := in.market()
	return offerList{a, want}, err
}

// offerList writes all offers that match, as a JSON array of offer.
type offerList struct {
	api  *api
	want market.Constraints
}

func (l offerList) write(_ context.Context, p *page) (err error) {
	p.raw("[")
	between := ""
	search := l.api.control.Offers(l.want, func(m *market.Match) bool {
		p.raw(between)
		between = ","
		p.offer(m)
		err = p.turn()
		return err == nil
	})
	p.raw("]")
	return firstError(search, err)
}

// offer writes a match as the JSON of offer.
func (p *page) offer(m *market.Match) {
	prices, conf, hw := &m.Offer.Prices, m.Configuration, m.Hardware
	p.member(`{"configuration":{"slug":`, conf.Slug())
	p.amount(`,"price":`, m.Price)
	p.member(`},"resources":[{"type":"VCPU","metadata":{"architecture":`, hw.CPU.Architecture)
	p.member(`,"brand":`, hw.CPU.Brand)
	p.member(`,"generation":`, hw.CPU.Generation)
	p.member(`,"manufacturer":`, hw.CPU.Manufacturer)
	p.number(`,"perThread":"`, max(1, m.VCPUPerThread)) // customers see what is oversold
	p.amount(`"},"price":`, prices.VCPU*money.Amount(conf.VCPU))
	p.member(`},{"type":"RAM","metadata":{"generation":`, hw.Memory.Generation)
	p.member(`,"type":`, hw.Memory.Type)
	p.amount(`},"price":`, prices.RAM*money.Amount(conf.RAMGiB))
	p.member(`},{"type":"STORAGE","metadata":{"type":`, hw.Storage.Type)
	p.amount(`},"price":`, prices.Storage*money.Amount(conf.StorageGiB))
	p.amount(`},{"type":"PUBLIC_IP","metadata":{"version":"4"},"price":`, prices.Address)
	p.raw(`}],"datacenter":`)
	p.datacenter(&m.Offer.Datacenter)
	p.raw(`,"servers":[`)
	for i := range m.Rooms {
		if i > 0 {
			p.raw(",")
		}
		p.number(`{"availableBasicInstances":`, m.Rooms[i].Instances)
		p.raw(`,"additionalResources":[`)
		p.additional(m, m.Rooms[i].ExtraGiB)
		p.raw(`]}`)
	}
	p.raw(`],"maxAdditionalSupply":[`)
	p.additional(m, m.MaxExtraGiB)
	p.raw(`]}`)
}

func (p *page) datacenter(d *market.Datacenter) {
	p.member(`{"id":`, d.ID)
	p.member(`,"countryCode":`, d.Country)
	p.member(`,"cityCode":`, d.City)
	p.number(`,"cityIndex":`, d.Index)
	p.number(`,"index":`, d.Index)
	p.number(`,"tier":`, d.Tier)
	p.raw(`,"certifications":[`)
	for i, certification := range d.Certifications {
		if i > 0 {
			p.raw(",")
		}
		p.string(certification)
	}
	p.member(`],"slug":`, d.Slug())
	p.raw("}")
}

func (p *page) additional(m *market.Match, supply int64) {
	p.member(`{"type":"STORAGE","metadata":{"type":`, m.Hardware.Storage.Type)
	p.amount(`},"price":`, m.Offer.Prices.Storage)
	p.number(`,"supply":`, supply)
	p.raw(`,"units":"GiB","perVmLimit":`)
	if most := m.Offer.MaxExtraStorage; most > 0 {
		p.number("", most)
	} else {
		p.raw("null")
	}
	p.raw("}")
}
