package market

import (
	"cmp"
	"slices"
	"strings"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/money"
)

// list is a constraint that is a list of alternatives, or of what to leave.
type list struct {
	constraint constraint
	say        string // what is changed, in front of the values
	noun       string
	value      func(*group) pair // that would have to be in the list, or out of it
	loose      bool              // "" within a value stands for anything
	alter      func(c *Constraints, values []pair)
}

// relaxPlaces relaxes the lists of countries, providers and datacenters.
func (e *explaining) relaxPlaces() []Relaxation {
	provider := func(g *group) pair { return pair{cmp.Or(g.offer.Provider, g.offer.ProviderID), g.offer.ProviderID} }
	datacenter := func(g *group) pair { return pair{g.offer.Datacenter.Slug(), g.offer.Datacenter.ID} }
	add := func(list []string, values []pair) []string {
		list = slices.Clone(list)
		for _, v := range values {
			list = append(list, v[0])
		}
		return list
	}
	drop := func(list []string, values []pair) []string {
		return slices.DeleteFunc(slices.Clone(list), func(entry string) bool {
			return slices.ContainsFunc(values, func(v pair) bool { return named(v[:], entry) })
		})
	}
	return e.relaxLists(
		list{
			byCountry, "accept ", "country", func(g *group) pair { return pair{g.offer.Datacenter.Country} }, false,
			func(c *Constraints, v []pair) { c.Countries = add(c.Countries, v) },
		},
		list{
			byProvider, "accept ", "provider", provider, false,
			func(c *Constraints, v []pair) { c.Providers = add(c.Providers, v) },
		},
		list{
			byExcludedProvider, "stop excluding ", "provider", provider, false,
			func(c *Constraints, v []pair) { c.ExcludeProviders = drop(c.ExcludeProviders, v) },
		},
		list{
			byDatacenter, "accept ", "datacenter", datacenter, false,
			func(c *Constraints, v []pair) { c.Datacenters = add(c.Datacenters, v) },
		},
		list{
			byExcludedDatacenter, "stop excluding ", "datacenter", datacenter, false,
			func(c *Constraints, v []pair) { c.ExcludeDatacenters = drop(c.ExcludeDatacenters, v) },
		},
	)
}

// relaxHardware relaxes the lists of hardware.
func (e *explaining) relaxHardware() []Relaxation {
	return e.relaxLists(
		list{byCPU, "accept ", "CPU", func(g *group) pair { return cpuWords(g.hardware.CPU) }, true, func(c *Constraints, values []pair) {
			c.CPU = slices.Clone(c.CPU)
			for _, v := range values {
				c.CPU = append(c.CPU, capacity.CPU{Manufacturer: v[0], Architecture: v[1]})
			}
		}},
		list{byMemory, "accept ", "memory", func(g *group) pair { return memoryWords(g.hardware.Memory) }, true, func(c *Constraints, values []pair) {
			c.Memory = slices.Clone(c.Memory)
			for _, v := range values {
				c.Memory = append(c.Memory, capacity.Memory{Type: v[0], Generation: v[1]})
			}
		}},
		list{byStorage, "accept ", "storage", func(g *group) pair { return storageWords(g.hardware.Storage) }, true, func(c *Constraints, values []pair) {
			c.Storage = slices.Clone(c.Storage)
			for _, v := range values {
				c.Storage = append(c.Storage, capacity.Storage{Type: v[0]})
			}
		}},
	)
}

func (e *explaining) relaxLists(lists ...list) (out []Relaxation) {
	for _, l := range lists {
		values := e.choose(&l)
		if values == nil {
			continue
		}
		shown := make([]string, len(values))
		for i, v := range values {
			if shown[i] = v[0]; l.loose {
				shown[i] = v.String()
			}
		}
		out = append(out, e.relaxed(l.constraint, l.say+counted(l.noun, shown), func(r *Request) { l.alter(&r.Constraints, values) })...)
	}
	return out
}

// counted joins values behind their noun.
func counted(noun string, values []string) string { return noun + " " + strings.Join(values, " and ") }

// choice is a value with what it would let in.
type choice struct {
	value pair
	room  int64
	price money.Amount
}

// choose returns the one value that lets enough in at the lowest price; where
// no single one does, as few as possible; nil when all together don't.
func (e *explaining) choose(l *list) (values []pair) {
	choices := e.choices(l)
	slices.SortStableFunc(choices, func(a, b choice) int {
		return cmp.Or(cmp.Compare(a.price, b.price), slices.Compare(a.value[:], b.value[:]))
	})
	for _, c := range choices {
		if e.enough(c.room + l.besides(choices, c.value)) {
			return []pair{c.value}
		}
	}
	slices.SortStableFunc(choices, func(a, b choice) int { return cmp.Compare(b.room, a.room) })
	room := int64(0)
	for _, c := range choices {
		values, room = append(values, c.value), room+c.room
		if e.enough(room) {
			return values
		}
	}
	return nil
}

// choices returns the values of the groups that the list alone rules out, each
// once.
func (e *explaining) choices(l *list) (out []choice) {
	at := map[pair]int{}
	for _, n := range e.near[l.constraint] {
		value := l.value(n.group)
		key := pair{strings.ToLower(value[0]), strings.ToLower(value[1])}
		i, seen := at[key]
		if !seen {
			i, at[key] = len(out), len(out)
			out = append(out, choice{value: value, price: n.price})
		}
		out[i].room, out[i].price = out[i].room+n.room, min(out[i].price, n.price)
	}
	return out
}

// besides returns the room of the other values that an entry of the list lets
// in, because it leaves something open.
func (l *list) besides(choices []choice, value pair) (room int64) {
	if !l.loose || value[0] != "" && value[1] != "" {
		return 0
	}
	for _, c := range choices {
		if c.value != value && like(value[0], c.value[0]) && like(value[1], c.value[1]) {
			room += c.room
		}
	}
	return room
}
