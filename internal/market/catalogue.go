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

// Catalogue returns the values that occur, each once, sorted. A configuration
// occurs where an empty server of an offer has room for it, so that the list
// doesn't flicker as VMs come and go.
func (x *Index) Catalogue() Catalogue {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var c Catalogue
	caps := uint16(0)
	for _, g := range x.groups {
		if !g.offer.sells() || len(g.slots) == 0 {
			continue
		}
		for i := range g.slots {
			caps |= g.slots[i].caps
		}
		c.Countries = append(c.Countries, g.offer.Datacenter.Country)
		c.CPU = append(c.CPU, capacity.CPU{Manufacturer: g.hardware.CPU.Manufacturer, Architecture: g.hardware.CPU.Architecture})
		c.Memory = append(c.Memory, g.hardware.Memory)
		c.Storage = append(c.Storage, g.hardware.Storage)
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
	for i := range configurations {
		if caps&(1<<i) != 0 {
			c.Configurations = append(c.Configurations, slugs[i])
		}
	}
	return c
}

// unique sorts items and drops repeated ones; the result is never nil.
func unique[T comparable](items []T, compare func(a, b T) int) []T {
	slices.SortFunc(items, compare)
	return slices.Compact(append([]T{}, items...))
}
