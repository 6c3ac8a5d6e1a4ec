package listing

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/money"
)

// maxPrice bounds each price, as the marketplace does.
const maxPrice = 1_000_000 * money.USDC

// checkPrices reads every price off its own characters.
func (d *document) checkPrices() {
	for i, offer := range d.items("offers") {
		_, prices := member(offer, "prices")
		if prices = resolved(prices); prices == nil || prices.Kind != yaml.MappingNode {
			continue
		}
		for k := 0; k+1 < len(prices.Content); k += 2 {
			n := target(prices.Content[k+1])
			if !isWord(n) {
				continue
			}
			path := fmt.Sprintf("offers[%d].prices.%s", i, target(prices.Content[k]).Value)
			amount, err := money.Parse(n.Value)
			switch {
			case err != nil:
				d.fault(n, path, fault.Message(err)+": write digits with at most six behind the point, such as 0.05")
			case amount > maxPrice:
				d.fault(n, path, fmt.Sprintf("a price of %s USDC is more than %s", amount, maxPrice))
			}
		}
	}
}

// place returns the slug of a datacenter, "" when its file does not tell.
func place(n *yaml.Node) string {
	country, _ := text(n, "country")
	city, _ := text(n, "city")
	index, given := text(n, "index")
	if given == nil {
		index = "1"
	}
	if country == "" || city == "" {
		return ""
	}
	return strings.ToLower(country + "-" + city + "-" + index)
}

// checkPlaces finds datacenters declared twice.
func (d *document) checkPlaces() {
	first := map[string]int{}
	for i, n := range d.items("datacenters") {
		slug := place(n)
		if slug == "" {
			continue
		}
		if line, twice := first[slug]; twice {
			d.fault(n, fmt.Sprintf("datacenters[%d]", i), fmt.Sprintf("datacenter %s is declared twice, first in line %d: give one of them another index", slug, line))
			continue
		}
		first[slug] = n.Line
	}
}

// checkOffers finds names given twice and datacenters that are not declared.
func (d *document) checkOffers() {
	var places []string
	for _, n := range d.items("datacenters") {
		if slug := place(n); slug != "" {
			places = append(places, slug)
		}
	}
	first := map[string]int{}
	for i, offer := range d.items("offers") {
		path := fmt.Sprintf("offers[%d].", i)
		if name, n := text(offer, "name"); n != nil {
			if line, twice := first[name]; twice {
				d.fault(n, path+"name", fmt.Sprintf("offer %q is there twice, first in line %d: give one of them another name", name, line))
			} else {
				first[name] = n.Line
			}
		}
		if slug, n := text(offer, "datacenter"); slug != "" && !slices.Contains(places, slug) {
			d.fault(n, path+"datacenter", fmt.Sprintf("no datacenter %q is declared: %s", slug, declared(places)))
		}
	}
}

func declared(places []string) string {
	if len(places) == 0 {
		return "add it under datacenters"
	}
	return "add it under datacenters, or take one of " + strings.Join(places, ", ")
}
