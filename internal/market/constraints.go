package market

import (
	"slices"
	"strings"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/money"
)

// Constraints is what a customer wants of an offer. The zero value wants
// nothing in particular. Lists are alternatives; different members must all
// hold. Within an entry "" stands for anything.
type Constraints struct {
	Configuration string             `json:",omitempty"` // slug of a basic configuration
	Countries     []string           `json:",omitempty"` // ISO 3166-1 alpha-2
	CPU           []capacity.CPU     `json:",omitempty"` // manufacturer and architecture count
	Memory        []capacity.Memory  `json:",omitempty"` // type and generation
	Storage       []capacity.Storage `json:",omitempty"` // type
	Extra         []ExtraStorage     `json:",omitempty"` // beyond the configuration, per VM
	MaxPrice      *money.Amount      `json:",omitempty"` // per VM and epoch, inclusive, with extra storage

	Where                            // beyond the v3 API
	MinTier        int64             `json:",omitempty"` // of the datacenter
	Certifications []string          `json:",omitempty"` // that the datacenter must all have
	MinMeasured    capacity.Measured `json:",omitzero"`  // of the server; figures that are 0 ask for nothing, DiskFsync and Network are upper bounds
}

// Where names providers and datacenters to take or to leave. A provider is
// named by id or name, a datacenter by id or slug.
type Where struct {
	Providers          []string `json:",omitempty"`
	ExcludeProviders   []string `json:",omitempty"`
	Datacenters        []string `json:",omitempty"`
	ExcludeDatacenters []string `json:",omitempty"`
}

// ExtraStorage asks for more disk.
type ExtraStorage struct {
	GiB  int64
	Type string // HDD, SSD, NVMe; "" for whatever the server has
}

// maxExtraGiB bounds a request so that no sum overflows: 1 PiB.
const maxExtraGiB = 1 << 20

// Check returns an Invalid fault when the constraints contradict themselves.
func (c *Constraints) Check() error {
	total := int64(0)
	for _, x := range c.Extra {
		if x.GiB < 1 || x.GiB > maxExtraGiB {
			return fault.Newf(fault.Invalid, "additional storage of %d GiB is not within 1 to %d", x.GiB, maxExtraGiB)
		}
		total += x.GiB
		if x.Type != "" && len(c.Storage) > 0 && !slices.ContainsFunc(c.Storage, func(s capacity.Storage) bool { return like(s.Type, x.Type) }) {
			return fault.Newf(fault.Invalid, "additional storage of type %q contradicts hardware.storage", x.Type)
		}
	}
	if total > maxExtraGiB {
		return fault.Newf(fault.Invalid, "additional storage of %d GiB is more than %d", total, maxExtraGiB)
	}
	return nil
}

// extraGiB returns the storage asked for beyond the configuration.
func (c *Constraints) extraGiB() int64 {
	total := int64(0)
	for _, x := range c.Extra {
		total += x.GiB
	}
	return total
}

// admits reports whether the offer's place is wanted and lets a VM add the
// storage asked for: all that holds for an offer but its country and hardware.
func (c *Constraints) admits(o *Offer) bool {
	d := &o.Datacenter
	provider := func(list []string) bool { return named(list, o.ProviderID, o.Provider) }
	datacenter := func(list []string) bool { return named(list, d.ID, d.Slug()) }
	switch {
	case len(c.Providers) > 0 && !provider(c.Providers), len(c.ExcludeProviders) > 0 && provider(c.ExcludeProviders),
		len(c.Datacenters) > 0 && !datacenter(c.Datacenters), len(c.ExcludeDatacenters) > 0 && datacenter(c.ExcludeDatacenters):
		return false
	case d.Tier < c.MinTier, !c.certified(d), !extraAllowed(o, c.extraGiB()):
		return false
	}
	return true
}

// named reports whether a list has one of the names.
func named(list []string, names ...string) bool {
	return slices.ContainsFunc(list, func(want string) bool {
		return slices.ContainsFunc(names, func(name string) bool { return strings.EqualFold(want, name) })
	})
}

func (c *Constraints) certified(d *Datacenter) bool {
	return !slices.ContainsFunc(c.Certifications, func(want string) bool { return !named(d.Certifications, want) })
}

// missing returns the wanted certifications that the datacenter doesn't have.
func (c *Constraints) missing(d *Datacenter) (list []string) {
	for _, want := range c.Certifications {
		if !named(d.Certifications, want) && !named(list, want) {
			list = append(list, want)
		}
	}
	return list
}

// extraAllowed reports whether the offer lets a VM add that much storage.
func extraAllowed(o *Offer, extraGiB int64) bool {
	return o.MaxExtraStorage == 0 || extraGiB <= o.MaxExtraStorage
}

// narrow reports whether admits asks for anything.
func (c *Constraints) narrow() bool {
	w := c.Where
	return len(w.Providers)+len(w.ExcludeProviders)+len(w.Datacenters)+len(w.ExcludeDatacenters)+len(c.Certifications)+len(c.Extra) > 0 ||
		c.MinTier > 0
}

// country, processor, memory and disk report whether a value of the index is wanted.
func (c *Constraints) country(code string) bool {
	return anyOf(c.Countries, func(w string) bool { return strings.EqualFold(w, code) })
}

func (c *Constraints) processor(cpu capacity.CPU) bool {
	return anyOf(c.CPU, func(w capacity.CPU) bool {
		return like(w.Manufacturer, cpu.Manufacturer) && like(w.Architecture, cpu.Architecture)
	})
}

func (c *Constraints) memory(m capacity.Memory) bool {
	return anyOf(c.Memory, func(w capacity.Memory) bool { return like(w.Type, m.Type) && like(w.Generation, m.Generation) })
}

// disk reports whether a type of disk is wanted. A server has one type of disk,
// so every extra GiB has to be of it.
func (c *Constraints) disk(s capacity.Storage) bool {
	return anyOf(c.Storage, func(w capacity.Storage) bool { return like(w.Type, s.Type) }) &&
		!slices.ContainsFunc(c.Extra, func(x ExtraStorage) bool { return !like(x.Type, s.Type) })
}

// measured reports whether a server's figures are good enough. One that was
// never measured is not when any figure is asked for.
func (c *Constraints) measured(m *capacity.Measured) bool {
	if c.MinMeasured == (capacity.Measured{}) {
		return true
	}
	if m == nil {
		return false
	}
	for _, pair := range [...][2]float64{
		{c.MinMeasured.CPUSingle, m.CPUSingle},
		{c.MinMeasured.CPUAll, m.CPUAll},
		{c.MinMeasured.Memory, m.Memory},
		{c.MinMeasured.DiskRead, m.DiskRead},
		{c.MinMeasured.DiskWrite, m.DiskWrite},
		{c.MinMeasured.DiskIOPS, m.DiskIOPS},
	} {
		if pair[1] < pair[0] {
			return false
		}
	}
	most := func(limit, have float64) bool { return limit == 0 || have > 0 && have <= limit }
	return most(c.MinMeasured.DiskFsync, m.DiskFsync) && most(c.MinMeasured.Network, m.Network)
}

// affords reports whether price is within the limit.
func (c *Constraints) affords(price money.Amount) bool {
	return c.MaxPrice == nil || price <= *c.MaxPrice
}

// like compares a wanted word with what is there; "" wants anything.
func like(want, have string) bool { return want == "" || strings.EqualFold(want, have) }

func anyOf[T any](wants []T, fits func(T) bool) bool {
	return len(wants) == 0 || slices.ContainsFunc(wants, fits)
}
