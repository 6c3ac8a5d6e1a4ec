package api

import (
	"net/http"
	"time"

	"github.com/cpucloud/cpucloud/internal/vm"
)

const (
	exampleExportID   = "exp_06h8k3a1r4c1r7f3m5t9d0b2ng"
	exampleExportHead = `"id": "` + exampleExportID + `", "snapshotId": "` + exampleSnapshotID + `", "vmId": "` + exampleID + `", "vmName": "web-1",
	"image": "https://cloud-images.ubuntu.com/releases/22.04/release/ubuntu-22.04-server-cloudimg-amd64.img", "storageGib": 25, "bytes": 2415919104`
	exampleExportBegun = `{` + exampleExportHead + `, "state": "uploading", "bytesDone": 805306368, "bytesStored": 0,
	"startedAt": "2026-01-31T12:00:00Z", "deadline": "2026-01-31T13:00:12Z", "endedAt": null, "reason": null}`
	exampleExport = `{` + exampleExportHead + `, "state": "done", "bytesDone": 2415919104, "bytesStored": 912680550,
	"startedAt": "2026-01-31T12:00:00Z", "deadline": "2026-01-31T13:00:12Z", "endedAt": "2026-01-31T12:01:40Z", "reason": null}`
	noExport = `no export with id "` + exampleExportID + `"`
)

// Export is a snapshot that is kept outside of every server.
type Export struct {
	ID         string     `json:"id"`
	SnapshotID string     `json:"snapshotId" doc:"May be gone by now."`
	VMID       string     `json:"vmId" pattern:"^0x[0-9a-fA-F]{40}$" doc:"Whose snapshot it is; may be gone by now."`
	VMName     string     `json:"vmName" doc:"As it was called then."`
	Image      string     `json:"image" doc:"That the VM was made of."`
	StorageGiB int64      `json:"storageGib" doc:"Of the disk: a VM that is made of it has as many at least."`
	Bytes      int64      `json:"bytes" doc:"Of the snapshot's file."`
	State      string     `json:"state" enum:"uploading,done,failed,deleting"`
	Through    int64      `json:"bytesDone" doc:"Of the snapshot's file, that are in the store by now or need not be."`
	Sealed     int64      `json:"bytesStored" doc:"In the store, compressed and encrypted; 0 before it is done."`
	StartedAt  time.Time  `json:"startedAt"`
	Deadline   time.Time  `json:"deadline" doc:"When it is given up, unless it gets on before."`
	EndedAt    *time.Time `json:"endedAt" nullable:"true" doc:"When it was done, or failed."`
	Reason     *string    `json:"reason" nullable:"true" doc:"What it waits for, or why it failed and what to do."`
}

func exportOf(e vm.Export) Export {
	out := Export{
		ID: e.ID, SnapshotID: e.SnapshotID, VMID: e.VMID, VMName: e.VMName, Image: e.Image, StorageGiB: e.StorageGiB, Bytes: e.Bytes,
		State: string(e.State), Through: e.Through, Sealed: e.Sealed, StartedAt: e.Begun.UTC(), Deadline: e.Deadline.UTC(), EndedAt: moment(e.Ended),
	}
	if e.Reason != "" {
		out.Reason = &e.Reason
	}
	return out
}

var exportSnapshot = operation{
	method: http.MethodPost, path: "/v1/snapshots/{id}/export", id: "exportSnapshot", tag: "Exports", status: http.StatusAccepted,
	summary: "Export a snapshot",
	text: "Its server stores it, compressed and encrypted, in the operator's store outside of every server. The export outlives the snapshot, the VM and the server; " +
		"VMs can be made of it on any server. One export of a VM goes on at a time; the VM itself runs on and can be changed meanwhile. " +
		"GET /v1/exports/{id}?wait=60s tells what comes of it. A request with an `Idempotency-Key` may be sent again: it is answered with what it began.",
	headers:  []parameter{{"Idempotency-Key", "Names the request, for the account: at most 255 characters.", "export-of-monday"}},
	response: exampleExportBegun,
	refusals: map[int]string{
		http.StatusNotFound:            `no snapshot with id "` + exampleSnapshotID + `"`,
		http.StatusConflict:            "export " + exampleExportID + " of this VM goes on; wait until it is over",
		http.StatusUnprocessableEntity: "an account has at most 100 exports; delete one that is of no use any more",
		http.StatusServiceUnavailable:  "this cloud keeps no exports: its operator has given it no store, see `cpucloud server --archive`",
	},
}

