package api

import (
	"net/http"
	"strings"

	"github.com/cpucloud/cpucloud/internal/vm"
)

// selecting is the parameter by which VMs are chosen by their labels.
var selecting = parameter{
	"label", "Only VMs whose labels are so: `env=prod`, `tier!=web`, `owner` (has it), `!temp` (has it not), `zone in (a,b)`, `zone notin (a,b)`, joined by " +
		"commas: all have to hold. A VM without a label has none of its values. It may be repeated.", "env=prod,tier!=web,!temp",
}

// selector reads the parameter label.
func (c *call) selector() (vm.Selector, error) {
	return vm.ParseSelector(strings.Join(c.query["label"], ","))
}

const exampleLabels = `{"labels": {"env": "prod", "tier": "web"}}`

var labelRefusals = map[int]string{
	http.StatusBadRequest:          "labels has to be a string, not number",
	http.StatusNotFound:            `no VM with id "` + exampleID + `"`,
	http.StatusUnprocessableEntity: "at most 32 labels fit a VM, not 33",
}

var setLabels = operation{
	method: http.MethodPut, path: "/v1/vms/{id}/labels", id: "setLabels", tag: "Virtual machines",
	summary: "Set the labels of a VM",
	text: "`labels` is the whole set, at most 32, each a value by its key. They look as those of Kubernetes: keys and values are at most 63 letters, digits and " +
		"inner `-`, `_` and `.`; a value may be empty; before a key there may be a DNS name and `/`. VMs are chosen by them with `label`. It may be repeated.",
	request:  exampleLabels,
	response: exampleLabels,
	refusals: labelRefusals,
}

var changeLabels = operation{
	method: http.MethodPatch, path: "/v1/vms/{id}/labels", id: "changeLabels", tag: "Virtual machines",
	summary:  "Change labels of a VM",
	text:     "Labels with a value are set, those that are null are removed, all others stay. It may be repeated.",
	request:  `{"labels": {"tier": "web", "temp": null}}`,
	response: exampleLabels,
	refusals: labelRefusals,
}

type labelsRequest struct {
	Labels map[string]*string `json:"labels" doc:"The whole set; one that is null is left out." maxProperties:"32"`
}

type labelChanges struct {
	Labels map[string]*string `json:"labels" doc:"New values by key; null removes one."`
}

type labels struct {
	Labels map[string]string `json:"labels" doc:"What its customer tells VMs apart by."`
}

func labelsOf(l vm.Labels) map[string]string {
	if l == nil {
		return map[string]string{}
	}
	return l
}

func (a *api) setLabels(c *call, in labelsRequest) (labels, error) {
	if in.Labels == nil {
		return labels{}, missing("labels")
	}
	set, err := a.control.SetLabels(c.Context(), c.who, c.PathValue("id"), vm.Labels{}.Merge(in.Labels))
	return labels{labelsOf(set)}, err
}

func (a *api) changeLabels(c *call, in labelChanges) (labels, error) {
	if in.Labels == nil {
		return labels{}, missing("labels")
	}
	set, err := a.control.ChangeLabels(c.Context(), c.who, c.PathValue("id"), in.Labels)
	return labels{labelsOf(set)}, err
}
