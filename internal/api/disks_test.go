package api_test

import (
	"net/http"
	"slices"
	"testing"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/vm"
)

type diskAnswer struct {
	Number  int64   `json:"number"`
	Current bool    `json:"current"`
	Image   *string `json:"image"`
	SizeGiB int64   `json:"sizeGiB"`
	Since   *string `json:"since"`
	Until   *string `json:"keptUntil"`
	Purging bool    `json:"purging"`
}

// A VM's disks are listed, returned and purged by their numbers, by who owns the VM alone;
// the published list of VMs says nothing of all that.
func TestDisks(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	path := "/v1/vms/" + c.deploy("1")[0]
	c.report(vm.Ready)
	before := c.send("GET", "/vms/v3/status?ids="+path[len("/v1/vms/"):], "").body
	var list []diskAnswer
	c.send("GET", path+"/disks", "").wants(http.StatusOK, &list)
	if len(list) != 1 || !list[0].Current || list[0].Number != 0 || list[0].SizeGiB != 25 || list[0].Until != nil {
		t.Errorf("at first: %+v", list)
	}
	c.send("POST", path+"/reinstall", `{"image": "file:///etc/shadow"}`).refused(http.StatusUnprocessableEntity, "osImage")
	c.send("POST", path+"/reinstall", `{"sshKeys": []}`).refused(http.StatusUnprocessableEntity, "sshKeys")
	c.send("POST", path+"/reinstall", `{"userData": "no script"}`).refused(http.StatusUnprocessableEntity, "userData")
	var o operationAnswer
	c.send("POST", path+"/reinstall", `{"image": "https://example.com/b.qcow2"}`).wants(http.StatusAccepted, &o)
	if o.Action != "reinstall" {
		t.Errorf("answered %+v", o)
	}
	c.send("DELETE", path+"/disks/0", "").refused(http.StatusConflict, "may still run on disk 0")
	c.report(vm.Ready)
	c.send("GET", path+"/disks", "").wants(http.StatusOK, &list)
	if len(list) != 2 || list[0].Current || list[0].Until == nil || !list[1].Current || *list[1].Image != "https://example.com/b.qcow2" {
		t.Errorf("after a reinstall: %+v", list)
	}
	var story storyAnswer
	c.send("GET", path, "").wants(http.StatusOK, &story)
	if story.Disk.Number != list[1].Number || story.Disk.Since == nil {
		t.Errorf("its disk is %+v", story.Disk)
	}
	if now := c.send("GET", "/vms/v3/status?ids="+path[len("/v1/vms/"):], "").body; now != before {
		t.Errorf("its status was %s, is %s", before, now)
	}
	_, stranger := c.newAccount("Bert", account.Customer)
	for method, of := range map[string]string{"GET": "/disks", "DELETE": "/disks/0", "POST": "/disks/0/return"} {
		c.sendAs(stranger, method, path+of, "").refused(http.StatusNotFound, "no VM")
	}
	for _, of := range []string{"/disks/7", "/disks/x", "/disks/99999999999999999999"} {
		c.send("DELETE", path+of, "").refused(http.StatusNotFound, "no disk")
		c.send("POST", path+of+"/return", "").refused(http.StatusNotFound, "no disk")
	}
	c.send("POST", path+"/disks/0/return", "").wants(http.StatusAccepted, nil)
	c.report(vm.Ready)
	c.send("DELETE", path+"/disks/2", "").wants(http.StatusNoContent, nil)
	c.send("GET", path+"/disks", "").wants(http.StatusOK, &list)
	if len(list) != 2 || !list[0].Purging || list[1].Number != 0 {
		t.Errorf("in the end: %+v", list)
	}
}

// A rescue needs a key, says that it is one, and who else may not log in stays out of it.
func TestRescue(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	path := "/v1/vms/" + c.deploy("1")[0]
	c.report(vm.Ready)
	c.send("POST", path+"/rescue", "").refused(http.StatusUnprocessableEntity, "sshKey is missing")
	c.send("POST", path+"/rescue", `{"sshKey": "laptop", "image": "https://example.com/r.img"}`).refused(http.StatusUnprocessableEntity, "key")
	c.send("POST", path+"/rescue", `{"sshKey": "`+keyLine+`"}`).refused(http.StatusUnprocessableEntity, "no rescue image")
	c.send("POST", path+"/unrescue", "").refused(http.StatusConflict, "not in rescue")
	c.send("POST", path+"/rescue", `{"sshKey": "`+keyLine+`", "image": "https://example.com/r.img"}`).wants(http.StatusAccepted, nil)
	c.report(vm.Ready)
	var story storyAnswer
	c.send("GET", path, "").wants(http.StatusOK, &story)
	if story.Rescue == nil || story.Rescue.Image != "https://example.com/r.img" || !slices.Contains(story.Allowed, "unrescue") || slices.Contains(story.Allowed, "reinstall") {
		t.Errorf("in rescue %+v, allowed %v", story.Rescue, story.Allowed)
	}
	c.send("POST", path+"/reinstall", "").refused(http.StatusConflict, "in rescue since")
	c.send("POST", path+"/unrescue", "").wants(http.StatusAccepted, nil)
	c.report(vm.Ready)
	story = storyAnswer{}
	c.send("GET", path, "").wants(http.StatusOK, &story)
	if story.Rescue != nil {
		t.Errorf("afterwards still %+v", story.Rescue)
	}
}
