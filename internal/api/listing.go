package api

import (
	"net/http"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/market"
)

const exampleListing = `{"datacenters": [{"country": "US", "city": "NYC", "index": 1, "tier": 3, "certifications": ["ISO 27001"]}],
	"offers": [{"name": "standard", "datacenter": "us-nyc-1",
		"hardware": {"cpu": {"manufacturer": "AMD", "brand": "", "architecture": "Zen", "generation": ""}, "memory": {"type": "DDR", "generation": "5"},
			"storage": {"type": "NVMe"}},
		"prices": {"vcpu": "0.2", "ram": "0.06", "storage": "0.004", "address": "0.1"}, "maxExtraStorageGib": 1000}]}`

var getListing = operation{
	method: http.MethodGet, path: "/v1/providers/{provider}/listing", id: "getListing", tag: "Providers",
	summary:  "Get what a provider sells",
	text:     "The listing as it can be applied again, datacenters by slug and offers by name.",
	response: exampleListing,
	refusals: map[int]string{http.StatusNotFound: noProvider},
}

// listing is all that a provider sells, as it declares it.
type listing struct {
	Datacenters []listedDatacenter `json:"datacenters" maxItems:"1000" doc:"One that is left out is kept while servers or offers, withdrawn ones too, are of it."`
	Offers      []listedOffer      `json:"offers" maxItems:"1000" doc:"One that is left out is withdrawn: its VMs run on at their price, its servers sell nothing until an offer lists them again."`
}

type listedDatacenter struct {
	Country        string   `json:"country" doc:"ISO 3166-1 alpha-2." example:"US"`
	City           string   `json:"city" doc:"UN/LOCODE without the country." example:"NYC"`
	Index          integer  `json:"index" minimum:"1" maximum:"9999" doc:"Of the datacenter within the city."`
	Tier           integer  `json:"tier" minimum:"1" maximum:"4"`
	Certifications []string `json:"certifications" required:"false" maxItems:"20"`
}

type listedOffer struct {
	Name            string       `json:"name" minLength:"1" maxLength:"100" doc:"Unique within the provider."`
	Datacenter      string       `json:"datacenter" doc:"Slug of one of the datacenters." example:"us-nyc-1"`
	Hardware        hardwareName `json:"hardware" required:"false" doc:"Which servers it lists; an empty member stands for anything."`
	Prices          unitPrices   `json:"prices" doc:"In USDC per unit and epoch."`
	MaxExtraStorage integer      `json:"maxExtraStorageGib" required:"false" minimum:"0" maximum:"1048576" doc:"Most storage that one VM may add; 0 for no limit but the server's."`
}

// hardwareName names hardware in full.
type hardwareName struct {
	CPU     processorName `json:"cpu" required:"false"`
	Memory  memoryName    `json:"memory" required:"false"`
	Storage storageName   `json:"storage" required:"false"`
}

type processorName struct {
	Manufacturer string `json:"manufacturer" required:"false" example:"AMD"`
	Brand        string `json:"brand" required:"false" example:"EPYC 9354P"`
	Architecture string `json:"architecture" required:"false" example:"Zen"`
	Generation   string `json:"generation" required:"false" example:"4"`
}

func hardwareOf(hw capacity.Hardware) hardwareName {
	return hardwareName{processorName(hw.CPU), memoryName(hw.Memory), storageName(hw.Storage)}
}

func (h hardwareName) capacity() capacity.Hardware {
	return capacity.Hardware{CPU: capacity.CPU(h.CPU), Memory: capacity.Memory(h.Memory), Storage: capacity.Storage(h.Storage)}
}

