package cli_test

import (
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
)

// snapshots answers what is about copies of disks, and reports whether a request was.
func (s *stub) snapshotting(w http.ResponseWriter, r *http.Request, body doc, route string) bool {
	switch route {
	case "POST /v1/vms/" + vmOf(r) + "/snapshots":
		s.operate(w, r)
		n := len(s.snapshots)
		name, _ := body["name"].(string)
		if name == "" {
			name = "at-20260131-120000"
		}
		s.snapshots = append(s.snapshots, doc{
			"id": fmt.Sprint("snap_", n), "vmId": vmOf(r), "name": name, "state": "available", "reason": nil, "percent": 100, "scheduled": n%2 == 1,
			"operationId": "op_1", "createdAt": "2026-01-31T12:00:00Z", "takenAt": "2026-01-31T12:00:02Z", "consistency": "filesystem",
			"bytes": 2 << 30, "diskBytes": 25 << 30, "heldGib": 2, "checksum": "sha256:" + strings.Repeat("0d", 32),
		})
	case "POST /v1/vms/" + vmOf(r) + "/restore":
		if body["snapshot"] != "snap_0" {
			refuse(w, http.StatusNotFound, "no snapshot with this id")
			return true
		}
		s.operate(w, r)
	case "GET /v1/vms/" + vmOf(r) + "/snapshots":
		answer(w, http.StatusOK, slices.DeleteFunc(slices.Clone(s.snapshots), func(d doc) bool { return d["vmId"] != vmOf(r) }))
	case "GET /v1/snapshots":
		answer(w, http.StatusOK, append([]doc{}, s.snapshots...))
	case "DELETE /v1/snapshots/" + path.Base(r.URL.Path):
		s.snapshots = slices.DeleteFunc(s.snapshots, func(d doc) bool { return d["id"] == path.Base(r.URL.Path) })
		w.WriteHeader(http.StatusNoContent)
	case "PUT /v1/vms/" + vmOf(r) + "/schedule":
		next := body["at"]
		if next == nil {
			next = "2026-02-01T12:00:00Z"
		}
		s.schedule = doc{"every": body["every"], "keep": body["keep"], "nextAt": next, "leftOut": "another operation goes on"}
		answer(w, http.StatusOK, s.schedule)
	case "GET /v1/vms/" + vmOf(r) + "/schedule":
		if s.schedule == nil {
			refuse(w, http.StatusNotFound, "the VM has no schedule of snapshots")
			return true
		}
		answer(w, http.StatusOK, s.schedule)
	case "DELETE /v1/vms/" + vmOf(r) + "/schedule":
		s.schedule = nil
		w.WriteHeader(http.StatusNoContent)
	default:
		return false
	}
	return true
}
