package api_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/cpucloud/cpucloud/internal/vm"
)

type snapshotAnswer struct {
	ID          string  `json:"id"`
	VMID        string  `json:"vmId"`
	Name        string  `json:"name"`
	State       string  `json:"state"`
	Reason      *string `json:"reason"`
	Percent     int64   `json:"percent"`
	Scheduled   bool    `json:"scheduled"`
	OperationID string  `json:"operationId"`
	CreatedAt   string  `json:"createdAt"`
	TakenAt     *string `json:"takenAt"`
	Consistency string  `json:"consistency"`
	Bytes       int64   `json:"bytes"`
	DiskBytes   int64   `json:"diskBytes"`
	HeldGiB     int64   `json:"heldGib"`
	Checksum    string  `json:"checksum"`
}

func TestSnapshots(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	id := c.deploy("1")[0]
	path := "/v1/vms/" + id + "/snapshots"
	c.report(vm.Ready)
	var o, again operationAnswer
	c.send("POST", path, `{"name": "before-upgrade"}`, "Idempotency-Key: one").wants(http.StatusAccepted, &o)
	c.send("POST", path, `{"name": "before-upgrade"}`, "Idempotency-Key: one").wants(http.StatusAccepted, &again)
	if o.ID != again.ID || o.Action != "snapshot" || o.Result["snapshotId"] == "" {
		t.Errorf("answered %+v, then %+v", o, again)
	}
	c.send("POST", path, `{"name": "a b"}`).refused(http.StatusConflict, "another operation goes on: snapshot")
	var list, all []snapshotAnswer
	c.send("GET", path, "").wants(http.StatusOK, &list)
	if len(list) != 1 || list[0].State != "making" || list[0].TakenAt != nil || list[0].HeldGiB != 25 || list[0].ID != o.Result["snapshotId"] {
		t.Errorf("while it is made: %+v", list)
	}
	c.report(vm.Ready)
	c.send("GET", path, "").wants(http.StatusOK, &list)
	want := snapshotAnswer{
		ID: o.Result["snapshotId"], VMID: id, Name: "before-upgrade", State: "available", Percent: 100, OperationID: o.ID, CreatedAt: "2026-01-31T12:00:00Z", TakenAt: list[0].TakenAt,
		Consistency: "filesystem", Bytes: 3 << 30, DiskBytes: 25 << 30, HeldGiB: 3, Checksum: "sha256:" + strings.Repeat("0d", 32),
	}
	if list[0] != want || *want.TakenAt != "2026-01-31T12:00:02Z" {
		t.Errorf("got %+v, want %+v", list[0], want)
	}
	for _, query := range []string{"", "?vm=" + id} {
		c.send("GET", "/v1/snapshots"+query, "").wants(http.StatusOK, &all)
		if len(all) != 1 || all[0].ID != want.ID {
			t.Errorf("all%s: %+v", query, all)
		}
	}
	_, other := c.newAccount("Nora", "customer")
	c.sendAs(other, "GET", path, "").refused(http.StatusNotFound, "no VM with id")
	c.sendAs(other, "DELETE", "/v1/snapshots/"+want.ID, "").refused(http.StatusNotFound, "no snapshot with id")
	c.sendAs(other, "POST", "/v1/vms", deployBody(`"instances": 1`, `"instances": 1, "snapshot": "`+want.ID+`"`)).refused(422, "of an image, of a snapshot or of an export")
	c.send("POST", path, `{"name": "a b"}`).refused(http.StatusUnprocessableEntity, "letters, digits and hyphens")
	c.send("DELETE", "/v1/snapshots/"+want.ID, "").wants(http.StatusNoContent, nil)
	c.report(vm.Ready)
	c.send("GET", path, "").wants(http.StatusOK, &list)
	if len(list) != 0 {
		t.Errorf("left: %+v", list)
	}
}

func TestSchedule(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	path := "/v1/vms/" + c.deploy("1")[0] + "/schedule"
	c.send("GET", path, "").refused(http.StatusNotFound, "no schedule")
	c.send("PUT", path, `{"every": "often", "keep": 3}`).refused(422, "not a duration such as 24h")
	c.send("PUT", path, `{"every": "24h"}`).refused(422, "keep is missing")
	c.send("PUT", path, `{"every": "24h", "keep": 99}`).refused(422, "choose 1 to 15")
	type schedule struct {
		Every   string  `json:"every"`
		Keep    int64   `json:"keep"`
		NextAt  string  `json:"nextAt"`
		LeftOut *string `json:"leftOut"`
	}
	var set, got schedule
	c.send("PUT", path, `{"every": "24h", "keep": 3}`).wants(http.StatusOK, &set)
	c.send("GET", path, "").wants(http.StatusOK, &got)
	if set != got || got.Every != "24h0m0s" || got.Keep != 3 || got.NextAt == "" || got.LeftOut != nil {
		t.Errorf("set %+v, got %+v", set, got)
	}
	c.send("DELETE", path, "").wants(http.StatusNoContent, nil)
	c.send("DELETE", path, "").wants(http.StatusNoContent, nil)
	c.send("GET", path, "").refused(http.StatusNotFound, "no schedule")
}