func (a *api) getListing(c *call, _ none) (listing, error) {
	l, err := a.control.Listing(c.Context(), c.who, c.PathValue("provider"))
	out := listing{Datacenters: make([]listedDatacenter, len(l.Datacenters)), Offers: make([]listedOffer, len(l.Offers))}
	for i, d := range l.Datacenters {
		out.Datacenters[i] = listedDatacenter{d.Country, d.City, integer(d.Index), integer(d.Tier), append([]string{}, d.Certifications...)}
	}
	for i, o := range l.Offers {
		out.Offers[i] = listedOffer{o.Name, o.Datacenter, hardwareOf(o.Hardware), pricesOf(o.Prices), integer(o.MaxExtraStorage)}
	}
	return out, err
}

func pricesOf(p market.Prices) unitPrices {
	vcpu, ram, storage, address := decimal(p.VCPU.String()), decimal(p.RAM.String()), decimal(p.Storage.String()), decimal(p.Address.String())
	return unitPrices{&vcpu, &ram, &storage, &address}
}

var applyListing = operation{
	method: http.MethodPut, path: "/v1/providers/{provider}/listing", id: "applyListing", tag: "Providers",
	summary: "Declare what a provider sells",
	text: "The listing is complete: an offer that is left out is withdrawn. All of it is applied, or nothing; what is wrong with it is told all at " +
		"once, in `faults`. Prices count at once for new VMs and never for those that run. Servers go into the offers that list their hardware: " +
		"of those in their datacenter the one that names most of it. Applying the same listing again changes nothing.",
	request: exampleListing,
	response: `{"dryRun": false, "changes": [{"path": "offers[0].prices.vcpu", "action": "change", "before": "0.25", "after": "0.2",
		"text": "offer standard: prices.vcpu is 0.2 instead of 0.25"}]}`,
	refusals: map[int]string{
		http.StatusBadRequest:          "datacenters.index has to be a whole number, not string",
		http.StatusNotFound:            noProvider,
		http.StatusUnprocessableEntity: `1 fault: offers[0].prices.vcpu: amount "0.0000001" has more than 6 decimals`,
	},
}

type applied struct {
	DryRun  bool     `json:"dryRun"`
	Changes []change `json:"changes"`
}

type change struct {
	Path   string `json:"path" doc:"In the new listing; of what is removed, in the one before." example:"offers[0].prices.vcpu"`
	Action string `json:"action" enum:"add,change,remove"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
	Text   string `json:"text" doc:"A sentence about it."`
}

// listingFault is one thing that is wrong with a listing.
type listingFault struct {
	Path    string `json:"path" example:"offers[1].prices.vcpu"`
	Message string `json:"message"`
}

func (a *api) applyListing(c *call, in listing) (applied, error) {
	changes, err := a.control.ApplyListing(c.Context(), c.who, c.PathValue("provider"), in.declared())
	out := applied{DryRun: c.dry, Changes: make([]change, len(changes))}
	for i, x := range changes {
		out.Changes[i] = change{x.Path, string(x.Action), x.Before, x.After, x.Text}
	}
	return out, err
}

func (l listing) declared() control.Declared {
	var d control.Declared
	if l.Datacenters != nil {
		d.Datacenters = []market.Datacenter{}
	}
	if l.Offers != nil {
		d.Offers = []control.DeclaredOffer{}
	}
	for _, p := range l.Datacenters {
		d.Datacenters = append(d.Datacenters, market.Datacenter{
			Country: p.Country, City: p.City, Index: int64(p.Index), Tier: int64(p.Tier), Certifications: p.Certifications,
		})
	}
	for _, o := range l.Offers {
		d.Offers = append(d.Offers, control.DeclaredOffer{
			ListedOffer: control.ListedOffer{Name: o.Name, Datacenter: o.Datacenter, Hardware: o.Hardware.capacity(), MaxExtraStorage: int64(o.MaxExtraStorage)},
			VCPU:        o.Prices.VCPU.text(), RAM: o.Prices.RAM.text(), Storage: o.Prices.Storage.text(), Address: o.Prices.Address.text(),
		})
	}
	return d
}

// text returns the decimal as it was written, "" for one that was left out.
func (d *decimal) text() string {
	if d == nil {
		return ""
	}
	return string(*d)
}
