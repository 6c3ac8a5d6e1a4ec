package market_test

import (
	"slices"
	"testing"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/market"
)

func TestDatacenter(t *testing.T) {
	t.Parallel()
	good := market.Datacenter{Country: "US", City: "NYC", Index: 1, Tier: 4, Certifications: []string{"ISO 27001"}}
	if err := good.Check(); err != nil || good.Slug() != "us-nyc-1" {
		t.Errorf("%s: %v", good.Slug(), err)
	}
	digits := market.Datacenter{Country: "DE", City: "2B9", Index: 9999, Tier: 1}
	if err := digits.Check(); err != nil || digits.Slug() != "de-2b9-9999" {
		t.Errorf("%s: %v", digits.Slug(), err)
	}
	for name, spoil := range map[string]func(*market.Datacenter){
		"no country":          func(d *market.Datacenter) { d.Country = "" },
		"long country":        func(d *market.Datacenter) { d.Country = "USA" },
		"small country":       func(d *market.Datacenter) { d.Country = "us" },
		"unassigned country":  func(d *market.Datacenter) { d.Country = "XX" },
		"half of two":         func(d *market.Datacenter) { d.Country = "S " },
		"no city":             func(d *market.Datacenter) { d.City = "" },
		"small city":          func(d *market.Datacenter) { d.City = "nyc" },
		"odd city":            func(d *market.Datacenter) { d.City = "Zü" },
		"digits of no city":   func(d *market.Datacenter) { d.City = "N01" },
		"no index":            func(d *market.Datacenter) { d.Index = 0 },
		"large index":         func(d *market.Datacenter) { d.Index = 10_000 },
		"no tier":             func(d *market.Datacenter) { d.Tier = 0 },
		"fifth tier":          func(d *market.Datacenter) { d.Tier = 5 },
		"empty certification": func(d *market.Datacenter) { d.Certifications = []string{""} },
		"long certification":  func(d *market.Datacenter) { d.Certifications = []string{string(make([]byte, 101))} },
		"many certifications": func(d *market.Datacenter) { d.Certifications = slices.Repeat([]string{"ISO"}, 21) },
	} {
		d := good
		spoil(&d)
		if err := d.Check(); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: got %v, want a fault of kind invalid", name, err)
		}
	}
}
