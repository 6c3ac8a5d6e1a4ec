package api_test

import (
	"net/http"
	"slices"
	"testing"

	"github.com/cpucloud/cpucloud/internal/vm"
)

type operationAnswer struct {
	ID        string  `json:"id"`
	VMID      string  `json:"vmId"`
	Action    string  `json:"action"`
	Outcome   string  `json:"outcome"`
	StartedAt string  `json:"startedAt"`
	Deadline  string  `json:"deadline"`
	EndedAt   *string `json:"endedAt"`
	Error     *string `json:"error"`
	Step      *string `json:"step"`
	Percent   int64   `json:"percent"`

	Result map[string]string `json:"result"`
}

func TestOperations(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	path := "/v1/vms/" + c.deploy("1")[0]
	c.send("POST", path+"/reboot", "").refused(http.StatusConflict, "wait until it is Active")
	c.report(vm.Ready)
	var story storyAnswer
	c.send("GET", path, "").wants(http.StatusOK, &story)
	if story.Operation != nil || !slices.Equal(story.Allowed, []string{"rename", "setPorts", "label", "reboot", "reset", "shutdown", "resize", "reinstall", "return", "rescue", "snapshot", "restore", "protect", "delete"}) {
		t.Errorf("operation %v, allowed %v", story.Operation, story.Allowed)
	}
	before := c.send("GET", "/vms/v3", "").body

	var begun, again, now operationAnswer
	c.send("POST", path+"/reboot", "", "Idempotency-Key: one").wants(http.StatusAccepted, &begun)
	c.send("POST", path+"/reboot", "", "Idempotency-Key: one").wants(http.StatusAccepted, &again)
	if begun.ID != again.ID || begun.Action != "reboot" || begun.Outcome != "running" || begun.EndedAt != nil || begun.Error != nil {
		t.Errorf("answered %+v, then %+v", begun, again)
	}
	c.send("POST", path+"/reset", "").refused(http.StatusConflict, "another operation goes on: reboot, "+begun.ID)
	c.send("GET", path, "").wants(http.StatusOK, &story)
	if story.Operation == nil || *story.Operation != begun.ID || !slices.Equal(story.Allowed, []string{"rename", "setPorts", "label", "protect", "delete"}) {
		t.Errorf("operation %v, allowed %v", story.Operation, story.Allowed)
	}
	if now := c.send("GET", "/vms/v3", "").body; now != before {
		t.Errorf("the list of VMs was %s, is %s", before, now)
	}
	c.send("GET", "/v1/operations/"+begun.ID+"?wait=0s", "").wants(http.StatusOK, &now)
	if now.Outcome != "running" {
		t.Errorf("outcome %q", now.Outcome)
	}

	c.report(vm.Ready)
	c.send("GET", "/v1/operations/"+begun.ID+"?wait=60s", "").wants(http.StatusOK, &now)
	var all []operationAnswer
	c.send("GET", path+"/operations", "").wants(http.StatusOK, &all)
	if now.Outcome != "succeeded" || now.EndedAt == nil || len(all) != 1 || all[0].ID != begun.ID {
		t.Errorf("in the end %+v of %+v", now, all)
	}
	_, stranger := c.newAccount("Bert", "customer")
	for _, of := range []string{"/v1/operations/" + begun.ID, path + "/operations"} {
		c.sendAs(stranger, "GET", of, "").refused(http.StatusNotFound, "no ")
	}
	c.sendAs(stranger, "POST", path+"/reset", "").refused(http.StatusNotFound, "no VM")
	c.send("GET", "/v1/operations/op_1", "").refused(http.StatusNotFound, "no operation")
	c.send("GET", "/v1/operations/"+begun.ID+"?wait=soon", "").refused(http.StatusUnprocessableEntity, "wait")
}

// DELETE of a protected VM is refused in both of its forms' words, and changes nothing.
func TestProtection(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	id := c.deploy("1")[0]
	c.report(vm.Ready)
	path, deletion := "/v1/vms/"+id, `{"vmIds": ["`+id+`"]}`
	c.send("POST", path+"/protect", "").wants(http.StatusNoContent, nil)
	var story storyAnswer
	c.send("GET", path, "").wants(http.StatusOK, &story)
	if !story.Protected || slices.Contains(story.Allowed, "delete") || slices.Contains(story.Allowed, "protect") || !slices.Contains(story.Allowed, "unprotect") {
		t.Errorf("protected %t, allowed %v", story.Protected, story.Allowed)
	}
	c.send("DELETE", "/vms/v3", deletion).refused(http.StatusConflict, "VM web-1 is protected")
	_, stranger := c.newAccount("Bert", "customer")
	c.sendAs(stranger, "POST", path+"/unprotect", "").refused(http.StatusNotFound, "no VM")
	c.send("POST", path+"/unprotect", "").wants(http.StatusNoContent, nil)
	c.send("DELETE", "/vms/v3", deletion).wants(http.StatusOK, nil)
}
