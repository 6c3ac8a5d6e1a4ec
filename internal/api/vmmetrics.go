package api

import (
	"math"
	"net/http"
	"time"

	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/usage"
)

const exampleUse = `"cpu": 0.734, "cpuShare": 0.367, "steal": 0.012, "memoryBytes": 1610612736,
	"diskReadBytes": 0, "diskWriteBytes": 40960, "diskReads": 0, "diskWrites": 6.5,
	"netInBytes": 1820.4, "netOutBytes": 25310, "netInPackets": 12.1, "netOutPackets": 19.8`

const noUse = `"cpu": null, "cpuShare": null, "steal": null, "memoryBytes": null,
	"diskReadBytes": null, "diskWriteBytes": null, "diskReads": null, "diskWrites": null,
	"netInBytes": null, "netOutBytes": null, "netInPackets": null, "netOutPackets": null`

var getVMMetrics = operation{
	method: http.MethodGet, path: "/v1/vms/{id}/metrics", id: "getVMMetrics", tag: "Virtual machines",
	summary: "Get what a VM used over time",
	text: "As its server sees it: processor, memory, disks and network, a point for each `step`. What isn't known is null and not 0: " +
		"the VM did not run, or nothing was heard of its server. All but memory is per second, on average over what is known of the step. " +
		"Points of 15 seconds are kept for two hours at least, of a minute for a day, of ten minutes for 14 days: the step is longer than asked for " +
		"where less is kept, see `stepSeconds`. The newest point comes about a minute late.",
	query: []parameter{
		{"from", "When the first point begins (RFC 3339); an hour before `to` unless told.", "2026-01-31T12:00:00Z"},
		{"to", "When the last point ends (RFC 3339); now unless told.", "2026-01-31T13:00:00Z"},
		{"step", "How long a point is, a multiple of 15s; unless told, one by which there are about 240 at most. 1500 are told at most.", "1m"},
	},
	response: `{"vmId": "` + exampleID + `", "vcpu": 2, "from": "2026-01-31T12:00:00Z", "to": "2026-01-31T12:02:00Z", "stepSeconds": 60,
		"points": [{"at": "2026-01-31T12:00:00Z", ` + exampleUse + `}, {"at": "2026-01-31T12:01:00Z", ` + noUse + `}]}`,
	refusals: map[int]string{
		http.StatusNotFound:            `no VM with id "` + exampleID + `"`,
		http.StatusUnprocessableEntity: "these are 5760 points, at most 1500 are told at once: ask for a longer step, or less time",
	},
}

// VMMetrics is what a VM used over time.
type VMMetrics struct {
	VMID   string      `json:"vmId"`
	VCPU   int64       `json:"vcpu" doc:"How many virtual processors it has now."`
	From   time.Time   `json:"from"`
	To     time.Time   `json:"to"`
	Step   int64       `json:"stepSeconds" doc:"From point to point."`
	Points []UsedPoint `json:"points"`
}

// UsedPoint is what a VM used in a stretch of time.
type UsedPoint struct {
	At time.Time `json:"at" doc:"When it began."`
	Used
}

// Used is what a VM used per second; it is embedded by this name, for the document to
// show its members.
type Used struct {
	CPU        *float64 `json:"cpu" nullable:"true" doc:"Processors in use: 1.5 is one and a half, with what emulates the VM's devices."`
	CPUShare   *float64 `json:"cpuShare" nullable:"true" doc:"The same as a share of the VM's vCPUs: 1 is all of them."`
	Steal      *float64 `json:"steal" nullable:"true" doc:"Processors that it would have used beside, had it not had to wait for them."`
	Memory     *float64 `json:"memoryBytes" nullable:"true" doc:"Bytes of its server's memory that it holds: all that its guest has touched since it started."`
	ReadBytes  *float64 `json:"diskReadBytes" nullable:"true" doc:"Bytes read from its disks, a second."`
	WriteBytes *float64 `json:"diskWriteBytes" nullable:"true" doc:"Bytes written to its disks, a second."`
	Reads      *float64 `json:"diskReads" nullable:"true" doc:"Requests to read, a second."`
	Writes     *float64 `json:"diskWrites" nullable:"true" doc:"Requests to write, a second."`
	BytesIn    *float64 `json:"netInBytes" nullable:"true" doc:"Bytes received, a second."`
	BytesOut   *float64 `json:"netOutBytes" nullable:"true" doc:"Bytes sent, a second."`
	PacketsIn  *float64 `json:"netInPackets" nullable:"true" doc:"Packets received, a second."`
	PacketsOut *float64 `json:"netOutPackets" nullable:"true" doc:"Packets sent, a second."`
}

