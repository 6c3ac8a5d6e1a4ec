package main

import (
	"math/rand/v2"
	"strings"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/money"
)

// sizes are the configurations that are asked for: vCPU, GiB of RAM and GiB of
// storage. The last three ask for more storage.
var sizes = [...][3]int64{{2, 4, 25}, {4, 8, 25}, {8, 16, 25}, {16, 32, 25}, {32, 64, 25}, {2, 4, 50}, {4, 8, 50}, {8, 16, 50}}

// anything is what a wish wants that leaves an attribute open.
const anything = 255

// wish is what one search or deployment asks for.
type wish struct {
	size                               int
	country, maker, arch, memory, disk uint8
	unit                               int64 // most that a unit may cost, 0 for no limit
}

// makeMix returns n wishes, always the same ones: each of them names some
// attributes, drawn at random.
func makeMix(n int) []wish {
	r := rand.New(rand.NewPCG(7, 7))
	land := lands(r)
	often := func(share float64) bool { return r.Float64() < share }
	one := func(n int) uint8 { return uint8(r.IntN(n)) } //nolint:gosec // few
	mix := make([]wish, n)
	for i := range mix {
		w := wish{size: r.IntN(len(sizes)), country: anything, maker: anything, arch: anything, memory: anything, disk: anything}
		if often(0.6) {
			w.country = land()
		}
		if often(0.5) {
			w.maker = one(2)
		}
		if often(0.2) {
			w.arch, w.maker = one(len(archs)), anything
		}
		if often(0.3) {
			w.memory = one(2)
		}
		if often(0.4) {
			w.disk = 1 + one(2)
		}
		if often(0.5) {
			w.unit = int64(80_000 + 10_000*r.IntN(20))
		}
		mix[i] = w
	}
	return mix
}

func (w *wish) configuration() market.Configuration {
	s := sizes[w.size]
	return market.Configuration{VCPU: s[0], RAMGiB: s[1], StorageGiB: s[2]}
}

// need returns what a VM of the wish takes of its server.
func (w *wish) need() room {
	s := sizes[w.size]
	return room{int32(s[0]), int32(s[1]), int32(s[2]), 1} //nolint:gosec // small
}

// wants reports whether the machine is of the kind that is wished for, whatever
// room it has.
func (w *wish) wants(m *machine) bool {
	is := func(want, have uint8) bool { return want == anything || want == have }
	return is(w.country, m.country) && is(w.maker, m.maker) && is(w.arch, m.arch) && is(w.memory, m.memory) && is(w.disk, m.disk) &&
		(w.unit == 0 || m.unit <= w.unit)
}

// prices shares the price of a unit among its parts, as a simulated server does.
func prices(unit int64) market.Prices {
	return market.Prices{VCPU: money.Amount(unit * 4 / 10), RAM: money.Amount(unit / 4), Storage: money.Amount(unit * 8 / 1000)}
}

// price returns what a VM of the wish costs where a unit costs so much.
func (w *wish) price(unit int64) money.Amount { return prices(unit).Of(w.configuration().Demand(0)) }

func memoryKind(n uint8) capacity.Memory {
	return capacity.Memory{Type: "DDR", Generation: memories[n][3:]}
}

func diskKind(n uint8) capacity.Storage {
	return capacity.Storage{Type: strings.Replace(disks[n], "NVME", "NVMe", 1)}
}

// constraints returns the wish in the words of the index.
func (w *wish) constraints() market.Constraints {
	c := market.Constraints{Configuration: w.configuration().Slug()}
	if w.country != anything {
		c.Countries = []string{country(w.country)}
	}
	switch {
	case w.arch != anything:
		c.CPU = []capacity.CPU{{Architecture: archs[w.arch]}}
	case w.maker != anything:
		c.CPU = []capacity.CPU{{Manufacturer: makers[w.maker]}}
	}
	if w.memory != anything {
		c.Memory = []capacity.Memory{memoryKind(w.memory)}
	}
	if w.disk != anything {
		c.Storage = []capacity.Storage{diskKind(w.disk)}
	}
	if w.unit > 0 {
		most := w.price(w.unit)
		c.MaxPrice = &most
	}
	return c
}

// request returns the wish in the words of the API.
func (w *wish) request() client.Constraints {
	c := w.constraints()
	out := client.Constraints{BasicConfiguration: c.Configuration, Datacenter: client.DatacenterFilter{Countries: c.Countries}}
	for _, cpu := range c.CPU {
		out.Hardware.CPU = append(out.Hardware.CPU, client.CPU{Manufacturer: cpu.Manufacturer, Architecture: cpu.Architecture})
	}
	for _, m := range c.Memory {
		out.Hardware.Memory = append(out.Hardware.Memory, client.Memory(m))
	}
	for _, s := range c.Storage {
		out.Hardware.Storage = append(out.Hardware.Storage, client.Storage(s))
	}
	if c.MaxPrice != nil {
		out.MaxPricePerEpoch = c.MaxPrice.String()
	}
	return out
}
