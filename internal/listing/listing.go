// Package listing reads and writes the file in which a provider declares what
// it sells: datacenters, offers, prices. It finds everything that is wrong with
// a file at once and says where.
package listing

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/cpucloud/cpucloud/internal/money"
)

// Listing is all that a provider sells, and where.
type Listing struct {
	Provider    string       `json:"provider,omitempty" yaml:"provider,omitempty"`
	Datacenters []Datacenter `json:"datacenters" yaml:"datacenters"`
	Offers      []Offer      `json:"offers" yaml:"offers"`
}

// Datacenter is a place with servers.
type Datacenter struct {
	Country        string   `json:"country" yaml:"country"`
	City           string   `json:"city" yaml:"city"`
	Index          int64    `json:"index" yaml:"index"`
	Tier           int64    `json:"tier" yaml:"tier"`
	Certifications []string `json:"certifications" yaml:"certifications,omitempty"`
}

// Offer is a price list for servers of some hardware in one datacenter.
type Offer struct {
	Name            string   `json:"name" yaml:"name"`
	Datacenter      string   `json:"datacenter" yaml:"datacenter"` // slug, such as de-fra-1
	Hardware        Hardware `json:"hardware" yaml:"hardware,omitempty"`
	Prices          Prices   `json:"prices" yaml:"prices"`
	MaxExtraStorage int64    `json:"maxExtraStorageGib" yaml:"maxExtraStorageGib,omitempty"`
}

// Hardware is what an offer lists. An empty member stands for anything.
type Hardware struct {
	CPU     CPU     `json:"cpu" yaml:"cpu,omitempty"`
	Memory  Memory  `json:"memory" yaml:"memory,omitempty"`
	Storage Storage `json:"storage" yaml:"storage,omitempty"`
}

// CPU names a processor, such as AMD, EPYC 9354P, Zen, 4.
type CPU struct {
	Manufacturer string `json:"manufacturer,omitempty" yaml:"manufacturer,omitempty"`
	Brand        string `json:"brand,omitempty" yaml:"brand,omitempty"`
	Architecture string `json:"architecture,omitempty" yaml:"architecture,omitempty"`
	Generation   string `json:"generation,omitempty" yaml:"generation,omitempty"`
}

// Memory names the kind of memory, such as DDR, 5.
type Memory struct {
	Type       string `json:"type,omitempty" yaml:"type,omitempty"`
	Generation string `json:"generation,omitempty" yaml:"generation,omitempty"`
}

// Storage names the kind of disk: HDD, SSD or NVMe.
type Storage struct {
	Type string `json:"type,omitempty" yaml:"type,omitempty"`
}

// Prices are in USDC per unit and epoch.
type Prices struct {
	VCPU    money.Amount `json:"vcpu" yaml:"vcpu"`
	RAM     money.Amount `json:"ram" yaml:"ram"`         // per GiB
	Storage money.Amount `json:"storage" yaml:"storage"` // per GiB
	Address money.Amount `json:"address" yaml:"address"`
}

// Fault is one thing that is wrong with a file.
type Fault struct {
	File         string
	Line, Column int    // from 1
	Path         string // such as offers[1].prices.vcpu, "" for the file
	Message      string
}

// String returns the fault as compilers write theirs, so that editors find the
// place: offers.yaml:12:13: offers[1].prices.vcpu: …
func (f Fault) String() string {
	if f.Path == "" {
		return fmt.Sprintf("%s:%d:%d: %s", f.File, f.Line, f.Column, f.Message)
	}
	return fmt.Sprintf("%s:%d:%d: %s: %s", f.File, f.Line, f.Column, f.Path, f.Message)
}

// Parse reads a listing in YAML or JSON. The name stands for the file in the
// faults, which are all that is wrong, in the order of the file. With a fault
// the listing is of no use.
func Parse(name string, text []byte) (Listing, []Fault) {
	d := open(name, text)
	if len(d.faults) == 0 {
		value := d.read()
		if !d.endless {
			d.checkPrices()
			d.checkPlaces()
			d.checkOffers()
			d.checkSchema(value)
		}
		if len(d.faults) == 0 {
			return d.listing(value)
		}
	}
	slices.SortStableFunc(d.faults, func(a, b Fault) int { return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column)) })
	return Listing{}, d.faults
}

// listing turns a value without faults into what it declares.
func (d *document) listing(value any) (Listing, []Fault) {
	var l Listing
	text, err := json.Marshal(value)
	if err == nil {
		err = json.Unmarshal(text, &l)
	}
	if err != nil { // what the schema lets through fits the types
		d.fault(d.root, "", err.Error())
		return Listing{}, d.faults
	}
	for i := range l.Datacenters {
		place := &l.Datacenters[i]
		place.Index = max(place.Index, 1)
		if place.Certifications == nil {
			place.Certifications = []string{}
		}
	}
	return l, nil
}
