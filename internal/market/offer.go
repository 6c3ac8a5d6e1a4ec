// Package market knows what is for sale and which of it fits: servers, offers,
// configurations, constraints, and the index that finds the match between them.
// It is pure: servers go in, matches and placements come out.
package market

import (
	"fmt"
	"slices"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/money"
)

// MaxUnitPrice bounds each price of a list: 1,000,000 USDC per unit and epoch.
// No VM's price can overflow then.
const MaxUnitPrice = 1_000_000 * money.USDC

// Prices is a price list in micro-USDC per unit and epoch.
type Prices struct {
	VCPU    money.Amount // per vCPU
	RAM     money.Amount // per GiB
	Storage money.Amount // per GiB
	Address money.Amount // per public IPv4 address
}

// Check returns an Invalid fault for a price that is negative or absurd.
func (p Prices) Check() error {
	for _, unit := range []money.Amount{p.VCPU, p.RAM, p.Storage, p.Address} {
		if unit < 0 || unit > MaxUnitPrice {
			return fault.Newf(fault.Invalid, "a price of %s USDC is not within 0 to %s", unit, MaxUnitPrice)
		}
	}
	return nil
}

// Of returns the price of v for an epoch. It is exact: whole units times whole
// micro-USDC. Prices that pass Check, and amounts up to 1<<20, can't overflow.
func (p Prices) Of(v capacity.Vector) money.Amount {
	parts := p.Parts(v)
	return parts[0] + parts[1] + parts[2] + parts[3]
}

// Parts returns what of the price of v is for its vCPUs, RAM, storage and
// addresses. They add up to Of.
func (p Prices) Parts(v capacity.Vector) [4]money.Amount {
	return [4]money.Amount{
		p.VCPU * money.Amount(v.VCPU), p.RAM * money.Amount(v.RAMGiB), p.Storage * money.Amount(v.StorageGiB), p.Address * money.Amount(v.Addresses),
	}
}

// Offer is a price list of one provider in one datacenter, for servers of some
// hardware.
type Offer struct {
	ID              string
	Name            string // unique within its provider
	ProviderID      string
	Provider        string // name
	Datacenter      Datacenter
	Hardware        capacity.Hardware // what it lists; "" in a member is anything
	Prices          Prices
	MaxExtraStorage int64 // GiB that one VM may add to its configuration, 0 for no limit but the server's
	Withdrawn       bool  // sells nothing any more
}

// Lists reports whether servers of that hardware are sold by the offer.
func (o Offer) Lists(hw capacity.Hardware) bool {
	for _, pair := range pairs(o.Hardware, hw) {
		if !like(pair[0], pair[1]) {
			return false
		}
	}
	return true
}

// sells reports whether VMs can be bought of it: it isn't withdrawn, and its
// prices are such that none overflows.
func (o *Offer) sells() bool { return !o.Withdrawn && o.Prices.Check() == nil }

// precision counts the members of the hardware that the offer names.
func (o Offer) precision() (n int) {
	for _, pair := range pairs(o.Hardware, o.Hardware) {
		if pair[0] != "" {
			n++
		}
	}
	return n
}

func pairs(a, b capacity.Hardware) [7][2]string {
	return [...][2]string{
		{a.CPU.Manufacturer, b.CPU.Manufacturer},
		{a.CPU.Brand, b.CPU.Brand},
		{a.CPU.Architecture, b.CPU.Architecture},
		{a.CPU.Generation, b.CPU.Generation},
		{a.Memory.Type, b.Memory.Type},
		{a.Memory.Generation, b.Memory.Generation},
		{a.Storage.Type, b.Storage.Type},
	}
}

// ForHardware returns the offer that lists such a server: the one that names
// most of its hardware, the first by name among equals. It is nil when none
// does.
func ForHardware(offers []Offer, hw capacity.Hardware) *Offer {
	var best *Offer
	for i := range offers {
		o := &offers[i]
		if o.Withdrawn || !o.Lists(hw) {
			continue
		}
		if best == nil || o.precision() > best.precision() || o.precision() == best.precision() && o.Name < best.Name {
			best = o
		}
	}
	return best
}

// Server is one machine of an offer.
type Server struct {
	Number        uint32 // counts the servers of a marketplace, from 1
	OfferID       string
	Hardware      capacity.Hardware
	Capacity      capacity.Vector // what may be sold
	Used          capacity.Vector // what is taken
	VCPUPerThread int64           // how often each hardware thread is sold; 1 is not oversold
	Open          bool            // new VMs may be placed on it
	Removed       bool            // it is not of the marketplace any more
	Measured      *capacity.Measured
}

// Free returns what can still be taken.
func (s Server) Free() capacity.Vector { return s.Capacity.Sub(s.Used) }

// Configuration is a basic configuration: the size of a VM.
type Configuration struct {
	VCPU       int64
	RAMGiB     int64
	StorageGiB int64
}

// configurations is how many basic configurations there are.
const configurations = 14

// catalogue holds the basic configurations from the smallest: multiples of the
// compute unit of 2 vCPU and 4 GiB, with 25 GiB of storage or more.
var catalogue = [configurations]Configuration{
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

// slugs are the names of the configurations, in their order.
var slugs = func() (names [configurations]string) {
	for i, c := range catalogue {
		names[i] = c.slug()
	}
	return names
}()

// Configurations returns the basic configurations, smallest first.
func Configurations() []Configuration { return slices.Clone(catalogue[:]) }

// Slug names the configuration: cpu-2-ram-4gb-storage-25gb.
func (c Configuration) Slug() string {
	if i := slices.Index(catalogue[:], c); i >= 0 {
		return slugs[i]
	}
	return c.slug()
}

func (c Configuration) slug() string {
	return fmt.Sprintf("cpu-%d-ram-%dgb-storage-%dgb", c.VCPU, c.RAMGiB, c.StorageGiB)
}

// Demand returns what a VM of this size with extra GiB of storage takes.
func (c Configuration) Demand(extra int64) capacity.Vector {
	return capacity.Vector{VCPU: c.VCPU, RAMGiB: c.RAMGiB, StorageGiB: c.StorageGiB + extra, Addresses: 1}
}
