package market_test

import (
	"fmt"
	"testing"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/money"
)

// synthetic returns an index of n servers in a fiftieth as many offers, 40 at
// least.
func synthetic(n int) *market.Index {
	x := market.NewIndex()
	var c market.Changes
	for i := range max(40, n/50) {
		c.Offers = append(c.Offers, syntheticOffer(i))
	}
	for i := range n {
		s := syntheticServer(i)
		s.OfferID = c.Offers[i%len(c.Offers)].ID
		c.Servers = append(c.Servers, s)
	}
	x.Apply(c)
	return x
}

func syntheticOffer(i int) market.Offer {
	countries := [...]string{"US", "DE", "FR", "FI", "JP", "BR", "SG"}
	certifications := [...][]string{nil, {"ISO 27001"}, {"ISO 27001", "SOC 2"}}
	return market.Offer{
		ID: fmt.Sprintf("off_%05d", i), Provider: fmt.Sprint("provider ", i/4), ProviderID: fmt.Sprint("prv_", i/4),
		Datacenter: market.Datacenter{
			ID: fmt.Sprint("dc_", i), Country: countries[i%len(countries)], City: "AAA", Index: int64(i + 1), Tier: int64(i%4 + 1), Certifications: certifications[i%3],
		},
		Prices: market.Prices{VCPU: money.Amount(9000 + i*37%4000), RAM: money.Amount(3000 + i*11%900), Storage: money.Amount(90 + i%40), Address: 1000},
	}
}

// syntheticServer is a server of 128 vCPU, a tenth of them full and a tenth closed.
func syntheticServer(i int) market.Server {
	cpus := [...]capacity.CPU{
		{Manufacturer: "AMD", Brand: "EPYC 9354P", Architecture: "Zen", Generation: "4"},
		{Manufacturer: "AMD", Brand: "EPYC 9755", Architecture: "Zen", Generation: "5"},
		{Manufacturer: "Intel", Brand: "Xeon 6740E", Architecture: "Xeon", Generation: "6"},
		{Manufacturer: "Ampere", Brand: "Altra", Architecture: "Arm", Generation: "1"},
	}
	total := capacity.Vector{VCPU: 128, RAMGiB: 256, StorageGiB: 4000, Addresses: 62}
	s := market.Server{
		Number: uint32(i + 1), OfferID: fmt.Sprintf("off_%05d", i%40), VCPUPerThread: 1, Open: i%10 != 3, Capacity: total,
		Used:     capacity.Vector{VCPU: int64(i * 7 % 120), RAMGiB: int64(i * 13 % 250), StorageGiB: int64(i * 17 % 3900), Addresses: int64(i % 60)},
		Hardware: capacity.Hardware{CPU: cpus[i*7%4], Memory: capacity.Memory{Type: "DDR", Generation: "5"}, Storage: capacity.Storage{Type: "NVMe"}},
	}
	if i%10 == 4 {
		s.Used = total
	}
	if i%3 > 0 {
		s.Measured = &capacity.Measured{CPUSingle: float64(500 + i%1000), DiskIOPS: float64(1000 + i%9000), Network: float64(5 + i%90)}
	}
	return s
}

const many100k = 100_000

// picky is what a choosy customer wants.
func picky() market.Constraints {
	return market.Constraints{
		Configuration: "cpu-8-ram-16gb-storage-100gb", Countries: []string{"DE", "FR"}, CPU: []capacity.CPU{{Manufacturer: "AMD"}}, MinTier: 3,
		Certifications: []string{"ISO 27001"}, Extra: []market.ExtraStorage{{GiB: 100, Type: "NVMe"}}, MinMeasured: capacity.Measured{CPUSingle: 700},
	}
}

func BenchmarkSearch(b *testing.B) {
	x := synthetic(many100k)
	for name, c := range map[string]market.Constraints{"any": {}, "picky": picky()} {
		b.Run(name+"/first 100", func(b *testing.B) {
			for b.Loop() {
				n := 0
				if err := x.Search(c, func(*market.Match) bool { n++; return n < 100 }); err != nil || n == 0 {
					b.Fatal(n, err)
				}
			}
		})
		b.Run(name+"/all", func(b *testing.B) {
			for b.Loop() {
				n := 0
				if err := x.Search(c, func(*market.Match) bool { n++; return true }); err != nil || n == 0 {
					b.Fatal(n, err)
				}
			}
		})
	}
}

func BenchmarkPlace(b *testing.B) {
	x := synthetic(many100k)
	for name, r := range map[string]market.Request{
		"one": {Instances: 1}, "hundred": {Instances: 100}, "picky": {Instances: 1, Constraints: picky()},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				placed, err := x.Place(r)
				if err != nil {
					b.Fatal(err)
				}
				x.Take(placed)
				x.GiveBack(placed)
			}
		})
	}
}

func BenchmarkExplain(b *testing.B) {
	x := synthetic(many100k)
	least, dear := money.Amount(1), picky()
	dear.MaxPrice = &least
	stored := market.Constraints{Extra: []market.ExtraStorage{{GiB: 1 << 20}}}
	for name, r := range map[string]market.Request{
		"picky": {Instances: 1, Constraints: dear}, "price": {Instances: 1, Constraints: market.Constraints{MaxPrice: &least}},
		"many": {Instances: 10_000_000}, "storage": {Instances: 10_000, Constraints: stored},
		"configuration": {Instances: 100_000, Constraints: market.Constraints{Configuration: "cpu-64-ram-128gb-storage-100gb"}},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				e, err := x.Explain(r)
				if err != nil || e.Matching > 0 {
					b.Fatal(e.Matching, err)
				}
			}
		})
	}
}

func BenchmarkApply(b *testing.B) {
	b.Run("all", func(b *testing.B) {
		for b.Loop() {
			synthetic(many100k)
		}
	})
	x := synthetic(many100k)
	b.Run("a server", func(b *testing.B) {
		for b.Loop() {
			x.Apply(market.Changes{Servers: []market.Server{syntheticServer(7)}})
		}
	})
	b.Run("an offer", func(b *testing.B) {
		for b.Loop() {
			x.Apply(market.Changes{Offers: []market.Offer{syntheticOffer(7)}})
		}
	})
}
