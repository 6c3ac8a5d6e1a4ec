package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"reflect"
	"slices"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/money"
)

var listOffers = operation{
	method: http.MethodPost, path: "/v1/offers", id: "listOffers", tag: "Marketplace", reads: true, body: reflect.TypeFor[offerPage](),
	summary: "Search offers page by page",
	text: "Like /marketplace/offers, in fewer bytes: alike servers of an offer are one entry, with what was measured on them beside what is declared. " +
		"Sorted by `price` (cheapest first), `free` (most instances first), or a measured figure (best first). `next` is the cursor of the page behind, null on the last.",
	request: `{"basicConfiguration": "cpu-2-ram-4gb-storage-25gb", "datacenter": {"countries": ["US"]}, "minTier": 2, "minMeasured": {"cpuSingle": 800},
		"sort": "price", "limit": 100}`,
	response: `{"offers": [{"configuration": {"slug": "cpu-2-ram-4gb-storage-25gb", "price": "0.84"}, "offer": "epyc", "provider": "Example Hosting",
		"datacenter": ` + exampleDatacenter + `,
		"hardware": {"cpu": {"manufacturer": "AMD", "brand": "EPYC", "architecture": "Zen", "generation": "4"},
			"memory": {"type": "DDR", "generation": "5"}, "storage": {"type": "NVMe"}},
		"vcpuPerThread": 4, "prices": {"vcpu": "0.2", "ram": "0.06", "storage": "0.004", "address": "0.1"},
		"servers": 3, "instances": 36, "maxExtraStorageGib": 700,
		"measured": {"servers": 3, "oldest": "2026-01-31T12:00:00Z", "cpuSingle": {"worst": 990.5, "best": 1012.25}}}], "next": null}`,
	refusals: map[int]string{
		http.StatusBadRequest:          "limit has to be a whole number, not string",
		http.StatusUnprocessableEntity: `sort "colour" is none of price, free, cpuSingle, cpuAll, memory, diskRead, diskWrite, diskIops, diskFsync, network`,
	},
}

type offersRequest struct {
	Wishes
	Sort   string   `json:"sort,omitempty" enum:"price,free,cpuSingle,cpuAll,memory,diskRead,diskWrite,diskIops,diskFsync,network"`
	Limit  *integer `json:"limit,omitempty" minimum:"1" maximum:"1000" doc:"100 unless told."`
	Cursor string   `json:"cursor,omitempty" doc:"next of the page before."`
}

// offerPage, with what it holds, is what the page's writer writes.
type offerPage struct {
	Offers []summary `json:"offers"`
	Next   *string   `json:"next"`
}

type summary struct {
	Configuration configuration  `json:"configuration"`
	Offer         string         `json:"offer" doc:"Name of the provider's offer."`
	Provider      string         `json:"provider"`
	Datacenter    datacenter     `json:"datacenter"`
	Hardware      offeredKind    `json:"hardware"`
	PerThread     int64          `json:"vcpuPerThread" doc:"How often each hardware thread is sold; 1 is not oversold."`
	Prices        offeredPrices  `json:"prices"`
	Servers       int64          `json:"servers" doc:"That have room."`
	Instances     int64          `json:"instances" doc:"VMs of the configuration that fit in all."`
	MaxExtra      int64          `json:"maxExtraStorageGib" doc:"Most storage that one VM can add, on the best server."`
	Measured      *measuredRange `json:"measured" doc:"What benchmarks on the servers found; null where none was measured."`
}

type offeredKind struct {
	CPU struct {
		Manufacturer string `json:"manufacturer"`
		Brand        string `json:"brand"`
		Architecture string `json:"architecture"`
		Generation   string `json:"generation"`
	} `json:"cpu"`
	Memory  memoryName  `json:"memory"`
	Storage storageName `json:"storage"`
}

type offeredPrices struct {
	VCPU    money.Amount `json:"vcpu" doc:"USDC per vCPU and epoch."`
	RAM     money.Amount `json:"ram" doc:"USDC per GiB and epoch."`
	Storage money.Amount `json:"storage" doc:"USDC per GiB and epoch."`
	Address money.Amount `json:"address" doc:"USDC per public IPv4 address and epoch."`
}

type measuredRange struct {
	Servers   int64     `json:"servers" doc:"That were measured."`
	Oldest    time.Time `json:"oldest" doc:"When the first of these benchmarks was made."`
	CPUSingle *span     `json:"cpuSingle,omitempty" doc:"Score of one thread."`
	CPUAll    *span     `json:"cpuAll,omitempty" doc:"Score of all threads."`
	Memory    *span     `json:"memory,omitempty" doc:"MiB/s."`
	DiskRead  *span     `json:"diskRead,omitempty" doc:"MiB/s."`
	DiskWrite *span     `json:"diskWrite,omitempty" doc:"MiB/s."`
	DiskIOPS  *span     `json:"diskIops,omitempty" doc:"Random reads of 4 KiB per second."`
	DiskFsync *span     `json:"diskFsync,omitempty" doc:"Milliseconds until a write is durable."`
	Network   *span     `json:"network,omitempty" doc:"Milliseconds to the control plane and back."`
}

// span is a figure over several servers.
type span struct {
	Worst float64 `json:"worst"`
	Best  float64 `json:"best"`
}

const (
	defaultOffers = 100
	maxOffers     = 1000
)

