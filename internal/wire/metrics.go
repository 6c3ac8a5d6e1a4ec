package wire

import (
	"context"
	"net/http"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/usage"
)

// metricsPath is where agents tell what their VMs use.
const metricsPath = "/agent/v1/metrics"

// maxPoints bounds what is told of one VM at once: twice what an agent keeps.
const maxPoints = 480

// Meters is what the handler asks of those who keep what VMs use.
type Meters interface {
	// Meter takes in what VMs of a server used. What it knows already changes nothing;
	// what is told of VMs that aren't the server's is left out. Returns a Conflict
	// fault when the server's clock is wrong.
	Meter(ctx context.Context, serverID string, r usage.Report) error
}

// metrics is what VMs of one server used.
type metrics struct {
	At  time.Time `json:"at"` // by the agent's clock, now
	VMs []metered `json:"vms"`
}

type metered struct {
	ID     string `json:"id"`
	Points []byte `json:"points"` // as usage.Append writes single slots
}

// taken answers metrics. What a later version answers may be added.
type taken struct{}

// Metrics tells what VMs used. Telling it again changes nothing. Errors: a NotFound fault
// of a control plane that knows no metrics; a Conflict fault when the clock of this
// server is wrong; other faults of the control plane; ErrForged; an Unavailable fault
// when it is out of reach.
func (c *Client) Metrics(ctx context.Context, r usage.Report) error {
	ctx, cancel := context.WithTimeout(ctx, transfer)
	defer cancel()
	m := metrics{At: r.At.UTC(), VMs: make([]metered, len(r.VMs))}
	for i, v := range r.VMs {
		m.VMs[i] = metered{ID: v.ID, Points: usage.Append(nil, v.Points, 1)}
	}
	status, body, signed, err := c.line.send(ctx, metricsPath, c.id.Server, c.id.Key, m)
	switch {
	case err != nil:
		return err
	case !signed.by(c.id.Control, c.id.Server, status, body):
		if status == http.StatusNotFound { // one from before there were metrics signs nothing there
			return fault.New(fault.NotFound, "the control plane knows no metrics")
		}
		return ErrForged
	case status != http.StatusOK:
		return refusal(status, body)
	}
	return nil
}

func (h *handler) metrics(r *http.Request, _ http.ResponseWriter, c call) (any, error) {
	if err := h.authenticate(r.Context(), metricsPath, c); err != nil {
		return nil, err
	}
	var m metrics
	if err := decode(c.body, &m); err != nil {
		return nil, err
	}
	report, err := m.report()
	if err != nil {
		return nil, err
	}
	if h.meters == nil {
		return nil, fault.New(fault.NotFound, "no metrics are kept here")
	}
	return taken{}, h.meters.Meter(r.Context(), c.server, report)
}

// report keeps garbage of a broken or hostile agent out of the control plane.
func (m metrics) report() (usage.Report, error) {
	r := usage.Report{At: m.At, VMs: make([]usage.OfVM, 0, min(len(m.VMs), maxVMs))}
	if len(m.VMs) > maxVMs {
		return r, fault.Newf(fault.Invalid, "metrics are told of at most %d VMs", maxVMs)
	}
	seen := make(map[string]bool, len(m.VMs))
	for _, v := range m.VMs {
		if v.ID == "" || len(v.ID) > 64 || seen[v.ID] {
			return r, fault.New(fault.Invalid, "a VM with metrics has no proper id, or is there twice")
		}
		seen[v.ID] = true
		points, width, err := usage.Decode(v.Points, maxPoints)
		if err != nil {
			return r, err
		}
		if width != 1 {
			return r, fault.Newf(fault.Invalid, "metrics are told of slots of %v", usage.Width)
		}
		r.VMs = append(r.VMs, usage.OfVM{ID: v.ID, Points: points})
	}
	return r, nil
}
