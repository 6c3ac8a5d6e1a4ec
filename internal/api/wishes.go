package api

import (
	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/market"
)

type (
	// Constraints is embedded by this name, for the document to show its members.
	Constraints = constraints
	// Wishes is embedded by this name.
	Wishes = wishes
	// Estimate is embedded by this name.
	Estimate = estimate
	// Preferences is embedded by this name.
	Preferences = preferences
)

// wishes are constraints with all that can be asked for besides what the first
// clients knew.
type wishes struct {
	Constraints
	Providers          []string      `json:"providers,omitempty" doc:"Names or ids; any of them will do."`
	ExcludeProviders   []string      `json:"excludeProviders,omitempty" doc:"Names or ids; none of them will do."`
	Datacenters        []string      `json:"datacenters,omitempty" doc:"Slugs or ids; any of them will do." example:"[\"us-nyc-1\"]"`
	ExcludeDatacenters []string      `json:"excludeDatacenters,omitempty" doc:"Slugs or ids; none of them will do."`
	MinTier            integer       `json:"minTier,omitempty" minimum:"1" maximum:"4" doc:"Least tier of the datacenter."`
	Certifications     []string      `json:"certifications,omitempty" doc:"That the datacenter must all have." example:"[\"ISO 27001\"]"`
	MinMeasured        measuredLimit `json:"minMeasured,omitzero" doc:"What a server must have been measured at; one that was never measured does not match."`
}

// measuredLimit asks for figures of a benchmark.
type measuredLimit struct {
	CPUSingle float64 `json:"cpuSingle,omitempty" minimum:"0" doc:"Score of one thread, at least."`
	CPUAll    float64 `json:"cpuAll,omitempty" minimum:"0" doc:"Score of all threads, at least."`
	Memory    float64 `json:"memory,omitempty" minimum:"0" doc:"MiB/s, at least."`
	DiskRead  float64 `json:"diskRead,omitempty" minimum:"0" doc:"MiB/s, at least."`
	DiskWrite float64 `json:"diskWrite,omitempty" minimum:"0" doc:"MiB/s, at least."`
	DiskIOPS  float64 `json:"diskIops,omitempty" minimum:"0" doc:"Random reads of 4 KiB per second, at least."`
	DiskFsync float64 `json:"diskFsync,omitempty" minimum:"0" doc:"Milliseconds until a write is durable, at most."`
	Network   float64 `json:"network,omitempty" minimum:"0" doc:"Milliseconds to the control plane and back, at most."`
}

// market returns the wishes in the words of the marketplace, or an Invalid
// fault.
func (w wishes) market() (market.Constraints, error) {
	want, err := w.Constraints.market()
	if err != nil {
		return want, err
	}
	for _, list := range []struct {
		member string
		names  []string
	}{
		{"providers", w.Providers},
		{"excludeProviders", w.ExcludeProviders},
		{"datacenters", w.Datacenters},
		{"excludeDatacenters", w.ExcludeDatacenters},
		{"certifications", w.Certifications},
	} {
		if err := atMost(list.member, list.names, maxAlternatives); err != nil {
			return want, err
		}
	}
	want.Where = market.Where{
		Providers: w.Providers, ExcludeProviders: w.ExcludeProviders, Datacenters: w.Datacenters, ExcludeDatacenters: w.ExcludeDatacenters,
	}
	want.MinTier, want.Certifications = int64(w.MinTier), w.Certifications
	m := w.MinMeasured
	want.MinMeasured = capacity.Measured{
		CPUSingle: m.CPUSingle, CPUAll: m.CPUAll, Memory: m.Memory, DiskRead: m.DiskRead, DiskWrite: m.DiskWrite,
		DiskIOPS: m.DiskIOPS, DiskFsync: m.DiskFsync, Network: m.Network,
	}
	return want, want.Check()
}

// preferences say which of the servers that fit to take.
type preferences struct {
	Strategy      string `json:"strategy,omitempty" enum:"spread,pack" doc:"Among servers of one price: the one with the fewest of the account's VMs, or with the most. Unless told, the one that is left with least; several VMs go to different ones."`
	AffinityGroup string `json:"antiAffinityGroup,omitempty" pattern:"^[A-Za-z0-9-]*$" doc:"VMs of one group never share a server." example:"db"`
}
