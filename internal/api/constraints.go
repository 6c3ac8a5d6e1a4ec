package api

import (
	"strings"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/money"
)

// constraints is what a customer wants of an offer. Every member may be absent,
// null or empty: then it constrains nothing.
type constraints struct {
	BasicConfiguration string           `json:"basicConfiguration,omitempty" doc:"Slug of a basic configuration, see GET /marketplace/basic_configurations." example:"cpu-2-ram-4gb-storage-25gb"`
	Datacenter         wantedDatacenter `json:"datacenter,omitzero"`
	Hardware           wantedHardware   `json:"hardware,omitzero"`
	Additional         wantedAdditional `json:"additionalResources,omitzero"`
	MaxPrice           *decimal         `json:"maxTotalPricePerEpochUsd,omitempty" doc:"Most that one VM may cost per epoch, extra storage included. A decimal in a string; a bare number is accepted too." example:"1.5"`
}

type wantedDatacenter struct {
	Countries []string `json:"countries,omitempty" doc:"ISO 3166-1 alpha-2 codes; any of them will do." example:"[\"US\",\"DE\"]"`
}

type wantedHardware struct {
	CPU     []cpuName     `json:"cpu,omitempty" doc:"Any of them will do."`
	Memory  []memoryName  `json:"memory,omitempty" doc:"Any of them will do."`
	Storage []storageName `json:"storage,omitempty" doc:"Any of them will do."`
}

type wantedAdditional struct {
	Storage []wantedStorage `json:"storage,omitempty" doc:"Storage beyond the basic configuration, for each VM; entries add up."`
}

type wantedStorage struct {
	Supply integer `json:"supply" minimum:"1" example:"50"`
	Units  string  `json:"units" enum:"GiB,GB" doc:"GiB; GB is taken for the same."`
	Type   string  `json:"type,omitempty" enum:"HDD,SSD,NVMe" doc:"Stands for hardware.storage where that is not given."`
}

// cpuName, memoryName and storageName name hardware. In a request an absent or
// empty member stands for anything.
type cpuName struct {
	Manufacturer string `json:"manufacturer" required:"false" example:"AMD"`
	Architecture string `json:"architecture" required:"false" example:"Zen"`
}

type memoryName struct {
	Type       string `json:"type" required:"false" example:"DDR"`
	Generation string `json:"generation" required:"false" example:"5"`
}

type storageName struct {
	Type string `json:"type" required:"false" example:"NVMe"`
}

// maxAlternatives bounds each list of a search.
const maxAlternatives = 300

// market returns the constraints in the words of the marketplace, or an Invalid
// fault.
func (c constraints) market() (market.Constraints, error) {
	want := market.Constraints{Configuration: strings.TrimSpace(c.BasicConfiguration), Countries: c.Datacenter.Countries}
	for _, err := range []error{
		atMost("datacenter.countries", c.Datacenter.Countries, maxAlternatives),
		atMost("hardware.cpu", c.Hardware.CPU, maxAlternatives),
		atMost("hardware.memory", c.Hardware.Memory, maxAlternatives),
		atMost("hardware.storage", c.Hardware.Storage, maxAlternatives),
		atMost("additionalResources.storage", c.Additional.Storage, maxAlternatives),
	} {
		if err != nil {
			return want, err
		}
	}
	for _, x := range c.Hardware.CPU {
		want.CPU = append(want.CPU, capacity.CPU{Manufacturer: x.Manufacturer, Architecture: x.Architecture})
	}
	for _, x := range c.Hardware.Memory {
		want.Memory = append(want.Memory, capacity.Memory(x))
	}
	for _, x := range c.Hardware.Storage {
		want.Storage = append(want.Storage, capacity.Storage(x))
	}
	for _, x := range c.Additional.Storage {
		if x.Units != "GiB" && x.Units != "GB" {
			return want, fault.Newf(fault.Invalid, "additionalResources.storage.units is %q; it has to be GiB", clip(x.Units))
		}
		want.Extra = append(want.Extra, market.ExtraStorage{GiB: int64(x.Supply), Type: x.Type})
	}
	if c.MaxPrice != nil {
		limit, err := money.ParseLimit(string(*c.MaxPrice))
		if err != nil {
			return want, fault.Newf(fault.Invalid, "maxTotalPricePerEpochUsd: %s", fault.Message(err))
		}
		want.MaxPrice = &limit
	}
	return want, want.Check()
}
