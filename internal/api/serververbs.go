package api

import (
	"net/http"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
)

// serverVerb is an operation on one server that takes no body.
func serverVerb(verb, id, summary, text, conflict string) operation {
	return operation{
		method: http.MethodPost, path: "/v1/providers/{provider}/servers/{server}/" + verb, id: id, tag: "Providers", summary: summary, text: text,
		response: exampleServer, refusals: map[int]string{http.StatusNotFound: noServer, http.StatusConflict: conflict},
	}
}

const wasRemoved = "server nyc-1 was removed; a machine joins again with a new token"

var (
	cordonServer = serverVerb("cordon", "cordonServer", "Keep new VMs off a server", "Those that are there run on.", wasRemoved)

	uncordonServer = serverVerb("uncordon", "uncordonServer", "Open a server for new VMs again",
		"Draining is lifted, and the customers are told. A problem that goes by the provider's word is over: after two machines spoke for one "+
			"server, the next one that reports is it; after the hardware changed, the server is listed as what its next report says.", wasRemoved)

	benchmarkServer = serverVerb("benchmark", "benchmarkServer", "Ask a server to measure itself", "The result comes with a later report.", wasRemoved)
)

func (a *api) cordonServer(c *call, _ none) (Server, error) {
	s, err := a.control.Cordon(c.Context(), c.who, c.PathValue("provider"), c.PathValue("server"))
	return a.serverOf(s), err
}

func (a *api) uncordonServer(c *call, _ none) (Server, error) {
	s, err := a.control.Uncordon(c.Context(), c.who, c.PathValue("provider"), c.PathValue("server"))
	return a.serverOf(s), err
}

func (a *api) benchmarkServer(c *call, _ none) (Server, error) {
	s, err := a.control.Benchmark(c.Context(), c.who, c.PathValue("provider"), c.PathValue("server"))
	return a.serverOf(s), err
}

var drainServer = operation{
	method: http.MethodPost, path: "/v1/providers/{provider}/servers/{server}/drain", id: "drainServer", tag: "Providers",
	summary: "Drain a server",
	text: "Nothing more is placed on it, and the customers of its VMs are told when those end. VMs that are left then are ended like by " +
		"`terminate`, and the server stays cordoned. Draining it again changes the time; `uncordon` lifts it.",
	request:  `{"deadline": "72h", "reason": "the rack moves"}`,
	response: exampleServer,
	refusals: map[int]string{
		http.StatusBadRequest:          "deadline has to be a string, not number",
		http.StatusNotFound:            noServer,
		http.StatusConflict:            wasRemoved,
		http.StatusUnprocessableEntity: "a server is drained within 1h to 720h, not 30m0s",
	},
}

type drainRequest struct {
	Deadline string   `json:"deadline,omitempty" doc:"A duration from 1h to 720h, such as 72h." example:"72h"`
	Hours    *integer `json:"deadlineHours,omitempty" minimum:"1" maximum:"720" doc:"The same in hours; one of the two is needed."`
	Reason   string   `json:"reason,omitempty" maxLength:"500" doc:"A sentence that the customers read."`
}

func (a *api) drainServer(c *call, in drainRequest) (Server, error) {
	within, err := in.within()
	if err != nil {
		return Server{}, err
	}
	s, err := a.control.Drain(c.Context(), c.who, c.PathValue("provider"), c.PathValue("server"), within, in.Reason)
	return a.serverOf(s), err
}

func (in drainRequest) within() (time.Duration, error) {
	switch {
	case in.Deadline == "" && in.Hours == nil:
		return 0, fault.New(fault.Invalid, "deadline is missing: say how long customers get, such as 72h")
	case in.Deadline != "" && in.Hours != nil:
		return 0, fault.New(fault.Invalid, "deadline and deadlineHours are the same; give one of them")
	case in.Hours != nil:
		return time.Duration(min(max(*in.Hours, 0), 1_000)) * time.Hour, nil
	}
	d, err := time.ParseDuration(in.Deadline)
	if err != nil {
		return 0, fault.Newf(fault.Invalid, "deadline %q is not a duration such as 72h", clip(in.Deadline))
	}
	return d, nil
}
