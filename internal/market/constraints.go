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
	Configuration string             // slug of a basic configuration
	Countries     []string           // ISO 3166-1 alpha-2
	CPU           []capacity.CPU     // manufacturer and architecture count
	Memory        []capacity.Memory  // type and generation
	Storage       []capacity.Storage // type
	Extra         []ExtraStorage     // beyond the configuration, per VM
	MaxPrice      *money.Amount      // per VM and epoch, inclusive, with extra storage
}

// ExtraStorage asks for more disk.
type ExtraStorage struct {
	GiB  int64
	Type string // HDD, SSD, NVMe; "" for whatever the server has
}

// maxExtraGiB bounds a request so that no sum overflows: 1 PiB.
const maxExtraGiB = 1 << 20

// Check returns an Invalid fault when the constraints contradict themselves.
func (c Constraints) Check() error {
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
func (c Constraints) extraGiB() int64 {
	total := int64(0)
	for _, x := range c.Extra {
		total += x.GiB
	}
	return total
}

// admits reports whether the offer's place and hardware are wanted.
func (c Constraints) admits(o Offer) bool {
	if len(c.Countries) > 0 && !slices.ContainsFunc(c.Countries, func(s string) bool { return strings.EqualFold(s, o.Datacenter.Country) }) {
		return false
	}
	hw := o.Hardware
	cpu := func(w capacity.CPU) bool {
		return like(w.Manufacturer, hw.CPU.Manufacturer) && like(w.Architecture, hw.CPU.Architecture)
	}
	memory := func(w capacity.Memory) bool {
		return like(w.Type, hw.Memory.Type) && like(w.Generation, hw.Memory.Generation)
	}
	storage := func(w capacity.Storage) bool { return like(w.Type, hw.Storage.Type) }
	if !anyOf(c.CPU, cpu) || !anyOf(c.Memory, memory) || !anyOf(c.Storage, storage) {
		return false
	}
	// A server has one type of disk, so every extra GiB has to be of it.
	return !slices.ContainsFunc(c.Extra, func(x ExtraStorage) bool { return !like(x.Type, hw.Storage.Type) })
}

// affords reports whether price is within the limit.
func (c Constraints) affords(price money.Amount) bool {
	return c.MaxPrice == nil || price <= *c.MaxPrice
}

// like compares a wanted word with what is there; "" wants anything.
func like(want, have string) bool { return want == "" || strings.EqualFold(want, have) }

func anyOf[T any](wants []T, fits func(T) bool) bool {
	return len(wants) == 0 || slices.ContainsFunc(wants, fits)
}