func (a *api) exportSnapshot(c *call, _ none) (Export, error) {
	e, err := a.control.Export(c.Context(), c.who, c.PathValue("id"), c.Header.Get("Idempotency-Key"))
	return exportOf(e), err
}

var listExports = operation{
	method: http.MethodGet, path: "/v1/exports", id: "listExports", tag: "Exports",
	summary: "List exports",
	text:    "The newest thousand, newest first, with what they take of the operator's store and may take.",
	response: `{"exports": [` + exampleExport + `], "used": {"exports": 1, "bytes": 912680550},
		"limits": {"exports": 100, "bytes": 1099511627776}}`,
}

// exportList is what listExports is answered with.
type exportList struct {
	Exports []Export  `json:"exports"`
	Used    exportUse `json:"used"`
	Limits  exportUse `json:"limits"`
}

type exportUse struct {
	Count int64 `json:"exports" doc:"How many."`
	Bytes int64 `json:"bytes" doc:"In the store; of one that is on its way, those of its snapshot."`
}

func (a *api) listExports(c *call, _ none) (exportList, error) {
	list, err := a.control.Exports(c.Context(), c.who)
	out := exportList{Exports: make([]Export, len(list.Exports)), Used: exportUse(list.Used), Limits: exportUse(list.Most)}
	for i, e := range list.Exports {
		out.Exports[i] = exportOf(e)
	}
	return out, err
}

var getExport = operation{
	method: http.MethodGet, path: "/v1/exports/{id}", id: "getExport", tag: "Exports",
	summary:  "Get an export",
	text:     "With `wait` the answer comes once it is not on its way any more, or that time has passed, whichever is first: read `state` to see which.",
	query:    []parameter{{"wait", "How long to wait for its end, at most 120s.", "60s"}},
	response: exampleExport,
	refusals: map[int]string{
		http.StatusNotFound:            noExport,
		http.StatusUnprocessableEntity: `wait "soon" is not a duration within 0s to 120s`,
	},
}

func (a *api) getExport(c *call, _ none) (Export, error) {
	wait, err := c.duration("wait", 0, longestWait)
	if err != nil {
		return Export{}, err
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	e, err := a.control.WaitExport(c.Context(), c.who, c.PathValue("id"), timer.C)
	return exportOf(e), err
}

var deleteExport = operation{
	method: http.MethodDelete, path: "/v1/exports/{id}", id: "deleteExport", tag: "Exports", status: http.StatusAccepted,
	summary: "Delete an export",
	text: "No VM can be made of it from now on. What is in the store of it is removed, and its key forgotten; then it is gone. " +
		"It may be repeated until then. An export that is on its way is ended.",
	response: `{` + exampleExportHead + `, "state": "deleting", "bytesDone": 2415919104, "bytesStored": 912680550,
		"startedAt": "2026-01-31T12:00:00Z", "deadline": "2026-01-31T13:00:12Z", "endedAt": "2026-01-31T12:01:40Z", "reason": null}`,
	refusals: map[int]string{
		http.StatusNotFound: noExport,
		http.StatusConflict: "VM web-2 is being made of the export: nothing was deleted; wait until it is Active, or delete it",
	},
}

func (a *api) deleteExport(c *call, _ none) (Export, error) {
	e, err := a.control.DeleteExport(c.Context(), c.who, c.PathValue("id"))
	return exportOf(e), err
}

// exportRoutes is the part of the table about exports.
func (a *api) exportRoutes() {
	handle(a, exportSnapshot, a.exportSnapshot)
	handle(a, listExports, a.listExports)
	handle(a, getExport, a.getExport)
	handle(a, deleteExport, a.deleteExport)
}
