package client

import (
	"context"
	"iter"
	"net/http"
	"time"
)

// Wishes are Constraints with all that can be asked for where there are pages,
// explanations, quotes and preferences.
type Wishes struct {
	Constraints
	Providers          []string    `json:"providers,omitempty"`          // names or ids, any of them
	ExcludeProviders   []string    `json:"excludeProviders,omitempty"`   // names or ids, none of them
	Datacenters        []string    `json:"datacenters,omitempty"`        // slugs or ids, any of them
	ExcludeDatacenters []string    `json:"excludeDatacenters,omitempty"` // slugs or ids, none of them
	MinTier            int         `json:"minTier,omitempty"`            // 1 to 4
	Certifications     []string    `json:"certifications,omitempty"`     // that the datacenter must all have
	MinMeasured        MinMeasured `json:"minMeasured,omitzero"`
}

// MinMeasured is what a server must have been measured at; zero asks for
// nothing. One that was never measured has none of the figures.
type MinMeasured struct {
	CPUSingle float64 `json:"cpuSingle,omitempty"` // score of one thread, at least
	CPUAll    float64 `json:"cpuAll,omitempty"`    // score of all threads at once, at least
	Memory    float64 `json:"memory,omitempty"`    // MiB/s, at least
	DiskRead  float64 `json:"diskRead,omitempty"`  // MiB/s, at least
	DiskWrite float64 `json:"diskWrite,omitempty"` // MiB/s, at least
	DiskIOPS  float64 `json:"diskIops,omitempty"`  // random reads of 4 KiB per second, at least
	DiskFsync float64 `json:"diskFsync,omitempty"` // milliseconds until a write is durable, at most
	Network   float64 `json:"network,omitempty"`   // milliseconds to the control plane and back, at most
}

// The orders of a search, besides the names of figures such as "cpuSingle", of
// which the best server counts.
const (
	SortPrice = "price" // cheapest first
	SortFree  = "free"  // most instances first
)

// OfferQuery asks for one page of offers.
type OfferQuery struct {
	Wishes
	Sort   string `json:"sort,omitempty"`   // SortPrice unless told
	Limit  int    `json:"limit,omitempty"`  // offers on the page, 1 to 1000; 100 unless told
	Cursor string `json:"cursor,omitempty"` // next of the page before
}

// OfferSummary is one configuration on the alike servers of an offer.
type OfferSummary struct {
	Configuration      Configuration  `json:"configuration"`
	Offer              string         `json:"offer"` // the provider's name for it
	Provider           string         `json:"provider"`
	Datacenter         Datacenter     `json:"datacenter"`
	Hardware           ServerHardware `json:"hardware"`
	VCPUPerThread      int64          `json:"vcpuPerThread"`      // how often each hardware thread is sold
	Prices             UnitPrices     `json:"prices"`             // USDC per epoch of a vCPU, a GiB or an address
	Servers            int64          `json:"servers"`            // with room
	Instances          int64          `json:"instances"`          // VMs of the configuration that fit in all
	MaxExtraStorageGiB int64          `json:"maxExtraStorageGib"` // that one VM can add, on the best server
	Measured           *MeasuredRange `json:"measured"`           // nil where no server was measured
}

// MeasuredRange is what benchmarks found on several servers, in the units of
// [Measured]. A figure that was never taken is nil.
type MeasuredRange struct {
	Servers   int64     `json:"servers"` // that were measured
	Oldest    time.Time `json:"oldest"`  // when the first of the benchmarks was made
	CPUSingle *Span     `json:"cpuSingle,omitempty"`
	CPUAll    *Span     `json:"cpuAll,omitempty"`
	Memory    *Span     `json:"memory,omitempty"`
	DiskRead  *Span     `json:"diskRead,omitempty"`
	DiskWrite *Span     `json:"diskWrite,omitempty"`
	DiskIOPS  *Span     `json:"diskIops,omitempty"`
	DiskFsync *Span     `json:"diskFsync,omitempty"`
	Network   *Span     `json:"network,omitempty"`
}

// Span is a figure over several servers. Of milliseconds, the best is the least.
type Span struct {
	Worst float64 `json:"worst"`
	Best  float64 `json:"best"`
}

// OffersPage returns one page of what fits, and the cursor of the page behind
// it, "" on the last.
func (c *Client) OffersPage(ctx context.Context, q OfferQuery) (offers []OfferSummary, next string, err error) {
	var answer struct {
		Offers []OfferSummary `json:"offers"`
		Next   *string        `json:"next"`
	}
	err = c.do(ctx, call{method: http.MethodPost, path: "/v1/offers", body: q, answer: &answer, safe: true, reads: true})
	if answer.Next != nil {
		next = *answer.Next
	}
	return answer.Offers, next, err
}

// EachOffer goes through all pages from q's on; q.Limit is the size of each. The
// market moves meanwhile: an offer may be passed over or come twice. It ends
// with the first error.
func (c *Client) EachOffer(ctx context.Context, q OfferQuery) iter.Seq2[OfferSummary, error] {
	return func(yield func(OfferSummary, error) bool) {
		for {
			offers, next, err := c.OffersPage(ctx, q)
			if err != nil {
				yield(OfferSummary{}, err)
				return
			}
			for i := range offers {
				if !yield(offers[i], nil) {
					return
				}
			}
			if next == "" || len(offers) == 0 {
				return
			}
			q.Cursor = next
		}
	}
}

// Explanation says why a deployment can't be made, and what would have to change.
type Explanation struct {
	Servers     int          `json:"servers"`     // that there are
	Matching    int          `json:"matching"`    // that meet everything; 0 when the deployment can't be made
	Reasons     []Reason     `json:"reasons"`     // Matching and all InOrder add up to Servers
	Relaxations []Relaxation `json:"relaxations"` // each is enough alone; cheapest first
}

// Reason says how many servers a constraint rules out.
type Reason struct {
	Constraint string `json:"constraint"` // such as datacenter.countries
	Wanted     string `json:"wanted"`
	Alone      int    `json:"alone"`   // servers that it rules out by itself
	InOrder    int    `json:"inOrder"` // servers that it rules out of those left by the ones before
}

// Relaxation is the smallest change of one constraint that is enough.
type Relaxation struct {
	Constraint    string `json:"constraint"`
	Change        string `json:"change"` // a sentence
	Price         Amount `json:"price"`  // USDC per epoch of the cheapest VM then
	Configuration string `json:"configuration"`
	Instances     int    `json:"instances"`
}

// Explain says which servers each constraint rules out, and which changes would
// make a deployment of w possible. What it is deployed as does not matter.
func (c *Client) Explain(ctx context.Context, w Placing) (Explanation, error) {
	var e Explanation
	err := c.do(ctx, call{method: http.MethodPost, path: "/v1/offers/explain", body: w, answer: &e, safe: true, reads: true})
	return e, err
}
