package main

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"sort"
)

// room is an amount of vCPU, GiB of RAM, GiB of storage and addresses.
type room [4]int32

// machine is one server of the fleet that is measured with.
type machine struct {
	number, provider, datacenter       int
	country, maker, arch, memory, disk uint8
	total, used                        room
	unit                               int64 // micro-USDC per day of 1 vCPU, 2 GiB and 12.5 GiB of storage
}

func (m *machine) free() room {
	r := m.total
	for i := range r {
		r[i] -= m.used[i]
	}
	return r
}

// What the small numbers of a machine stand for.
var (
	makers   = [...]string{"INTEL", "AMD", "AMPERE"}
	archs    = [...]string{"CASCADELAKE", "ICELAKE", "SAPPHIRERAPIDS", "EMERALDRAPIDS", "GRANITERAPIDS", "ROME", "MILAN", "GENOA", "BERGAMO", "TURIN", "ALTRA", "AMPEREONE"}
	makerOf  = [len(archs)]uint8{5: 1, 6: 1, 7: 1, 8: 1, 9: 1, 10: 2, 11: 2}
	memoryOf = [len(archs)]uint8{2: 1, 3: 1, 4: 1, 7: 1, 8: 1, 9: 1, 11: 1}
	memories = [...]string{"DDR4", "DDR5"}
	disks    = [...]string{"HDD", "SSD", "NVME"}
)

const countries = 40

// country names a country by its number: AA, AB and so on.
func country(n uint8) string { return string([]byte{'A' + n/26, 'A' + n%26}) }

// site is a datacenter of the fleet: the processors that it has, and what each
// of them costs.
type site struct {
	provider int
	country  uint8
	archs    []uint8
	units    []int64
}

// makeFleet returns n servers, always the same for one n: many providers with
// few datacenters each, some countries with most of them, a third of the servers
// empty, half of them partly taken, the rest full.
func makeFleet(n int) []machine {
	r := rand.New(rand.NewPCG(42, uint64(n)))
	sites := makeSites(r, max(20, n/100))
	fleet := make([]machine, n)
	for i := range fleet {
		fleet[i] = makeMachine(r, i, sites)
	}
	return fleet
}

func makeSites(r *rand.Rand, providers int) (sites []site) {
	land := lands(r)
	for p := range providers {
		for made := 0; made <= r.IntN(3); made++ { // drawn anew each time
			s := site{provider: p, country: land()}
			for kinds := 0; kinds <= r.IntN(4); kinds++ {
				a := r.IntN(len(archs))
				s.archs = append(s.archs, uint8(a)) //nolint:gosec // there are 12
				unit := 60_000 + 5_000*(a%5)
				unit += 10_000 * r.IntN(20)
				unit += 1_000 * r.IntN(10)
				s.units = append(s.units, int64(unit))
			}
			sites = append(sites, s)
		}
	}
	return sites
}

func makeMachine(r *rand.Rand, number int, sites []site) machine {
	place := r.IntN(len(sites))
	s := sites[place]
	kind := r.IntN(len(s.archs))
	arch := s.archs[kind]
	vcpu := [...]int32{16, 32, 48, 64, 96, 128, 192, 256}[r.IntN(8)]
	disk := [...]uint8{0, 1, 1, 2, 2, 2}[r.IntN(6)]
	ram := vcpu * [...]int32{2, 4, 4, 8}[r.IntN(4)]
	storage := vcpu * 25 * (1 + r.Int32N(4))
	m := machine{
		number: number + 1, provider: s.provider, datacenter: place, country: s.country,
		maker: makerOf[arch], arch: arch, memory: memoryOf[arch], disk: disk,
		total: room{vcpu, ram, storage, vcpu / 2}, unit: s.units[kind],
	}
	switch load := r.Float64(); {
	case load < 0.3:
	case load < 0.8:
		part := r.Float64()
		of := func(whole int32) int32 { return int32(part * float64(whole)) }
		m.used = room{of(vcpu), int32(part * float64(vcpu) * 2), int32(part * float64(vcpu) * 12), of(vcpu / 2)}
	default:
		m.used = room{vcpu, ram, vcpu * 12, vcpu / 2}
	}
	return m
}

// lands returns a source of countries of which the first comes most often, the
// k-th a k-th as often.
func lands(r *rand.Rand) func() uint8 {
	var upTo [countries]float64
	sum := 0.0
	for k := range upTo {
		sum += 1 / float64(k+1)
		upTo[k] = sum
	}
	return func() uint8 { return uint8(sort.SearchFloat64s(upTo[:], r.Float64()*sum)) } //nolint:gosec // there are 40
}

// writeFleet writes the fleet as `cpucloud admin simulate` reads it.
func writeFleet(w io.Writer, fleet []machine) error {
	out := bufio.NewWriterSize(w, 1<<20)
	for i := range fleet {
		m := &fleet[i]
		fmt.Fprintf(out, "%d,%d,%d,%s,%s,%s,%s,%s,%d,%d,%d,%d,%d,%d,%d,%d,%d\n", m.number, m.provider, m.datacenter,
			country(m.country), makers[m.maker], archs[m.arch], memories[m.memory], disks[m.disk],
			m.total[0], m.total[1], m.total[2], m.total[3], m.used[0], m.used[1], m.used[2], m.used[3], m.unit)
	}
	return out.Flush()
}
