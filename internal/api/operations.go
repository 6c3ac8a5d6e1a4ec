package api

import (
	"net/http"
	"time"

	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/vm"
)

const (
	exampleOperationID = "op_06h8k2v0q4c1r7f3m5t9d0b2ng"
	exampleOperation   = `{"id": "` + exampleOperationID + `", "vmId": "` + exampleID + `", "action": "reboot", "outcome": "running",
	"startedAt": "2026-01-31T12:00:00Z", "deadline": "2026-01-31T12:15:00Z", "endedAt": null, "error": null,
	"step": "its guest is asked to power itself off", "percent": 0}`
)

// vmVerb is an operation on one VM that takes its time and no body.
func vmVerb(verb, id, summary, text string) operation {
	return operation{
		method: http.MethodPost, path: "/v1/vms/{id}/" + verb, id: id, tag: "Virtual machines", status: http.StatusAccepted, summary: summary,
		text: text + " The answer is an operation that goes on: GET /v1/operations/{id}?wait=60s tells what comes of it. One goes on at a time. " +
			"A request with an `Idempotency-Key` may be sent again: it is answered with what it began.",
		headers:  []parameter{{"Idempotency-Key", "Names the request, for the account: at most 255 characters.", "reboot-after-upgrade"}},
		response: exampleOperation,
		refusals: map[int]string{
			http.StatusNotFound: `no VM with id "` + exampleID + `"`,
			http.StatusConflict: "another operation goes on: reboot, " + exampleOperationID + ", since 12:00:00; wait until it is over",
		},
	}
}

// with returns an operation that takes a body; an example of it is given.
func (op operation) with(body string) operation {
	op.request, op.optional = body, true
	op.refusals[http.StatusUnprocessableEntity] = "image: an http or https URL is needed"
	return op
}

var (
	rebootVM = vmVerb("reboot", "rebootVM", "Reboot a VM",
		"Its guest is asked to power itself off, as by the power button, and is switched off when it has not within a minute; then it starts again. "+
			"Disk, address and price stay, and the epoch goes on.")
	resetVM = vmVerb("reset", "resetVM", "Reset a VM",
		"It starts again at once, as by the reset button: its guest is not asked, and what it had not written to its disk is lost.")
)

var (
	shutdownVM = vmVerb("shutdown", "shutdownVM", "Power a VM off",
		"Its guest is asked to power itself off, as by the power button, and is switched off when it has not within a minute. Disk and address stay. "+
			"From its next epoch on it costs what its storage and address do: see `priceOff` of GET /v1/vms/{id}. The epoch that has begun is not refunded.")
	startVM = vmVerb("start", "startVM", "Start a VM that is powered off",
		"It costs what it did before, from now on: what is left of an epoch that was charged for less is taken off. "+
			"Its vCPUs and memory may be others' by now: 409 says so, and POST /v1/vms/{id}/resize may find it another server.")
	undeleteVM = vmVerb("undelete", "undeleteVM", "Bring a deleted VM back",
		"As long as its disk is kept (GET /v1/vms?deleted=true tells until when), a deleted VM starts again with the disk and the address that it had. Its deposit is reserved anew.")
)

// protection is an operation that sets whether a VM is protected.
func protection(verb, id, summary, text string) operation {
	return operation{
		method: http.MethodPost, path: "/v1/vms/{id}/" + verb, id: id, tag: "Virtual machines", status: http.StatusNoContent,
		summary: summary, text: text + " It may be repeated.",
		refusals: map[int]string{http.StatusNotFound: `no VM with id "` + exampleID + `"`},
	}
}

var (
	protectVM = protection("protect", "protectVM", "Protect a VM from being deleted",
		"DELETE is refused with 409 until it is unprotected. What becomes of a VM that is not paid, or whose provider ends it, stays as it is.")
	unprotectVM = protection("unprotect", "unprotectVM", "Let a VM be deleted again", "It runs on; only DELETE is possible again.")
)

func (a *api) protectVM(c *call, _ none) (none, error) {
	return none{}, a.control.Protect(c.Context(), c.who, c.PathValue("id"), true)
}

func (a *api) unprotectVM(c *call, _ none) (none, error) {
	return none{}, a.control.Protect(c.Context(), c.who, c.PathValue("id"), false)
}

