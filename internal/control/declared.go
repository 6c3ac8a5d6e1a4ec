package control

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/money"
)

// Bounds of a listing.
const (
	maxListed       = 1_000   // datacenters, and offers
	maxExtraStorage = 1 << 20 // GiB
)

// Declared is a listing as its provider wrote it. Nil lists were left out: who
// means none says so.
type Declared struct {
	Datacenters []market.Datacenter
	Offers      []DeclaredOffer
}

// DeclaredOffer is a ListedOffer whose prices are as they were written.
type DeclaredOffer struct {
	ListedOffer
	VCPU, RAM, Storage, Address string // decimals
}

// ListingFault is one thing that is wrong with a listing.
type ListingFault struct {
	Path    string // such as offers[1].prices.vcpu
	Message string
}

// ListingError is an Invalid fault that holds all that is wrong with a listing.
type ListingError struct{ Faults []ListingFault }

// Error names the first faults.
func (e *ListingError) Error() string {
	count := fmt.Sprintf("%d faults: ", len(e.Faults))
	if len(e.Faults) == 1 {
		count = "1 fault: "
	}
	var lines []string
	for _, f := range e.Faults[:min(len(e.Faults), 3)] {
		lines = append(lines, f.Path+": "+f.Message)
	}
	if len(e.Faults) > 3 {
		lines = append(lines, "…")
	}
	return count + strings.Join(lines, "; ")
}

// Unwrap gives the error its kind.
func (e *ListingError) Unwrap() error { return fault.New(fault.Invalid, e.Error()) }

// reader collects the faults of a listing as it is read.
type reader struct {
	faults []ListingFault
	slugs  map[string]int // where datacenters are in the listing
	names  map[string]int // where offers are
}

func (r *reader) fault(path, format string, args ...any) {
	r.faults = append(r.faults, ListingFault{path, fmt.Sprintf(format, args...)})
}

// check notes err, if there is one.
func (r *reader) check(path string, err error) {
	if err != nil {
		r.fault(path, "%s", fault.Message(err))
	}
}

// listing returns the listing that was declared; with faults it is of no use.
func (d Declared) listing() (Listing, []ListingFault) {
	r := reader{slugs: map[string]int{}, names: map[string]int{}}
	if d.Datacenters == nil {
		r.fault("datacenters", "datacenters is missing; write [] for none")
	}
	if d.Offers == nil {
		r.fault("offers", "offers is missing; write [] to withdraw all")
	}
	if n := len(d.Datacenters); n > maxListed {
		r.fault("datacenters", "%d datacenters are more than %d", n, maxListed)
	}
	if n := len(d.Offers); n > maxListed {
		r.fault("offers", "%d offers are more than %d", n, maxListed)
	}
	if max(len(d.Datacenters), len(d.Offers)) > maxListed {
		return Listing{}, r.faults
	}
	l := Listing{Datacenters: []market.Datacenter{}, Offers: []ListedOffer{}}
	for i, place := range d.Datacenters {
		l.Datacenters = append(l.Datacenters, r.datacenter(i, place))
	}
	for i, o := range d.Offers {
		l.Offers = append(l.Offers, r.offer(i, o))
	}
	return l, r.faults
}

// datacenter checks one member after another, each beside others that are well.
func (r *reader) datacenter(at int, d market.Datacenter) market.Datacenter {
	path := fmt.Sprintf("datacenters[%d]", at)
	good := market.Datacenter{Country: "US", City: "NYC", Index: 1, Tier: 1}
	for _, member := range []struct {
		name string
		put  func(*market.Datacenter)
	}{
		{"country", func(g *market.Datacenter) { g.Country = d.Country }},
		{"city", func(g *market.Datacenter) { g.City = d.City }},
		{"index", func(g *market.Datacenter) { g.Index = d.Index }},
		{"tier", func(g *market.Datacenter) { g.Tier = d.Tier }},
		{"certifications", func(g *market.Datacenter) { g.Certifications = d.Certifications }},
	} {
		one := good
		member.put(&one)
		r.check(path+"."+member.name, one.Check())
	}
	for i, c := range d.Certifications {
		if c != "" && len(c) <= 100 && account.CheckName(c) != nil {
			r.fault(fmt.Sprintf("%s.certifications[%d]", path, i), "a certification is printable text on one line")
		}
	}
	if first, twice := r.slugs[d.Slug()]; twice {
		r.fault(path, "datacenter %.40s is listed twice, first as datacenters[%d]; give one of them another index", d.Slug(), first)
	} else {
		r.slugs[d.Slug()] = at
	}
	d.Certifications = append([]string{}, d.Certifications...)
	return d
}

func (r *reader) offer(at int, o DeclaredOffer) ListedOffer {
	path := fmt.Sprintf("offers[%d]", at)
	bad := account.CheckName(o.Name)
	r.check(path+".name", bad)
	if first, twice := r.names[o.Name]; !twice {
		r.names[o.Name] = at
	} else if bad == nil {
		r.fault(path+".name", "offer %q is listed twice, first as offers[%d]; give one of them another name", o.Name, first)
	}
	o.Datacenter = strings.ToLower(o.Datacenter)
	if _, there := r.slugs[o.Datacenter]; !there {
		r.fault(path+".datacenter", "datacenter %.40q is not among the listing's datacenters; add it there, with its slug as in de-fra-1", o.Datacenter)
	}
	r.hardware(path+".hardware", o.Hardware)
	o.Prices = market.Prices{
		VCPU: r.price(path+".prices.vcpu", o.VCPU), RAM: r.price(path+".prices.ram", o.RAM),
		Storage: r.price(path+".prices.storage", o.Storage), Address: r.price(path+".prices.address", o.Address),
	}
	if o.MaxExtraStorage < 0 || o.MaxExtraStorage > maxExtraStorage {
		r.fault(path+".maxExtraStorageGib", "%d GiB is not within 0 to %d; 0 is no limit but the server's", o.MaxExtraStorage, maxExtraStorage)
	}
	return o.ListedOffer
}

func (r *reader) price(path, text string) money.Amount {
	if text == "" {
		r.fault(path, "the price is missing; write a decimal such as 0.05")
		return 0
	}
	amount, err := money.Parse(text)
	r.check(path, firstError(err, market.Prices{VCPU: amount}.Check()))
	return amount
}

func (r *reader) hardware(path string, hw capacity.Hardware) {
	for _, m := range offerMembers(ListedOffer{Hardware: hw}) {
		if strings.HasPrefix(m.name, "hardware.") && m.value != "" && account.CheckName(m.value) != nil {
			r.fault(path+strings.TrimPrefix(m.name, "hardware"), "a word of hardware is at most 100 printable characters; leave it out for anything")
		}
	}
	kinds := []string{"", "HDD", "SSD", "NVMe"}
	if !slices.ContainsFunc(kinds, func(k string) bool { return strings.EqualFold(k, hw.Storage.Type) }) {
		r.fault(path+".storage.type", "storage %.40q is none of HDD, SSD and NVMe", hw.Storage.Type)
	}
}
