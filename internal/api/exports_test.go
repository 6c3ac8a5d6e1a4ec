package api_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

type exportAnswer struct {
	ID         string  `json:"id"`
	SnapshotID string  `json:"snapshotId"`
	VMID       string  `json:"vmId"`
	VMName     string  `json:"vmName"`
	Image      string  `json:"image"`
	StorageGiB int64   `json:"storageGib"`
	Bytes      int64   `json:"bytes"`
	State      string  `json:"state"`
	Through    int64   `json:"bytesDone"`
	Sealed     int64   `json:"bytesStored"`
	StartedAt  string  `json:"startedAt"`
	Deadline   string  `json:"deadline"`
	EndedAt    *string `json:"endedAt"`
	Reason     *string `json:"reason"`
}

type exportsAnswer struct {
	Exports      []exportAnswer `json:"exports"`
	Used, Limits struct {
		Exports int64 `json:"exports"`
		Bytes   int64 `json:"bytes"`
	}
}

// snap takes a snapshot of a VM and returns its id.
func (c *cloud) snap(vmID string) string {
	c.t.Helper()
	c.report(vm.Ready)
	var o operationAnswer
	c.send("POST", "/v1/vms/"+vmID+"/snapshots", `{}`).wants(http.StatusAccepted, &o)
	c.report(vm.Ready)
	return o.Result["snapshotId"]
}

// become has an export be in a state.
func (c *cloud) become(id string, state vm.ExportState) {
	c.t.Helper()
	err := c.store.Write(c.t.Context(), func(tx *store.Tx) error {
		e, err := tx.Export(c.t.Context(), id)
		if err != nil {
			return err
		}
		e.State, e.Through, e.Sealed, e.Ended = state, e.Bytes, 1000, c.control.Now()
		return tx.UpdateExport(c.t.Context(), e)
	})
	if err != nil {
		c.t.Fatal(err)
	}
}

func TestExports(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	id := c.deploy("1")[0]
	shot := c.snap(id)
	path := "/v1/snapshots/" + shot + "/export"
	var e, again exportAnswer
	c.send("POST", path, "", "Idempotency-Key: one").wants(http.StatusAccepted, &e)
	c.send("POST", path, "", "Idempotency-Key: one").wants(http.StatusAccepted, &again)
	want := exportAnswer{
		ID: e.ID, SnapshotID: shot, VMID: id, VMName: "web-1", Image: ubuntu, StorageGiB: 25, Bytes: 3 << 30, State: "uploading",
		StartedAt: "2026-01-31T12:00:00Z", Deadline: "2026-01-31T13:00:00Z",
	}
	if e != want || again != e || !strings.HasPrefix(e.ID, "exp_") {
		t.Errorf("answered %+v, then %+v, want %+v", e, again, want)
	}
	c.send("POST", path, "").refused(http.StatusConflict, "export "+e.ID+" of this VM goes on")
	c.send("DELETE", "/v1/snapshots/"+shot, "").refused(http.StatusConflict, "an export is being made of the snapshot")
	c.send("GET", "/v1/exports/"+e.ID+"?wait=0s", "").wants(http.StatusOK, &again)
	if again != want {
		t.Errorf("got %+v, want %+v", again, want)
	}
	of := func(export string) string {
		return strings.Replace(deployBody(`"instances": 1`, `"instances": 1, "export": "`+export+`"`), `"osImage": "`+ubuntu+`",`, "", 1)
	}
	c.send("POST", "/v1/vms", of(e.ID)).refused(http.StatusConflict, "the export is uploading")
	c.become(e.ID, vm.Exported)
	var list exportsAnswer
	c.send("GET", "/v1/exports", "").wants(http.StatusOK, &list)
	if len(list.Exports) != 1 || list.Exports[0].State != "done" || list.Used.Exports != 1 || list.Used.Bytes != 1000 || list.Limits.Exports != 2 || list.Limits.Bytes != 10<<30 {
		t.Errorf("listed %+v", list)
	}
	c.send("POST", "/v1/vms", of("exp_none")).refused(http.StatusNotFound, "no export with id")
	both := deployBody(`"instances": 1`, `"instances": 1, "export": "`+e.ID+`"`)
	c.send("POST", "/v1/vms", both).refused(422, "of an image, of a snapshot or of an export")
	c.send("POST", "/v1/vms", of(e.ID)).wants(http.StatusCreated, nil)
	c.send("DELETE", "/v1/exports/"+e.ID, "").refused(http.StatusConflict, "is being made of the export")
	c.report(vm.Ready)

	_, other := c.newAccount("Nora", "customer")
	for _, ask := range [][2]string{{"GET", "/v1/exports/" + e.ID}, {"DELETE", "/v1/exports/" + e.ID}, {"POST", path}} {
		c.sendAs(other, ask[0], ask[1], "").refused(http.StatusNotFound, "no ")
	}
	for range 2 {
		c.send("DELETE", "/v1/exports/"+e.ID, "").wants(http.StatusAccepted, &again)
		if again.State != "deleting" {
			t.Errorf("deleted: %+v", again)
		}
	}
	c.send("POST", "/v1/vms", of(e.ID)).refused(http.StatusConflict, "the export is deleting")
}