// Operation is something that is done to a VM and takes its time.
type Operation struct {
	ID        string            `json:"id"`
	VMID      string            `json:"vmId" pattern:"^0x[0-9a-fA-F]{40}$"`
	Action    string            `json:"action" enum:"reboot,reset,shutdown,start,resize,reinstall,return,rescue,unrescue,undelete,snapshot,restore"`
	Outcome   string            `json:"outcome" enum:"running,succeeded,failed"`
	StartedAt time.Time         `json:"startedAt"`
	Deadline  time.Time         `json:"deadline" doc:"When it is given up."`
	EndedAt   *time.Time        `json:"endedAt" nullable:"true" doc:"Null while it goes on."`
	Error     *string           `json:"error" nullable:"true" doc:"Why it failed, and what to do; null for one that did not."`
	Step      *string           `json:"step" nullable:"true" doc:"What is done just now, as the VM's server tells it; null when there is nothing to tell."`
	Percent   int64             `json:"percent" minimum:"0" maximum:"100" doc:"How much of it is done, as far as that is known."`
	Result    map[string]string `json:"result,omitempty" doc:"What came of it, by name, where there is something to tell."`
}

func operationOf(o vm.Operation) Operation {
	out := Operation{
		ID: o.ID, VMID: o.VMID, Action: string(o.Action), Outcome: string(o.Outcome()),
		StartedAt: o.Begun.UTC(), Deadline: o.Deadline.UTC(), EndedAt: moment(o.Ended),
		Percent: o.Done, Result: o.Result,
	}
	if o.Error != "" {
		out.Error = &o.Error
	}
	if o.Step != "" {
		out.Step = &o.Step
	}
	return out
}

func (a *api) rebootVM(c *call, _ none) (Operation, error) {
	return a.operate(c, vm.Reboot, control.Restart(false))
}

func (a *api) resetVM(c *call, _ none) (Operation, error) {
	return a.operate(c, vm.Reset, control.Restart(true))
}

func (a *api) shutdownVM(c *call, _ none) (Operation, error) {
	return a.operate(c, vm.Shutdown, control.Shutdown)
}

func (a *api) startVM(c *call, _ none) (Operation, error) {
	return a.operate(c, vm.Start, a.control.Start)
}

func (a *api) undeleteVM(c *call, _ none) (Operation, error) {
	return a.operate(c, vm.Undelete, a.control.Undelete)
}

func (a *api) operate(c *call, action vm.Action, change control.Amendment) (Operation, error) {
	o, err := a.control.Operate(c.Context(), c.who, c.PathValue("id"), action, c.Header.Get("Idempotency-Key"), change)
	return operationOf(o), err
}

var getOperation = operation{
	method: http.MethodGet, path: "/v1/operations/{id}", id: "getOperation", tag: "Virtual machines",
	summary:  "Get an operation",
	text:     "With `wait` the answer comes once it has ended, or that time has passed, whichever is first: read `outcome` to see which.",
	query:    []parameter{{"wait", "How long to wait for its end, at most 120s.", "60s"}},
	response: exampleOperation,
	refusals: map[int]string{
		http.StatusNotFound:            `no operation with id "` + exampleOperationID + `"`,
		http.StatusUnprocessableEntity: `wait "soon" is not a duration within 0s to 120s`,
	},
}

func (a *api) getOperation(c *call, _ none) (Operation, error) {
	wait, err := c.duration("wait", 0, longestWait)
	if err != nil {
		return Operation{}, err
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	o, err := a.control.WaitOperation(c.Context(), c.who, c.PathValue("id"), timer.C)
	return operationOf(o), err
}

var listOperations = operation{
	method: http.MethodGet, path: "/v1/vms/{id}/operations", id: "listOperations", tag: "Virtual machines",
	summary:  "List what was done to a VM",
	text:     "The newest hundred operations, newest first.",
	response: `[` + exampleOperation + `]`,
	refusals: map[int]string{http.StatusNotFound: `no VM with id "` + exampleID + `"`},
}

func (a *api) listOperations(c *call, _ none) ([]Operation, error) {
	list, err := a.control.Operations(c.Context(), c.who, c.PathValue("id"))
	out := make([]Operation, len(list))
	for i, o := range list {
		out[i] = operationOf(o)
	}
	return out, err
}

// lifeRoutes are what customers can do to their VMs that takes its time.
func (a *api) lifeRoutes() {
	handle(a, getVMMetrics, a.getVMMetrics)
	handle(a, latestMetrics, a.latestMetrics)
	handle(a, rebootVM, a.rebootVM)
	handle(a, resetVM, a.resetVM)
	handle(a, shutdownVM, a.shutdownVM)
	handle(a, startVM, a.startVM)
	handle(a, undeleteVM, a.undeleteVM)
	handle(a, resizeVM, a.resizeVM)
	handle(a, deleteVM, a.deleteVM)
	a.diskRoutes()
	handle(a, setPorts, a.setPorts)
	handle(a, confirmPorts, a.confirmPorts)
	handle(a, setLabels, a.setLabels)
	handle(a, changeLabels, a.changeLabels)
	handle(a, protectVM, a.protectVM)
	handle(a, unprotectVM, a.unprotectVM)
	handle(a, getOperation, a.getOperation)
	handle(a, listOperations, a.listOperations)
}
