package api

import (
	"net/http"
	"strings"
	"time"

	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/vm"
)

const examplePorts = `{"openPorts": [{"port": 22, "protocol": "tcp"}, {"port": 443, "protocol": "tcp"}],
	"opens": [{"port": 443, "protocol": "tcp"}], "closes": [{"port": 80, "protocol": "tcp"}], "etag": "3f1c9a0be2d47788", "revertsAt": "2026-01-31T12:01:00Z"}`

var setPorts = operation{
	method: http.MethodPut, path: "/v1/vms/{id}/ports", id: "setPorts", tag: "Virtual machines",
	summary: "Change the open ports of a VM, safely",
	text: "`openPorts` is the whole set. The answer says what opens and what closes; with `dryRun` before anything does. With `confirmWithin` the ports are " +
		"changed back after that time, unless POST /v1/vms/{id}/ports/confirm comes before: a change that locks you out undoes itself. " +
		"With `If-Match` and the `etag` of an earlier answer nothing is changed when others did so meanwhile.",
	headers:  []parameter{{"If-Match", "The `portsEtag` of the VM, or the `etag` of the last change, that the change is made for.", `"3f1c9a0be2d47788"`}},
	request:  `{"openPorts": [{"port": 22, "protocol": "tcp"}, {"port": 443, "protocol": "tcp"}], "confirmWithin": "60s", "cutConnections": false}`,
	response: examplePorts,
	refusals: map[int]string{
		http.StatusBadRequest:          "openPorts.port has to be a whole number, not string",
		http.StatusNotFound:            `no VM with id "` + exampleID + `"`,
		http.StatusConflict:            "the ports have changed: 22/tcp are open now; look at them and try again",
		http.StatusUnprocessableEntity: "openPorts: port 10250 is reserved",
	},
}

type portsRequest struct {
	Ports   []openPort `json:"openPorts" maxItems:"51" doc:"The whole set."`
	Confirm string     `json:"confirmWithin,omitempty" doc:"Change back after so long, 10s to 24h, unless confirmed." example:"60s"`
	Cut     bool       `json:"cutConnections,omitempty" doc:"End the connections through ports that are closed, too; they go on otherwise."`
}

// Ports are the open ports of a VM, and what changed.
type Ports struct {
	Ports     []openPort `json:"openPorts"`
	Opens     []openPort `json:"opens"`
	Closes    []openPort `json:"closes"`
	Tag       string     `json:"etag" doc:"Names the set, for If-Match."`
	RevertsAt *time.Time `json:"revertsAt" nullable:"true" doc:"When it is changed back, unless it is confirmed before; null for never."`
}

func portsAnswer(p control.PortsChanged) Ports {
	return Ports{openPorts(p.Ports), openPorts(p.Opens), openPorts(p.Closes), p.Tag, moment(p.ConfirmedUntil)}
}

func openPorts(ports []vm.Port) []openPort {
	out := make([]openPort, len(ports))
	for i, p := range ports {
		out[i] = openPort{Port: integer(p.Number), Protocol: string(p.Protocol)}
	}
	return out
}

func (a *api) setPorts(c *call, in portsRequest) (Ports, error) {
	if in.Ports == nil {
		return Ports{}, missing("openPorts")
	}
	ports, err := portsOf(in.Ports)
	if err != nil {
		return Ports{}, err
	}
	change := control.PortChange{Ports: ports, Cut: in.Cut, IfMatch: strings.Trim(c.Header.Get("If-Match"), `"`)}
	if in.Confirm != "" {
		if change.Confirm, err = time.ParseDuration(in.Confirm); err != nil || change.Confirm == 0 {
			return Ports{}, fault.Newf(fault.Invalid, "confirmWithin %q is not a duration such as 60s", clip(in.Confirm))
		}
	}
	changed, err := a.control.SetPorts(c.Context(), c.who, c.PathValue("id"), change)
	return portsAnswer(changed), err
}

var confirmPorts = operation{
	method: http.MethodPost, path: "/v1/vms/{id}/ports/confirm", id: "confirmPorts", tag: "Virtual machines",
	summary: "Keep the open ports of a VM",
	text: "A change that waits to be confirmed is for good. It may be repeated; where nothing waits, nothing happens: read `openPorts` to see whether it came " +
		"in time.",
	response: `{"openPorts": [{"port": 22, "protocol": "tcp"}], "opens": [], "closes": [], "etag": "3f1c9a0be2d47788", "revertsAt": null}`,
	refusals: map[int]string{http.StatusNotFound: `no VM with id "` + exampleID + `"`},
}

func (a *api) confirmPorts(c *call, _ none) (Ports, error) {
	kept, err := a.control.ConfirmPorts(c.Context(), c.who, c.PathValue("id"))
	return portsAnswer(kept), err
}
