package wire

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// errandPath is where an agent asks for what it needs to store or fetch an object of
// an export.
const (
	errandPath = "/agent/v1/errand"
	md5Size    = 16
	maxExports = 64 // of one VM in work
)

// Exports is what the handler asks of who knows the store of exports.
type Exports interface {
	// RunErrand answers an errand of a server's agent. Returns a NotFound fault for an
	// export that nothing on this server is to be stored as, or made of.
	RunErrand(ctx context.Context, serverID string, e vm.Errand) (vm.Pass, error)
}

// RunErrand implements Exports.
func (nobody) RunErrand(context.Context, string, vm.Errand) (vm.Pass, error) {
	return vm.Pass{}, fault.New(fault.NotFound, "this cloud keeps no exports")
}

func (h *handler) errand(r *http.Request, _ http.ResponseWriter, c call) (any, error) {
	if err := h.authenticate(r.Context(), errandPath, c); err != nil {
		return nil, err
	}
	var e vm.Errand
	if err := decode(c.body, &e); err != nil {
		return nil, err
	}
	if e.Stores() && (len(e.MD5) != md5Size || e.Bytes <= 0) {
		return nil, fault.New(fault.Invalid, "an object that is to be stored has a checksum of 16 bytes, and a size")
	}
	return h.exports.RunErrand(r.Context(), c.server, e)
}

// Errand asks for what is needed to store or fetch an object of an export. Errors are
// faults of the control plane, ErrForged, and an Unavailable fault when it is out of reach.
func (c *Client) Errand(ctx context.Context, e vm.Errand) (p vm.Pass, err error) {
	ctx, cancel := context.WithTimeout(ctx, transfer)
	defer cancel()
	body, err := c.ask(ctx, errandPath, e)
	if err != nil {
		return p, err
	}
	if err := json.Unmarshal(body, &p); err != nil {
		return p, fault.New(fault.Unavailable, "the control plane's answer can't be read") // not with the answer: it has secrets in it
	}
	return p, nil
}

// checkExports bounds what is told of exports.
func checkExports(list []vm.ExportSeen) error {
	if len(list) > maxExports {
		return fault.Newf(fault.Invalid, "a VM has at most %d exports in work", maxExports)
	}
	for _, e := range list {
		if e.ID == "" || len(e.ID) > 64 || e.Through < 0 || len(e.Manifest) > 64 || len(e.Reason) > maxText {
			return fault.New(fault.Invalid, "what is told of an export can't be meant")
		}
	}
	return nil
}
