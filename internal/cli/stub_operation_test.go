package cli_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
)

// vmOf returns the id of the VM that a request is about, "" for none.
func vmOf(r *http.Request) string {
	rest, ok := strings.CutPrefix(r.URL.Path, "/v1/vms/")
	id, _, _ := strings.Cut(rest, "/")
	if !ok {
		return ""
	}
	return id
}

// operate begins an operation, which succeeds when somebody waits for it unless the
// VM's name begins with "bad". One whose name begins with "busy" refuses.
func (s *stub) operate(w http.ResponseWriter, r *http.Request) {
	i := slices.IndexFunc(s.vms, func(v doc) bool { return v["id"] == vmOf(r) })
	if i < 0 {
		refuse(w, http.StatusNotFound, "no VM with this id")
		return
	}
	name, _ := s.vms[i]["vmName"].(string)
	if strings.HasPrefix(name, "busy") {
		refuse(w, http.StatusConflict, "another operation goes on: reboot, op_0, since 12:00:00; wait until it is over")
		return
	}
	if r.Header.Get("Idempotency-Key") == "" {
		refuse(w, http.StatusUnprocessableEntity, "the request has no id")
		return
	}
	s.operations = append(s.operations, doc{
		"id": fmt.Sprint("op_", name, len(s.operations)), "vmId": vmOf(r), "action": path.Base(r.URL.Path), "outcome": "running",
		"startedAt": "2026-01-31T12:00:00Z", "deadline": "2026-01-31T12:15:00Z", "endedAt": nil, "error": nil,
	})
	answer(w, http.StatusAccepted, s.operations[len(s.operations)-1])
}

func (s *stub) operation(w http.ResponseWriter, id string) {
	i := slices.IndexFunc(s.operations, func(o doc) bool { return o["id"] == id })
	if i < 0 {
		refuse(w, http.StatusNotFound, "no operation with this id")
		return
	}
	o := s.operations[i]
	o["endedAt"], o["outcome"] = "2026-01-31T12:00:06.3Z", "succeeded"
	if strings.HasPrefix(id, "op_bad") {
		o["outcome"], o["error"] = "failed", "the VM did not answer within 15m0s; reset starts it anew without asking its guest"
	}
	answer(w, http.StatusOK, o)
}

func (s *stub) protect(w http.ResponseWriter, r *http.Request) {
	i := slices.IndexFunc(s.vms, func(v doc) bool { return v["id"] == vmOf(r) })
	if i < 0 {
		refuse(w, http.StatusNotFound, "no VM with this id")
		return
	}
	s.vms[i]["protected"] = path.Base(r.URL.Path) == "protect"
	w.WriteHeader(http.StatusNoContent)
}

// setPorts takes a change that is for the ports there are: the tag says how many.
func (s *stub) setPorts(w http.ResponseWriter, r *http.Request, body doc) {
	v := s.vms[s.find(vmOf(r))]
	if tag := r.Header.Get("If-Match"); tag != "" && tag != fmt.Sprintf("%q", v["portsEtag"]) {
		refuse(w, http.StatusConflict, "the ports have changed: others are open now; look at them and try again")
		return
	}
	before := v["ports"]
	v["ports"] = body["openPorts"]
	out := portsOf(v, before)
	if body["confirmWithin"] != nil {
		out["revertsAt"] = "2026-01-31T12:01:00Z"
	}
	v["portsEtag"] = out["etag"]
	answer(w, http.StatusOK, out)
}

// portsOf is the answer for a VM whose ports were others before.
func portsOf(v doc, before any) doc {
	now, was := words(v["ports"]), words(before)
	without := func(a, b []string) (left []doc) {
		left = []doc{}
		for _, p := range a {
			number, protocol, _ := strings.Cut(p, "/")
			if n, err := strconv.Atoi(number); err == nil && !slices.Contains(b, p) {
				left = append(left, doc{"port": n, "protocol": protocol})
			}
		}
		return left
	}
	out := doc{"openPorts": v["ports"], "opens": []doc{}, "closes": []doc{}, "etag": strings.Join(now, "+"), "revertsAt": nil}
	if before != nil {
		out["opens"], out["closes"] = without(now, was), without(was, now)
	}
	return out
}

// words are ports such as "80/tcp", from whatever JSON they are.
func words(ports any) (list []string) {
	text, _ := json.Marshal(ports) // it is JSON already
	var all []struct {
		Port     int
		Protocol string
	}
	_ = json.Unmarshal(text, &all)
	for _, p := range all {
		list = append(list, fmt.Sprintf("%d/%s", p.Port, p.Protocol))
	}
	return list
}

// undelete puts a deleted VM back.
func (s *stub) undelete(w http.ResponseWriter, r *http.Request) {
	i := slices.IndexFunc(s.deleted, func(v doc) bool { return v["id"] == vmOf(r) })
	if i < 0 {
		refuse(w, http.StatusNotFound, "no VM with this id")
		return
	}
	s.vms, s.deleted = append(s.vms, s.deleted[i]), slices.Delete(s.deleted, i, i+1)
	s.operate(w, r)
}
