package api

import (
	"net/http"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/vm"
)

const (
	exampleSnapshotID = "snap_06h8k2v0q4c1r7f3m5t9d0b2ng"
	exampleSnapshot   = `{"id": "` + exampleSnapshotID + `", "vmId": "` + exampleID + `", "name": "before-upgrade", "state": "available", "reason": null,
	"percent": 100, "scheduled": false, "operationId": "` + exampleOperationID + `", "createdAt": "2026-01-31T12:00:00Z", "takenAt": "2026-01-31T12:00:02Z",
	"consistency": "filesystem", "bytes": 2147483648, "diskBytes": 26843545600, "heldGib": 2,
	"checksum": "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}`
)

var takeSnapshot = func() operation {
	op := vmVerb("snapshots", "takeSnapshot", "Take a snapshot of a VM",
		"Its disk is copied as it is at one moment, while it runs on, and the copy is kept on its server. Where the guest has the QEMU guest agent its file systems are "+
			"brought into order for that moment (`consistency` is `filesystem`); else it is as after a power cut (`crash`). A VM that is powered off has snapshots taken as well. "+
			"A VM has at most 16. While it is made the VM holds as much storage again as its disk has, after that what the snapshot takes, at the price of its storage. "+
			"`result.snapshotId` of the operation names it.")
	op.request = `{"name": "before-upgrade"}`
	op.refusals[http.StatusUnprocessableEntity] = "the VM has 16 snapshots, and more can't be; delete one first"
	return op
}()

type snapshotRequest struct {
	Name string `json:"name,omitempty" pattern:"^[A-Za-z0-9-]*$" doc:"Need not be unique; the moment, unless told." example:"before-upgrade"`
}

func (a *api) takeSnapshot(c *call, in snapshotRequest) (Operation, error) {
	return a.operate(c, vm.TakeSnapshot, a.control.TakeSnapshot(in.Name))
}

var restoreVM = func() operation {
	op := vmVerb("restore", "restoreVM", "Restore a VM from a snapshot",
		"It gets a disk as in one of its snapshots or in an export, which is checked first, and starts on it; its guest is asked to power itself off before. It is the same machine, with its id, "+
			"address, ports and price; of an export its guest is set up anew, with new host keys. The disk that it had is kept, as by reinstall: GET /v1/vms/{id}/disks tells until when, and POST /v1/vms/{id}/disks/{number}/return brings it back.")
	op.request = `{"snapshot": "` + exampleSnapshotID + `"}`
	op.refusals[http.StatusUnprocessableEntity] = "snapshot is missing"
	return op
}()

type restoreRequest struct {
	Snapshot string `json:"snapshot" doc:"Id of a snapshot of this VM, or of an export." example:"snap_06h8k2v0q4c1r7f3m5t9d0b2ng"`
}

func (a *api) restoreVM(c *call, in restoreRequest) (Operation, error) {
	if in.Snapshot == "" {
		return Operation{}, missing("snapshot")
	}
	return a.operate(c, vm.Restore, a.control.Restore(in.Snapshot))
}

// Snapshot is a copy of a VM's disk.
type Snapshot struct {
	ID          string     `json:"id"`
	VMID        string     `json:"vmId" pattern:"^0x[0-9a-fA-F]{40}$"`
	Name        string     `json:"name"`
	State       string     `json:"state" enum:"making,available,failed,deleting"`
	Reason      *string    `json:"reason" nullable:"true" doc:"Why it failed; it goes by itself then."`
	Percent     int64      `json:"percent" minimum:"0" maximum:"100" doc:"How much of it is copied."`
	Scheduled   bool       `json:"scheduled" doc:"Made by the VM's schedule, which deletes it in its time."`
	OperationID string     `json:"operationId" doc:"That makes it."`
	CreatedAt   time.Time  `json:"createdAt"`
	TakenAt     *time.Time `json:"takenAt" nullable:"true" doc:"The moment that it shows; null until it is available."`
	Consistency string     `json:"consistency" enum:",crash,filesystem" doc:"Empty until it is available."`
	Bytes       int64      `json:"bytes" doc:"That it takes."`
	DiskBytes   int64      `json:"diskBytes" doc:"Of the disk in it."`
	HeldGiB     int64      `json:"heldGib" doc:"GiB of storage that the VM holds for it, and pays for."`
	Checksum    string     `json:"checksum" doc:"Of its file; empty until it is available."`
}

