package api

import (
	"net/http"

	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
)

var removeServer = operation{
	method: http.MethodPost, path: "/v1/providers/{provider}/servers/{server}/remove", id: "removeServer", tag: "Providers",
	summary: "Remove a server from the marketplace",
	text: "For good, and only once nothing is there: drain it first. The machine may join again with a new token. With `lost`, a server that is " +
		"unreachable and will not come back is removed with all that is there: its VMs are ended like by `terminate`, and their disks are lost.",
	request:  `{"lost": true, "reason": "it burnt down"}`,
	optional: true,
	response: exampleServer,
	refusals: map[int]string{
		http.StatusBadRequest:          "lost has to be true or false, not string",
		http.StatusNotFound:            noServer,
		http.StatusConflict:            "VMs are on server nyc-1: 2; drain it, and remove it once its agent has purged them",
		http.StatusUnprocessableEntity: "reason is for a server that is lost; say lost too, or leave it out",
	},
}

type removeRequest struct {
	Lost   bool   `json:"lost,omitempty" doc:"The machine is gone for good; refused while its agent is heard."`
	Reason string `json:"reason,omitempty" maxLength:"500" doc:"A sentence that the customers of its VMs read; only with lost."`
}

func (a *api) removeServer(c *call, in removeRequest) (Server, error) {
	var s control.Server
	var err error
	switch provider, server := c.PathValue("provider"), c.PathValue("server"); {
	case in.Lost:
		s, err = a.control.RemoveLost(c.Context(), c.who, provider, server, in.Reason)
	case in.Reason != "":
		err = fault.New(fault.Invalid, "reason is for a server that is lost; say lost too, or leave it out")
	default:
		s, err = a.control.Remove(c.Context(), c.who, provider, server)
	}
	return a.serverOf(s), err
}