func (a *api) listOffers(_ *call, in offersRequest) (summaryPage, error) {
	want, err := in.market()
	p := summaryPage{api: a, want: want, by: market.Sort(in.Sort), limit: defaultOffers}
	if err != nil {
		return p, err
	}
	if p.by == "" {
		p.by = market.ByPrice
	}
	if !p.by.Valid() {
		return p, fault.Newf(fault.Invalid, "sort %q is none of price, free, cpuSingle, cpuAll, memory, diskRead, diskWrite, diskIops, diskFsync, network", clip(in.Sort))
	}
	if in.Limit != nil {
		p.limit = int(*in.Limit)
	}
	if p.limit < 1 || p.limit > maxOffers {
		return p, fault.Newf(fault.Invalid, "limit is %d; it has to be within 1 to %d", p.limit, maxOffers)
	}
	if in.Cursor != "" {
		p.behind = new(market.Cursor)
		text, err := base64.RawURLEncoding.DecodeString(in.Cursor)
		if err != nil || len(text) > 4096 || json.Unmarshal(text, p.behind) != nil {
			return p, fault.New(fault.Invalid, "cursor is not one that this API gave")
		}
	}
	return p, nil
}

// summaryPage writes one page of sorted summaries.
type summaryPage struct {
	api    *api
	want   market.Constraints
	by     market.Sort
	behind *market.Cursor // nil for the first page
	limit  int
}

func (l summaryPage) write(_ context.Context, p *page) error {
	p.raw(`{"offers":[`)
	var next *market.Cursor
	var err error
	if l.by == market.ByPrice {
		next, err = l.cheapest(p)
	} else {
		next, err = l.best(p)
	}
	if err != nil {
		return err
	}
	if next == nil {
		p.raw(`],"next":null}`)
		return nil
	}
	text, err := json.Marshal(next)
	p.member(`],"next":`, base64.RawURLEncoding.EncodeToString(text))
	p.raw("}")
	return err
}

// cheapest writes the page while it is searched for, and returns its cursor when
// there is more.
func (l summaryPage) cheapest(p *page) (next *market.Cursor, err error) {
	least := money.Amount(0)
	if l.behind != nil {
		least = l.behind.Price
	}
	written := 0
	var last market.Summary
	search := l.api.control.Summaries(l.want, least, func(s *market.Summary) bool {
		if written == l.limit {
			next = new(last.Cursor(l.by))
			return false
		}
		if l.behind != nil && s.Price == least && s.Cursor(l.by).Compare(*l.behind) <= 0 {
			return true
		}
		if written > 0 {
			p.raw(",")
		}
		p.summary(s)
		last = *s
		written++
		err = p.turn()
		return err == nil
	})
	return next, firstError(search, err)
}

// best writes the best of all that match.
func (l summaryPage) best(p *page) (next *market.Cursor, err error) {
	type ranked struct {
		market.Cursor
		summary market.Summary
	}
	var top []ranked
	compare := func(a, b ranked) int { return a.Compare(b.Cursor) }
	more := false
	trim := func() {
		slices.SortFunc(top, compare)
		if len(top) > l.limit {
			top, more = top[:l.limit], true
		}
	}
	err = l.api.control.Summaries(l.want, 0, func(s *market.Summary) bool {
		place := s.Cursor(l.by)
		if l.behind == nil || place.Compare(*l.behind) > 0 {
			top = append(top, ranked{place, *s})
		}
		if len(top) >= 4*l.limit {
			trim()
		}
		return true
	})
	trim()
	for i := range top {
		if i > 0 {
			p.raw(",")
		}
		p.summary(&top[i].summary)
	}
	if more {
		next = &top[len(top)-1].Cursor
	}
	return next, err
}

// summary writes the JSON of summary.
func (p *page) summary(s *market.Summary) {
	hw, prices := s.Hardware, &s.Offer.Prices
	p.member(`{"configuration":{"slug":`, s.Configuration.Slug())
	p.amount(`,"price":`, s.Price)
	p.member(`},"offer":`, s.Offer.Name)
	p.member(`,"provider":`, s.Offer.Provider)
	p.raw(`,"datacenter":`)
	p.datacenter(&s.Offer.Datacenter)
	p.member(`,"hardware":{"cpu":{"manufacturer":`, hw.CPU.Manufacturer)
	p.member(`,"brand":`, hw.CPU.Brand)
	p.member(`,"architecture":`, hw.CPU.Architecture)
	p.member(`,"generation":`, hw.CPU.Generation)
	p.member(`},"memory":{"type":`, hw.Memory.Type)
	p.member(`,"generation":`, hw.Memory.Generation)
	p.member(`},"storage":{"type":`, hw.Storage.Type)
	p.number(`}},"vcpuPerThread":`, max(1, s.VCPUPerThread))
	p.amount(`,"prices":{"vcpu":`, prices.VCPU)
	p.amount(`,"ram":`, prices.RAM)
	p.amount(`,"storage":`, prices.Storage)
	p.amount(`,"address":`, prices.Address)
	p.number(`},"servers":`, s.Servers)
	p.number(`,"instances":`, s.Instances)
	p.number(`,"maxExtraStorageGib":`, s.MaxExtraGiB)
	p.raw(`,"measured":`)
	p.measured(s)
	p.raw("}")
}

func (p *page) measured(s *market.Summary) {
	if s.Measured == 0 {
		p.raw("null")
		return
	}
	p.number(`{"servers":`, s.Measured)
	p.member(`,"oldest":`, s.Oldest.UTC().Format(time.RFC3339))
	for k, name := range market.FigureNames {
		if s.Best[k] > 0 {
			p.member(",", name)
			p.float(`:{"worst":`, s.Worst[k])
			p.float(`,"best":`, s.Best[k])
			p.raw("}")
		}
	}
	p.raw("}")
}
