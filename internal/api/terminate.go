package api

import (
	"net/http"

	"github.com/cpucloud/cpucloud/internal/money"
)

var terminateVM = operation{
	method: http.MethodPost, path: "/v1/providers/{provider}/vms/{id}/terminate", id: "terminateVM", tag: "Providers",
	summary: "End a customer's VM",
	text: "The customer is told the reason. What is not delivered of the epoch that has begun goes back to the VM's reserve, which its customer " +
		"gets by deleting the VM; the disk is purged. It may be repeated.",
	request:  `{"reason": "it sends spam, see https://nord.example/abuse/17"}`,
	response: `{"id": "` + exampleID + `", "status": "Terminated", "returned": "0.42"}`,
	refusals: map[int]string{
		http.StatusBadRequest:          "reason has to be a string, not number",
		http.StatusNotFound:            `no VM with id "` + exampleID + `"`,
		http.StatusConflict:            "VM " + exampleID + " has ended already: it is Stopped",
		http.StatusUnprocessableEntity: "reason is missing: say why in a sentence, the customer reads it",
	},
}

type terminateRequest struct {
	Reason string `json:"reason" minLength:"1" maxLength:"500" doc:"A sentence that the customer reads."`
}

type terminated struct {
	ID       string       `json:"id"`
	Status   string       `json:"status" enum:"Terminated"`
	Returned money.Amount `json:"returned" doc:"USDC that went back to the VM's reserve." example:"0.42"`
}

func (a *api) terminateVM(c *call, in terminateRequest) (terminated, error) {
	t, err := a.control.TerminateVM(c.Context(), c.who, c.PathValue("provider"), c.PathValue("id"), in.Reason)
	return terminated{ID: t.ID, Status: string(t.State), Returned: t.Returned}, err
}
