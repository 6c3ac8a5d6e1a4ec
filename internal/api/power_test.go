package api_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/cpucloud/cpucloud/internal/vm"
)

// What it costs to be powered off is told before, and from when on; the published API
// shows the VM as it did.
func TestPowerOff(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	path := "/v1/vms/" + c.deploy("1")[0]
	c.report(vm.Ready)
	before := c.send("GET", "/vms/v3", "").body
	var story storyAnswer
	c.send("GET", path, "").wants(http.StatusOK, &story)
	if story.Power != "on" || story.PriceOff == "" || story.PriceOff == story.PricePerEpoch || story.Next != nil {
		t.Errorf("while it runs: %+v", story)
	}
	off := story.PriceOff
	c.send("POST", path+"/start", "").refused(http.StatusConflict, "not powered off")
	c.send("POST", path+"/shutdown", "").wants(http.StatusAccepted, nil)
	c.report(vm.Halted)
	c.send("GET", path, "").wants(http.StatusOK, &story)
	if story.Power != "off" || story.Next == nil || *story.Next != off || story.Status != "Active" {
		t.Errorf("while it is off: %+v", story)
	}
	if now := c.send("GET", "/vms/v3", "").body; now != before {
		t.Errorf("the list of VMs was %s, is %s", before, now)
	}
	c.send("POST", path+"/reboot", "").refused(http.StatusConflict, "start it")
	c.send("POST", path+"/start", "").wants(http.StatusAccepted, nil)
}

// Another size has to be agreed to where it costs more, and says what it would cost.
func TestResizing(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	path := "/v1/vms/" + c.deploy("1")[0] + "/resize"
	c.report(vm.Ready)
	c.send("POST", path, `{"storage": 30}`).refused(http.StatusUnprocessableEntity, "agree to it by maxPricePerEpoch")
	c.send("POST", path, `{"storage": 5}`).refused(http.StatusUnprocessableEntity, "disks only grow")
	c.send("POST", path, `{"configuration": "huge"}`).refused(http.StatusUnprocessableEntity, `called "huge"`)
	c.send("POST", path, `{}`).refused(http.StatusConflict, "this size already")
	var begun operationAnswer
	c.send("POST", path, `{"storage": 30, "maxPricePerEpoch": "100"}`).wants(http.StatusAccepted, &begun)
	if begun.Action != "resize" {
		t.Errorf("began %+v", begun)
	}
	c.report(vm.Ready)
	c.send("GET", "/v1/operations/"+begun.ID, "").wants(http.StatusOK, &begun)
	if begun.Outcome != "succeeded" || begun.Percent != 100 {
		t.Errorf("came to %+v", begun)
	}
}

// A deleted VM says until when it can be had back.
func TestDeletionAndBack(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	id := c.deploy("1")[0]
	path := "/v1/vms/" + id
	c.report(vm.Ready)
	var gone struct {
		ID   string  `json:"id"`
		Kept *string `json:"keptUntil"`
	}
	c.send("DELETE", path, "").wants(http.StatusOK, &gone)
	if gone.ID != id || gone.Kept == nil {
		t.Errorf("deleted: %+v", gone)
	}
	c.send("GET", path, "").refused(http.StatusNotFound, "no VM with id")
	if list := c.send("GET", "/vms/v3", "").body; strings.Contains(list, id) {
		t.Errorf("the published API lists it: %s", list)
	}
	var kept []storyAnswer
	c.send("GET", "/v1/vms?deleted=true", "").wants(http.StatusOK, &kept)
	if len(kept) != 1 || kept[0].KeptUntil == nil || len(kept[0].Allowed) != 2 {
		t.Errorf("kept: %+v", kept)
	}
	c.report(vm.Halted)
	c.send("POST", path+"/undelete", "").wants(http.StatusAccepted, nil)
	c.report(vm.Ready)
	var story storyAnswer
	c.send("GET", path, "").wants(http.StatusOK, &story)
	if story.Status != "Active" || story.KeptUntil != nil {
		t.Errorf("back: %+v", story)
	}
	c.send("POST", path+"/undelete", "").refused(http.StatusConflict, "not deleted")
	c.send("DELETE", path+"?purge=true", "").wants(http.StatusOK, &gone)
	if gone.Kept != nil {
		t.Errorf("purged: %+v", gone)
	}
	c.send("POST", path+"/undelete", "").refused(http.StatusNotFound, "")
}
