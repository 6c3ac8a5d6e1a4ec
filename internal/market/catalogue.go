package market

import (
	"cmp"
	"slices"
	"strings"

	"github.com/cpucloud/cpucloud/internal/capacity"
)

// Catalogue is every value that a customer can filter by.
type Catalogue struct {
	Configurations []string // slugs, smallest first
	Countries      []string
	CPU            []capacity.CPU // manufacturer and architecture only
	Memory         []capacity.Memory
	Storage        []capacity.Storage
}

// Summarise returns the values that occur in the offers, each once, sorted. A
// configuration occurs where an empty server of an offer has room for it, so
// that the list doesn't flicker as VMs come and go.
func Summarise(offers []Offer) Catalogue {
	c := Catalogue{}
	for _, o := range offers {
		if len(o.Servers) == 0 {
			continue
		}
		c.Countries = append(c.Countries, o.Datacenter.Country)
		c.CPU = append(c.CPU, capacity.CPU{Manufacturer: o.Hardware.CPU.Manufacturer, Architecture: o.Hardware.CPU.Architecture})
		c.Memory = append(c.Memory, o.Hardware.Memory)
		c.Storage = append(c.Storage, o.Hardware.Storage)
	}
	c.Countries = unique(c.Countries, strings.Compare)
	c.CPU = unique(c.CPU, func(a, b capacity.CPU) int {
		return cmp.Or(strings.Compare(a.Manufacturer, b.Manufacturer), strings.Compare(a.Architecture, b.Architecture))
	})
	c.Memory = unique(c.Memory, func(a, b capacity.Memory) int {
		return cmp.Or(strings.Compare(a.Type, b.Type), strings.Compare(a.Generation, b.Generation))
	})
	c.Storage = unique(c.Storage, func(a, b capacity.Storage) int { return strings.Compare(a.Type, b.Type) })
	c.Configurations = []string{}
	for _, conf := range catalogue {
		if slices.ContainsFunc(offers, func(o Offer) bool { return holds(o, conf) }) {
			c.Configurations = append(c.Configurations, conf.Slug())
		}
	}
	return c
}

func holds(o Offer, conf Configuration) bool {
	return slices.ContainsFunc(o.Servers, func(s Server) bool { return s.Capacity.Fits(conf.Demand(0)) })
}

// unique sorts items and drops repeated ones; the result is never nil.
func unique[T comparable](items []T, compare func(a, b T) int) []T {
	slices.SortFunc(items, compare)
	return slices.Compact(append([]T{}, items...))
}
