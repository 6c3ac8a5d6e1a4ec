package market

import (
	"cmp"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
)

// offer is an offer with a name of its own, which the API does not give it.
type offer struct {
	ID string `json:"id"` // all that tells it from others, joined
	client.OfferSummary
}

func identified(offers []client.OfferSummary) []offer {
	list := make([]offer, len(offers))
	for i, o := range offers {
		kind := []string{o.Hardware.CPU.Manufacturer, o.Hardware.CPU.Brand, o.Hardware.CPU.Architecture, o.Hardware.CPU.Generation, memoryOf(o), o.Hardware.Storage.Type}
		parts := []string{PlaceOf(o.Datacenter), o.Configuration.Slug, o.Provider, o.Offer, words(kind...), fmt.Sprint(o.VCPUPerThread)}
		list[i] = offer{strings.ReplaceAll(strings.Join(parts, "/"), " ", "-"), o}
	}
	return list
}

func offerTable(offers []client.OfferSummary, now time.Time) session.Table {
	t := session.Table{Header: []string{
		"configuration", "price/epoch", "free", "datacenter", "tier", "cpu", "memory", "storage", "extra storage", "provider", "measured",
	}}
	for _, o := range offers {
		t.Add(o.Configuration.Slug, o.Configuration.Price, fmt.Sprint(o.Instances), PlaceOf(o.Datacenter), fmt.Sprint(o.Datacenter.Tier),
			words(o.Hardware.CPU.Manufacturer, o.Hardware.CPU.Architecture)+shared(o), memoryOf(o), o.Hardware.Storage.Type, extraOf(o),
			o.Provider, measuredOf(o.Measured, now))
	}
	return t
}

// words joins what is there.
func words(list ...string) string { return strings.Join(strings.Fields(strings.Join(list, " ")), " ") }

func memoryOf(o client.OfferSummary) string {
	return o.Hardware.Memory.Type + o.Hardware.Memory.Generation
} // DDR4

// shared tells how many vCPUs are sold of each hardware thread, if it is more than one.
func shared(o client.OfferSummary) string {
	if o.VCPUPerThread > 1 {
		return fmt.Sprintf(", %d vCPU a thread", o.VCPUPerThread)
	}
	return ""
}

// extraOf says how much storage one VM can have on top, and at what price.
func extraOf(o client.OfferSummary) string {
	if o.MaxExtraStorageGiB < 1 {
		return "-"
	}
	return fmt.Sprintf("≤ %d GiB, %s each", o.MaxExtraStorageGiB, o.Prices.Storage)
}

// measuredOf gives the best score of one thread and how old it may be.
func measuredOf(m *client.MeasuredRange, now time.Time) string {
	if m == nil || m.CPUSingle == nil {
		return "-"
	}
	return fmt.Sprintf("%.0f, %s old", math.Round(m.CPUSingle.Best), age(now.Sub(m.Oldest)))
}

// age gives a time in its largest unit.
func age(d time.Duration) string {
	d = max(d, 0) // clocks differ
	switch {
	case d >= 24*time.Hour:
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	case d >= time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dm", d/time.Minute)
}

// PlaceOf names a datacenter, such as us-nyc-1.
func PlaceOf(d client.Datacenter) string {
	return cmp.Or(d.Slug, strings.ToLower(fmt.Sprintf("%s-%s-%d", d.CountryCode, d.CityCode, d.CityIndex)))
}