func snapshotOf(s vm.Snapshot) Snapshot {
	out := Snapshot{
		ID: s.ID, VMID: s.VMID, Name: s.Name, State: string(s.State), Percent: s.Percent, Scheduled: s.Scheduled, OperationID: s.Operation,
		CreatedAt: s.CreatedAt.UTC(), TakenAt: moment(s.At), Consistency: s.Consistency, Bytes: s.Bytes, DiskBytes: s.VirtualBytes, HeldGiB: s.HeldGiB,
		Checksum: s.Checksum,
	}
	if s.Reason != "" {
		out.Reason = &s.Reason
	}
	return out
}

func snapshotsOf(list []vm.Snapshot) []Snapshot {
	out := make([]Snapshot, len(list))
	for i, s := range list {
		out[i] = snapshotOf(s)
	}
	return out
}

var listSnapshots = operation{
	method: http.MethodGet, path: "/v1/vms/{id}/snapshots", id: "listSnapshots", tag: "Virtual machines",
	summary:  "List the snapshots of a VM",
	text:     "Oldest first.",
	response: `[` + exampleSnapshot + `]`,
	refusals: map[int]string{http.StatusNotFound: `no VM with id "` + exampleID + `"`},
}

func (a *api) listSnapshots(c *call, _ none) ([]Snapshot, error) {
	list, err := a.control.Snapshots(c.Context(), c.who, c.PathValue("id"))
	return snapshotsOf(list), err
}

var listAllSnapshots = operation{
	method: http.MethodGet, path: "/v1/snapshots", id: "listAllSnapshots", tag: "Virtual machines",
	summary:  "List snapshots",
	text:     "The newest thousand of all of the account's VMs, newest first; those of one VM, oldest first, with `vm`.",
	query:    []parameter{{"vm", "Id of the VM whose snapshots are wanted.", exampleID}},
	response: `[` + exampleSnapshot + `]`,
	refusals: map[int]string{http.StatusNotFound: `no VM with id "` + exampleID + `"`},
}

func (a *api) listAllSnapshots(c *call, _ none) ([]Snapshot, error) {
	list, err := []vm.Snapshot(nil), error(nil)
	if of := c.URL.Query().Get("vm"); of != "" {
		list, err = a.control.Snapshots(c.Context(), c.who, of)
	} else {
		list, err = a.control.AllSnapshots(c.Context(), c.who)
	}
	return snapshotsOf(list), err
}

var deleteSnapshot = operation{
	method: http.MethodDelete, path: "/v1/snapshots/{id}", id: "deleteSnapshot", tag: "Virtual machines", status: http.StatusNoContent,
	summary: "Delete a snapshot",
	text:    "It is gone from its server soon after; until then it is `deleting`. Disks and VMs that were made of it stay as they are. It may be repeated.",
	refusals: map[int]string{
		http.StatusNotFound: `no snapshot with id "` + exampleSnapshotID + `"`,
		http.StatusConflict: "the snapshot is being made by " + exampleOperationID + "; wait until that is over",
	},
}

func (a *api) deleteSnapshot(c *call, _ none) (none, error) {
	return none{}, a.control.DeleteSnapshot(c.Context(), c.who, c.PathValue("id"))
}

const exampleSchedule = `{"every": "24h0m0s", "keep": 7, "nextAt": "2026-02-01T03:00:00Z", "leftOut": null}`

