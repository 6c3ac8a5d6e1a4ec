package client

import (
	"context"
	"net/url"
	"time"
)

// Used is what a VM used, as its server sees it: a second, on average over a stretch of
// time. Nil is what isn't known.
type Used struct {
	CPU        *float64 `json:"cpu"`            // processors in use
	CPUShare   *float64 `json:"cpuShare"`       // the same as a share of its vCPUs: 1 is all
	Steal      *float64 `json:"steal"`          // processors that it had to wait for
	Memory     *float64 `json:"memoryBytes"`    // of its server's memory, not a second
	ReadBytes  *float64 `json:"diskReadBytes"`  // from its disks
	WriteBytes *float64 `json:"diskWriteBytes"` // to its disks
	Reads      *float64 `json:"diskReads"`      // requests
	Writes     *float64 `json:"diskWrites"`     // requests
	BytesIn    *float64 `json:"netInBytes"`     // received
	BytesOut   *float64 `json:"netOutBytes"`    // sent
	PacketsIn  *float64 `json:"netInPackets"`   // received
	PacketsOut *float64 `json:"netOutPackets"`  // sent
}

// UsedPoint is what a VM used in a stretch of time.
type UsedPoint struct {
	At time.Time `json:"at"` // when it began
	Used
}

// VMMetrics is what a VM used over time: a point for each step, also where nothing is known.
type VMMetrics struct {
	VMID        string      `json:"vmId"`
	VCPU        int         `json:"vcpu"`
	From        time.Time   `json:"from"`
	To          time.Time   `json:"to"`
	StepSeconds int64       `json:"stepSeconds"` // longer than asked for where less is kept
	Points      []UsedPoint `json:"points"`
}

// MetricsOptions says which metrics are asked for; the zero value is the last hour.
type MetricsOptions struct {
	From time.Time     // an hour before To if zero
	To   time.Time     // now if zero
	Step time.Duration // a multiple of 15 s; 0 for one that suits
}

// VMMetrics returns what a VM used. Of the newest minute little may be known yet.
func (c *Client) VMMetrics(ctx context.Context, id string, o MetricsOptions) (VMMetrics, error) {
	query := url.Values{}
	if !o.From.IsZero() {
		query.Set("from", o.From.UTC().Format(time.RFC3339))
	}
	if !o.To.IsZero() {
		query.Set("to", o.To.UTC().Format(time.RFC3339))
	}
	if o.Step != 0 {
		query.Set("step", o.Step.String())
	}
	return get[VMMetrics](ctx, c, "/v1/vms/"+url.PathEscape(id)+"/metrics", query)
}

// LatestUse is what a VM uses now.
type LatestUse struct {
	ID          string     `json:"id"` // of the VM
	Name        string     `json:"vmName"`
	Status      string     `json:"status"`
	VCPU        int        `json:"vcpu"`
	MemoryTotal int64      `json:"memoryTotalBytes"`
	At          *time.Time `json:"at"` // when the minute began; nil when nothing is known of the last three
	Used
}

// LatestMetrics returns what each VM that has not ended used in the newest minute that is
// known, oldest VM first.
func (c *Client) LatestMetrics(ctx context.Context) ([]LatestUse, error) {
	return get[[]LatestUse](ctx, c, "/v1/metrics", nil)
}
