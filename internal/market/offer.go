// Package market knows what is for sale and which of it fits: servers, offers,
// configurations, constraints and the match between them. It is pure: offers
// go in, matches come out.
package market

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/money"
)

// Datacenter is a place with servers.
type Datacenter struct {
	ID             string
	ProviderID     string
	Country        string // ISO 3166-1 alpha-2
	City           string // UN/LOCODE without the country, such as NYC
	Index          int64  // within the city, from 1
	Tier           int64  // 1–4
	Certifications []string
}

// Slug names the datacenter: us-nyc-1.
func (d Datacenter) Slug() string {
	return strings.ToLower(fmt.Sprintf("%s-%s-%d", d.Country, d.City, d.Index))
}

// Check returns an Invalid fault unless the datacenter is well formed.
func (d Datacenter) Check() error {
	letters := func(s string, n int) bool {
		return len(s) == n && !strings.ContainsFunc(s, func(c rune) bool { return c < 'A' || c > 'Z' })
	}
	switch {
	case !letters(d.Country, 2):
		return fault.Newf(fault.Invalid, "country %q is not two capital letters of ISO 3166-1", d.Country)
	case !letters(d.City, 3):
		return fault.Newf(fault.Invalid, "city %q is not the three capital letters of a UN/LOCODE", d.City)
	case d.Index < 1:
		return fault.Newf(fault.Invalid, "index %d of a datacenter is not 1 or more", d.Index)
	case d.Tier < 1 || d.Tier > 4:
		return fault.Newf(fault.Invalid, "tier %d is not within 1 to 4", d.Tier)
	}
	return nil
}

// Prices is a price list in micro-USDC per unit and epoch.
type Prices struct {
	VCPU    money.Amount // per vCPU
	RAM     money.Amount // per GiB
	Storage money.Amount // per GiB
	Address money.Amount // per public IPv4 address
}

// Of returns the price of v for an epoch. It is exact: whole units times whole
// micro-USDC. Returns an Invalid fault when it can't be held.
func (p Prices) Of(v capacity.Vector) (money.Amount, error) {
	var parts []money.Amount
	for _, item := range []struct {
		unit  money.Amount
		count int64
	}{{p.VCPU, v.VCPU}, {p.RAM, v.RAMGiB}, {p.Storage, v.StorageGiB}, {p.Address, v.Addresses}} {
		part, err := item.unit.Times(item.count)
		if err != nil {
			return 0, err
		}
		parts = append(parts, part)
	}
	return money.Sum(parts...)
}

// Offer lists servers of identical hardware in one datacenter at one price list.
type Offer struct {
	ID              string
	ProviderID      string
	Datacenter      Datacenter
	Hardware        capacity.Hardware
	Prices          Prices
	MaxExtraStorage int64 // GiB that one VM may add to its configuration, 0 for no limit but the server's
	Servers         []Server
}

// Server is one machine of an offer.
type Server struct {
	ID            string
	Capacity      capacity.Vector // what may be sold
	Used          capacity.Vector // what is taken
	VCPUPerThread int64           // how often each hardware thread is sold
}

// Free returns what can still be taken.
func (s Server) Free() capacity.Vector { return s.Capacity.Sub(s.Used) }

// Configuration is a basic configuration: the size of a VM.
type Configuration struct {
	VCPU       int64
	RAMGiB     int64
	StorageGiB int64
}

// catalogue holds the basic configurations from the smallest: multiples of the
// compute unit of 2 vCPU and 4 GiB, with 25 GiB of storage or more.
var catalogue = []Configuration{
	{2, 4, 25},
	{2, 4, 50},
	{4, 8, 25},
	{4, 8, 50},
	{8, 16, 25},
	{8, 16, 50},
	{8, 16, 100},
	{16, 32, 25},
	{16, 32, 50},
	{16, 32, 100},
	{32, 64, 25},
	{32, 64, 100},
	{64, 128, 25},
	{64, 128, 100},
}

// Configurations returns the basic configurations, smallest first.
func Configurations() []Configuration { return slices.Clone(catalogue) }

// Slug names the configuration: cpu-2-ram-4gb-storage-25gb.
func (c Configuration) Slug() string {
	return fmt.Sprintf("cpu-%d-ram-%dgb-storage-%dgb", c.VCPU, c.RAMGiB, c.StorageGiB)
}

// Demand returns what a VM of this size with extra GiB of storage takes.
func (c Configuration) Demand(extra int64) capacity.Vector {
	return capacity.Vector{VCPU: c.VCPU, RAMGiB: c.RAMGiB, StorageGiB: c.StorageGiB + extra, Addresses: 1}
}