var (
	setSchedule = operation{
		method: http.MethodPut, path: "/v1/vms/{id}/schedule", id: "setSchedule", tag: "Virtual machines",
		summary: "Have snapshots taken on schedule",
		text: "One every so often, 1h to 744h; of those only the newest are kept, 1 to 15. Snapshots that were taken otherwise are never deleted by it. One that can't be begun when it is " +
			"due is left out, and `leftOut` and the timeline tell why. Every snapshot costs as one that is asked for.",
		request:  `{"every": "24h", "keep": 7, "at": "2026-02-01T03:00:00Z"}`,
		response: exampleSchedule,
		refusals: map[int]string{
			http.StatusBadRequest:          "keep has to be a whole number, not string",
			http.StatusNotFound:            `no VM with id "` + exampleID + `"`,
			http.StatusUnprocessableEntity: "a snapshot every 1m0s can't be; choose 1h to 744h, such as 24h",
		},
	}
	getSchedule = operation{
		method: http.MethodGet, path: "/v1/vms/{id}/schedule", id: "getSchedule", tag: "Virtual machines",
		summary: "Get the schedule of a VM's snapshots", response: exampleSchedule,
		refusals: map[int]string{http.StatusNotFound: "the VM has no schedule of snapshots"},
	}
	deleteSchedule = operation{
		method: http.MethodDelete, path: "/v1/vms/{id}/schedule", id: "deleteSchedule", tag: "Virtual machines", status: http.StatusNoContent,
		summary: "End the schedule of a VM's snapshots", text: "The snapshots stay. It may be repeated.",
		refusals: map[int]string{http.StatusNotFound: `no VM with id "` + exampleID + `"`},
	}
)

type scheduleRequest struct {
	Every string     `json:"every" doc:"How often, such as 6h or 24h." example:"24h"`
	Keep  *integer   `json:"keep" nullable:"false" minimum:"1" maximum:"15" doc:"How many are kept." example:"7"`
	At    *time.Time `json:"at,omitempty" doc:"When the first one is due; after every, unless told."`
}

// Schedule is when snapshots of a VM are taken.
type Schedule struct {
	Every   string    `json:"every" example:"24h0m0s"`
	Keep    int64     `json:"keep"`
	NextAt  time.Time `json:"nextAt"`
	LeftOut *string   `json:"leftOut" nullable:"true" doc:"Why the last one was left out; null when it was not."`
}

func scheduleOf(s vm.Schedule) Schedule {
	out := Schedule{Every: s.Every.String(), Keep: s.Keep, NextAt: s.Next.UTC()}
	if s.Told != "" {
		out.LeftOut = &s.Told
	}
	return out
}

func (a *api) setSchedule(c *call, in scheduleRequest) (Schedule, error) {
	keep, err := required("keep", in.Keep)
	if err != nil {
		return Schedule{}, err
	}
	every, err := time.ParseDuration(in.Every)
	if err != nil {
		return Schedule{}, fault.Newf(fault.Invalid, "every %q is not a duration such as 24h", clip(in.Every))
	}
	var first time.Time
	if in.At != nil {
		first = *in.At
	}
	s, err := a.control.SetSchedule(c.Context(), c.who, c.PathValue("id"), every, int64(keep), first)
	return scheduleOf(s), err
}

func (a *api) getSchedule(c *call, _ none) (Schedule, error) {
	s, err := a.control.Schedule(c.Context(), c.who, c.PathValue("id"))
	return scheduleOf(s), err
}

func (a *api) deleteSchedule(c *call, _ none) (none, error) {
	return none{}, a.control.DeleteSchedule(c.Context(), c.who, c.PathValue("id"))
}

// snapshotRoutes are what customers can do with copies of disks.
func (a *api) snapshotRoutes() {
	handle(a, takeSnapshot, a.takeSnapshot)
	handle(a, restoreVM, a.restoreVM)
	handle(a, listSnapshots, a.listSnapshots)
	handle(a, listAllSnapshots, a.listAllSnapshots)
	handle(a, deleteSnapshot, a.deleteSnapshot)
	handle(a, setSchedule, a.setSchedule)
	handle(a, getSchedule, a.getSchedule)
	handle(a, deleteSchedule, a.deleteSchedule)
}
