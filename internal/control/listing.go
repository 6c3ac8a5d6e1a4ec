package control

import (
	"cmp"
	"fmt"
	"strconv"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/market"
)

// Listing is all that a provider sells, and where: it is complete, so that what
// is not in it is not for sale.
type Listing struct {
	Datacenters []market.Datacenter // each at another place; ids don't count
	Offers      []ListedOffer       // each of another name
}

// ListedOffer is a price list of a listing.
type ListedOffer struct {
	Name            string
	Datacenter      string // slug of one of the listing's
	Hardware        capacity.Hardware
	Prices          market.Prices
	MaxExtraStorage int64 // GiB that one VM may add, 0 for no limit but the server's
}

// Action says what becomes of a part of a listing.
type Action string

// The actions.
const (
	Added   Action = "add"
	Changed Action = "change"
	Removed Action = "remove"
)

// Change is one difference between a listing and the one before it. Before and
// After are "" where there is nothing.
type Change struct {
	Path          string // in the newer listing; of what was removed, in the older one
	Action        Action
	Before, After string
	Text          string // a sentence about it
}

// Compare returns what has to change for one listing to become another, in the
// order of the newer one; what is left out comes last.
func Compare(older, newer Listing) []Change {
	changes := append([]Change{}, compareDatacenters(older.Datacenters, newer.Datacenters)...)
	changes = append(changes, compareOffers(older.Offers, newer.Offers)...)
	for _, i := range leftOut(older.Offers, newer.Offers, nameOf) {
		o := older.Offers[i]
		changes = append(changes, Change{
			fmt.Sprintf("offers[%d]", i), Removed, o.summary(), "", "offer " + o.Name + " is withdrawn; its VMs run on at their price",
		})
	}
	for _, i := range leftOut(older.Datacenters, newer.Datacenters, market.Datacenter.Slug) {
		slug := older.Datacenters[i].Slug()
		changes = append(changes, Change{fmt.Sprintf("datacenters[%d]", i), Removed, slug, "", "datacenter " + slug + " is removed"})
	}
	return changes
}

func compareDatacenters(older, newer []market.Datacenter) (changes []Change) {
	before := placesOf(older, market.Datacenter.Slug)
	for i, d := range newer {
		path, slug := fmt.Sprintf("datacenters[%d]", i), d.Slug()
		if at, known := before[slug]; known {
			changes = append(changes, compareMembers(path, "datacenter "+slug, datacenterMembers(older[at]), datacenterMembers(d))...)
			continue
		}
		changes = append(changes, Change{path, Added, "", slug, "datacenter " + slug + " is new"})
	}
	return changes
}

func compareOffers(older, newer []ListedOffer) (changes []Change) {
	before := placesOf(older, nameOf)
	for i, o := range newer {
		path := fmt.Sprintf("offers[%d]", i)
		if at, known := before[o.Name]; known {
			changes = append(changes, compareMembers(path, "offer "+o.Name, offerMembers(older[at]), offerMembers(o))...)
			continue
		}
		changes = append(changes, Change{path, Added, "", o.summary(), fmt.Sprintf("offer %s is new: %s", o.Name, o.summary())})
	}
	return changes
}

func nameOf(o ListedOffer) string { return o.Name }

// placesOf returns where the items of a list are, by their key.
func placesOf[T any](list []T, key func(T) string) map[string]int {
	places := make(map[string]int, len(list))
	for i, item := range list {
		places[key(item)] = i
	}
	return places
}

// leftOut returns where the items of a list are that aren't in a newer one.
func leftOut[T any](older, newer []T, key func(T) string) (at []int) {
	kept := placesOf(newer, key)
	for i, item := range older {
		if _, there := kept[key(item)]; !there {
			at = append(at, i)
		}
	}
	return at
}

// listed is one member as it stands in a listing.
type listed struct{ name, value string }

func compareMembers(path, of string, older, newer []listed) (changes []Change) {
	for i, m := range newer {
		if before := older[i].value; before != m.value {
			changes = append(changes, Change{
				path + "." + m.name, Changed, before, m.value, fmt.Sprintf("%s: %s is %s instead of %s", of, m.name, shown(m.value), shown(before)),
			})
		}
	}
	return changes
}

func shown(value string) string { return cmp.Or(value, "anything") }

func datacenterMembers(d market.Datacenter) []listed {
	return []listed{{"tier", strconv.FormatInt(d.Tier, 10)}, {"certifications", fmt.Sprintf("%q", d.Certifications)}}
}

func offerMembers(o ListedOffer) []listed {
	hw, p := o.Hardware, o.Prices
	limit := "none"
	if o.MaxExtraStorage > 0 {
		limit = strconv.FormatInt(o.MaxExtraStorage, 10)
	}
	return []listed{
		{"datacenter", o.Datacenter},
		{"hardware.cpu.manufacturer", hw.CPU.Manufacturer},
		{"hardware.cpu.brand", hw.CPU.Brand},
		{"hardware.cpu.architecture", hw.CPU.Architecture},
		{"hardware.cpu.generation", hw.CPU.Generation},
		{"hardware.memory.type", hw.Memory.Type},
		{"hardware.memory.generation", hw.Memory.Generation},
		{"hardware.storage.type", hw.Storage.Type},
		{"prices.vcpu", p.VCPU.String()},
		{"prices.ram", p.RAM.String()},
		{"prices.storage", p.Storage.String()},
		{"prices.address", p.Address.String()},
		{"maxExtraStorageGib", limit},
	}
}

// summary returns an offer in a line.
func (o ListedOffer) summary() string {
	return fmt.Sprintf("%s at %s USDC per vCPU, %s per GiB of RAM, %s per GiB of storage, %s per address",
		o.Datacenter, o.Prices.VCPU, o.Prices.RAM, o.Prices.Storage, o.Prices.Address)
}
