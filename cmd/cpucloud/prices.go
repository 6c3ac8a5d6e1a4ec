package main

import (
	"fmt"

	"github.com/spf13/pflag"

	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/money"
)

// listing says where the demo provider's server stands and what it costs.
type listing struct {
	datacenter market.Datacenter
	vcpu       string
	ram        string
	storage    string
	address    string
}

// The default price list, in USDC per unit and epoch of 24 h: the smallest
// configuration costs 0.3 USDC a day.
const (
	priceVCPU    = "0.05"
	priceRAM     = "0.02"
	priceStorage = "0.004"
	priceAddress = "0.02"
)

func (l *listing) register(flags *pflag.FlagSet) {
	flags.StringVar(&l.datacenter.Country, "country", "US", "where this machine stands: ISO 3166-1 code of the country")
	flags.StringVar(&l.datacenter.City, "city", "NYC", "where this machine stands: UN/LOCODE of the city")
	flags.Int64Var(&l.datacenter.Index, "datacenter-index", 1, "number of the datacenter within the city")
	flags.Int64Var(&l.datacenter.Tier, "tier", 1, "tier of the datacenter, 1 to 4")
	flags.StringSliceVar(&l.datacenter.Certifications, "certification", nil, "certification of the datacenter (repeatable)")
	flags.StringVar(&l.vcpu, "price-vcpu", priceVCPU, "USDC per vCPU and epoch")
	flags.StringVar(&l.ram, "price-ram", priceRAM, "USDC per GiB of memory and epoch")
	flags.StringVar(&l.storage, "price-storage", priceStorage, "USDC per GiB of disk and epoch")
	flags.StringVar(&l.address, "price-address", priceAddress, "USDC per public address and epoch")
}

func (l *listing) prices() (market.Prices, error) {
	var p market.Prices
	for _, item := range []struct {
		flag string
		text string
		to   *money.Amount
	}{
		{"price-vcpu", l.vcpu, &p.VCPU},
		{"price-ram", l.ram, &p.RAM},
		{"price-storage", l.storage, &p.Storage},
		{"price-address", l.address, &p.Address},
	} {
		amount, err := money.Parse(item.text)
		if err != nil {
			return p, fmt.Errorf("--%s: %w", item.flag, err)
		}
		*item.to = amount
	}
	return p, nil
}
