package cli_test

import (
	"fmt"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"
)

// exporting answers what is about exports, and reports whether a request was. One of a
// snapshot whose name begins with "bad" fails; the others are done when somebody waits.
func (s *stub) exporting(w http.ResponseWriter, r *http.Request, route string) bool {
	id := path.Base(r.URL.Path)
	switch {
	case strings.HasPrefix(route, "POST /v1/snapshots/") && id == "export":
		s.export(w, r, path.Base(path.Dir(r.URL.Path)))
	case route == "GET /v1/exports":
		answer(w, http.StatusOK, doc{
			"exports": append([]doc{}, s.exports...), "used": doc{"exports": len(s.exports), "bytes": 1 << 30}, "limits": doc{"exports": 100, "bytes": 1 << 40},
		})
	case strings.HasPrefix(r.URL.Path, "/v1/exports/"):
		i := slices.IndexFunc(s.exports, func(e doc) bool { return e["id"] == id })
		if i < 0 {
			refuse(w, http.StatusNotFound, fmt.Sprintf("no export with id %q", id))
			return true
		}
		e := maps.Clone(s.exports[i])
		switch {
		case r.Method == http.MethodDelete:
			e["state"] = "deleting"
		case r.URL.Query().Get("wait") != "" && strings.HasPrefix(e["vmName"].(string), "bad"):
			e["state"], e["reason"] = "failed", "it did not get on for 1h0m0s: the store is away"
		case r.URL.Query().Get("wait") != "":
			e["state"], e["bytesDone"], e["bytesStored"] = "done", e["bytes"], 1<<30
		}
		s.exports[i] = e
		answer(w, map[bool]int{true: http.StatusAccepted, false: http.StatusOK}[r.Method == http.MethodDelete], e)
	default:
		return false
	}
	return true
}

func (s *stub) export(w http.ResponseWriter, r *http.Request, snapshot string) {
	if r.Header.Get("Idempotency-Key") == "" {
		refuse(w, http.StatusUnprocessableEntity, "the request has no id")
		return
	}
	i := slices.IndexFunc(s.snapshots, func(d doc) bool { return d["id"] == snapshot })
	if i < 0 {
		refuse(w, http.StatusNotFound, "no snapshot with this id")
		return
	}
	e := doc{
		"id": fmt.Sprint("exp_", len(s.exports)), "snapshotId": snapshot, "vmId": s.snapshots[i]["vmId"], "vmName": s.snapshots[i]["name"],
		"image": "https://images.example/demo.qcow2", "storageGib": 25, "bytes": 2 << 30, "state": "uploading", "bytesDone": 5 << 20, "bytesStored": 0,
		"startedAt": "2026-01-31T12:00:00Z", "deadline": "2026-01-31T13:00:00Z", "endedAt": nil, "reason": nil,
	}
	s.exports = append(s.exports, e)
	answer(w, http.StatusAccepted, e)
}