// usedOf returns p per second, of a VM with so many vCPUs.
func usedOf(p usage.Point, vcpu int64) Used {
	per := func(f usage.Figure, unit float64) *float64 {
		mean, ok := p.Mean(f)
		if !ok {
			return nil
		}
		mean = math.Round(mean*unit*1000) / 1000
		return &mean
	}
	const second = 1 / float64(usage.Width/time.Second)
	const fromMS, kib = second / 1000, 1024
	return Used{
		CPU: per(usage.CPU, fromMS), CPUShare: per(usage.CPU, fromMS/float64(max(vcpu, 1))), Steal: per(usage.Steal, fromMS),
		Memory:    per(usage.Memory, kib),
		ReadBytes: per(usage.ReadBytes, second), WriteBytes: per(usage.WriteBytes, second),
		Reads: per(usage.ReadOps, second), Writes: per(usage.WriteOps, second),
		BytesIn: per(usage.BytesIn, second), BytesOut: per(usage.BytesOut, second),
		PacketsIn: per(usage.PacketsIn, second), PacketsOut: per(usage.PacketsOut, second),
	}
}

func (a *api) getVMMetrics(c *call, _ none) (VMMetrics, error) {
	var w control.MetricsWish
	var err error
	if w.From, err = c.time("from"); err != nil {
		return VMMetrics{}, err
	}
	if w.To, err = c.time("to"); err != nil {
		return VMMetrics{}, err
	}
	if w.Step, err = c.duration("step", 0, 14*24*time.Hour); err != nil {
		return VMMetrics{}, err
	}
	m, err := a.control.Metrics(c.Context(), c.who, c.PathValue("id"), w)
	if err != nil {
		return VMMetrics{}, err
	}
	vcpu := m.VM.Spec.VCPU
	out := VMMetrics{VMID: m.VM.ID, VCPU: vcpu, From: m.From, To: m.To, Step: int64(m.Step / time.Second), Points: []UsedPoint{}}
	for at := m.From; at.Before(m.To); at = at.Add(m.Step) {
		var p usage.Point // knows nothing
		if len(m.Points) > 0 && m.Points[0].At.Time().Equal(at) {
			p, m.Points = m.Points[0], m.Points[1:]
		}
		out.Points = append(out.Points, UsedPoint{at, usedOf(p, vcpu)})
	}
	return out, nil
}

var latestMetrics = operation{
	method: http.MethodGet, path: "/v1/metrics", id: "getLatestMetrics", tag: "Virtual machines",
	summary: "Get what all VMs use now",
	text: "The newest minute that is known of each VM that has not ended, oldest VM first. `at` is null for one of which nothing was heard in the last " +
		"three minutes, as when it doesn't run, and so are its figures.",
	response: `[{"id": "` + exampleID + `", "vmName": "web-1", "status": "Active", "vcpu": 2, "memoryTotalBytes": 4294967296, "at": "2026-01-31T12:00:00Z", ` + exampleUse + `}]`,
}

// LatestUse is what one VM uses now.
type LatestUse struct {
	ID          string     `json:"id"`
	Name        string     `json:"vmName"`
	Status      string     `json:"status" enum:"New,Launching,Active,SmallBalance,InsufficientFunds,Terminated,Stopped,Failed"`
	VCPU        int64      `json:"vcpu"`
	MemoryTotal int64      `json:"memoryTotalBytes" doc:"Bytes of memory that it has."`
	At          *time.Time `json:"at" nullable:"true" doc:"When the minute began; null when nothing is known."`
	Used
}

func (a *api) latestMetrics(c *call, _ none) ([]LatestUse, error) {
	list, err := a.control.LatestMetrics(c.Context(), c.who)
	if err != nil {
		return nil, err
	}
	out := make([]LatestUse, len(list))
	for i, l := range list {
		spec := l.VM.Spec
		out[i] = LatestUse{ID: l.VM.ID, Name: l.VM.Name, Status: string(l.VM.State), VCPU: spec.VCPU, MemoryTotal: spec.RAMGiB << 30}
		if l.Point != nil {
			out[i].At = moment(l.Point.At.Time())
			out[i].Used = usedOf(*l.Point, spec.VCPU)
		}
	}
	return out, nil
}
