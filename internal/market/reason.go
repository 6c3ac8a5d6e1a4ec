package market

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/cpucloud/cpucloud/internal/capacity"
)

// constraint is one thing that a request asks for, in the order in which they
// are explained.
type constraint int

const (
	byConfiguration constraint = iota
	byCountry
	byProvider
	byExcludedProvider
	byDatacenter
	byExcludedDatacenter
	byTier
	byCertification
	byCPU
	byMemory
	byStorage
	byExtra
	byPrice
	byMeasured
	byApart
	byOpen
	byRoom
	byInstances
	constraints
)

// names are what customers call the constraints.
var names = [constraints]string{
	"basicConfiguration", "datacenter.countries", "providers", "excludeProviders", "datacenters", "excludeDatacenters", "minTier",
	"certifications", "hardware.cpu", "hardware.memory", "hardware.storage", "additionalResources.storage",
	"maxTotalPricePerEpochUsd", "minMeasured", "affinityGroup", "open", "room", "instances",
}

// given reports whether the request asks for it. Every VM needs an open server
// with room.
func (e *explaining) given(c constraint) bool {
	r := e.request
	return [constraints]bool{
		r.Configuration != "", len(r.Countries) > 0, len(r.Providers) > 0, len(r.ExcludeProviders) > 0, len(r.Datacenters) > 0,
		len(r.ExcludeDatacenters) > 0, r.MinTier > 0, len(r.Certifications) > 0, len(r.CPU) > 0, len(r.Memory) > 0, len(r.Storage) > 0,
		len(r.Extra) > 0, r.MaxPrice != nil, r.MinMeasured != capacity.Measured{}, len(r.Avoid) > 0, true, true, r.Instances > 1,
	}[c]
}

// wanted says what the request asks for.
func (e *explaining) wanted(c constraint) string {
	r, price := e.request, ""
	if r.MaxPrice != nil {
		price = r.MaxPrice.String()
	}
	return [constraints]string{
		r.Configuration, strings.Join(r.Countries, ", "), strings.Join(r.Providers, ", "), strings.Join(r.ExcludeProviders, ", "),
		strings.Join(r.Datacenters, ", "), strings.Join(r.ExcludeDatacenters, ", "), strconv.FormatInt(r.MinTier, 10),
		strings.Join(r.Certifications, ", "), words(r.CPU, cpuWords), words(r.Memory, memoryWords), words(r.Storage, storageWords),
		words(r.Extra, extraWords), price, figureWords(&r.MinMeasured), "a server without VMs of the group", "a server that takes new VMs",
		catalogue[e.configuration].Demand(0).String(), strconv.Itoa(r.Instances),
	}[c]
}

func words[T any](list []T, of func(T) pair) string {
	texts := make([]string, len(list))
	for i, item := range list {
		texts[i] = of(item).String()
	}
	return strings.Join(texts, ", ")
}

// pair is a value of an attribute, in one word or two.
type pair [2]string

// String joins the words; a value of none is anything.
func (p pair) String() string {
	if s := strings.TrimSpace(p[0] + " " + p[1]); s != "" {
		return s
	}
	return "any"
}

func cpuWords(c capacity.CPU) pair         { return pair{c.Manufacturer, c.Architecture} }
func memoryWords(m capacity.Memory) pair   { return pair{m.Type, m.Generation} }
func storageWords(s capacity.Storage) pair { return pair{s.Type} }

func extraWords(x ExtraStorage) pair { return pair{fmt.Sprintf("%d GiB", x.GiB), x.Type} }
