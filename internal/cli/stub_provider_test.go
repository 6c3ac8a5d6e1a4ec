package cli_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// seller is a provider of the stub. A server joins as soon as there is a token
// for it.
type seller struct {
	name    string
	listing doc
	servers []doc
}

// sell answers the routes of providers.
func (s *stub) sell(w http.ResponseWriter, r *http.Request, body doc) {
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/v1/providers"), "/")[1:]
	if len(parts) == 0 {
		s.providers(w, r, body)
		return
	}
	i := slices.IndexFunc(s.sellers, func(p *seller) bool { return p.name == parts[0] || "prv_"+p.name == parts[0] })
	if i < 0 {
		refuse(w, http.StatusNotFound, fmt.Sprintf("no provider %q", parts[0]))
		return
	}
	p := s.sellers[i]
	switch route := r.Method + " " + strings.Join(parts[1:min(len(parts), 2)], ""); {
	case route == "GET listing":
		answer(w, http.StatusOK, p.listing)
	case route == "PUT listing":
		p.apply(w, body, r.URL.Query().Get("dryRun") == "true")
	case route == "POST tokens":
		p.invite(w, body)
	case route == "GET servers" && len(parts) == 2:
		answer(w, http.StatusOK, slices.Concat([]doc{}, p.servers))
	case strings.HasSuffix(route, " servers"):
		p.server(w, parts[2:], body)
	case route == "POST vms":
		p.terminate(w, parts[2], body)
	case route == "GET earnings":
		p.earnings(w, r)
	case strings.HasSuffix(route, " withdrawals"):
		s.withdraw(w, r, p, parts[2:], body)
	default:
		refuse(w, http.StatusNotFound, "no such path; see /docs")
	}
}

func (s *stub) providers(w http.ResponseWriter, r *http.Request, body doc) {
	if r.Method == http.MethodPost {
		name := body["name"].(string)
		if slices.ContainsFunc(s.sellers, func(p *seller) bool { return p.name == name }) {
			refuse(w, http.StatusConflict, fmt.Sprintf("the name %q is taken; choose another", name))
			return
		}
		p := &seller{name: name, listing: doc{"datacenters": []any{}, "offers": []any{}}}
		s.sellers = append(s.sellers, p)
		answer(w, http.StatusCreated, p.doc())
		return
	}
	all := []doc{}
	for _, p := range s.sellers {
		all = append(all, p.doc())
	}
	answer(w, http.StatusOK, all)
}

func (p *seller) doc() doc {
	return doc{"id": "prv_" + p.name, "name": p.name, "createdAt": "2026-01-31T12:00:00Z", "servers": len(p.servers), "pending": "0.84", "earned": "12.6"}
}

// apply takes a listing. Country XX is one that only the cloud knows to be none.
func (p *seller) apply(w http.ResponseWriter, body doc, dryRun bool) {
	var faults []doc
	for i, d := range body["datacenters"].([]any) {
		if d.(doc)["country"] == "XX" {
			faults = append(faults, doc{"path": fmt.Sprintf("datacenters[%d].country", i), "message": `country "XX" is not assigned`})
		}
	}
	if len(faults) > 0 {
		answer(w, http.StatusUnprocessableEntity, doc{"error": fmt.Sprintf("%d faults: %s", len(faults), faults[0]["message"]), "faults": faults})
		return
	}
	changes := []doc{}
	for _, list := range []string{"datacenters", "offers"} {
		changes = append(changes, compared(list, p.listing[list].([]any), body[list].([]any))...)
	}
	if !dryRun {
		for _, d := range p.listing["datacenters"].([]any) {
			if places := body["datacenters"].([]any); !slices.ContainsFunc(places, func(a any) bool { return nameOf(a) == nameOf(d) }) {
				body["datacenters"] = append(places, d)
			}
		}
		p.listing = body
	}
	answer(w, http.StatusOK, doc{"dryRun": dryRun, "changes": changes})
}

// nameOf is what an item of a listing is known by.
func nameOf(item any) string {
	d := item.(doc)
	if name, ok := d["name"].(string); ok {
		return name
	}
	return strings.ToLower(fmt.Sprintf("%v-%v-%v", d["country"], d["city"], d["index"]))
}

// compared tells changes as the cloud does: what is left out comes last.
func compared(list string, before, after []any) (changes []doc) {
	one := strings.TrimSuffix(list, "s")
	for i, a := range after {
		path, name := fmt.Sprintf("%s[%d]", list, i), nameOf(a)
		n := slices.IndexFunc(before, func(b any) bool { return nameOf(b) == name })
		if n < 0 {
			changes = append(changes, doc{"path": path, "action": "add", "after": name, "text": one + " " + name + " is new"})
			continue
		}
		is, _ := a.(doc)["prices"].(doc)
		was, _ := before[n].(doc)["prices"].(doc)
		for _, unit := range []string{"vcpu", "ram", "storage", "address"} {
			if was[unit] != is[unit] {
				changes = append(changes, doc{
					"path": path + ".prices." + unit, "action": "change", "before": was[unit], "after": is[unit],
					"text": fmt.Sprintf("%s %s: prices.%s is %v instead of %v", one, name, unit, is[unit], was[unit]),
				})
			}
		}
	}
	for i, b := range before {
		name := nameOf(b)
		if slices.ContainsFunc(after, func(a any) bool { return nameOf(a) == name }) {
			continue
		}
		c := doc{"path": fmt.Sprintf("%s[%d]", list, i), "action": "remove", "before": name, "text": "offer " + name + " is withdrawn; its VMs run on at their price"}
		if list == "datacenters" {
			c["action"], c["after"], c["text"] = "change", name, "kept: has servers"
		}
		changes = append(changes, c)
	}
	return changes
}

func (p *seller) invite(w http.ResponseWriter, body doc) {
	slug, _ := body["datacenter"].(string)
	if !slices.ContainsFunc(p.listing["datacenters"].([]any), func(d any) bool { return nameOf(d) == slug }) {
		refuse(w, http.StatusNotFound, fmt.Sprintf("provider %s has no datacenter %q; add it to the listing and apply that", p.name, slug))
		return
	}
	name, _ := body["name"].(string)
	if name == "" {
		name = fmt.Sprintf("rack%d", len(p.servers)+1)
	}
	p.servers = append(p.servers, doc{
		"id": fmt.Sprintf("srv_%d", len(p.servers)+1), "name": name, "state": "open", "offer": body["offer"], "datacenter": slug,
		"heardAt": "2026-01-31T12:00:00Z", "unreachableSince": nil, "problem": nil, "drainDeadline": nil,
		"capacity": doc{"vcpu": 64, "ramGib": 256, "storageGib": 3500, "addresses": 8}, "used": doc{"vcpu": 2, "ramGib": 4, "storageGib": 25, "addresses": 1},
		"hardware": doc{"cpu": doc{"manufacturer": "AMD", "brand": "EPYC 9354P", "architecture": "Zen", "generation": "4"}, "memory": doc{"type": "DDR", "generation": "5"}, "storage": doc{"type": "NVMe"}},
		"details": doc{
			"sockets": 1, "cores": 32, "threads": 64, "memoryGib": 256, "disks": []doc{{"name": "nvme0n1", "type": "NVMe", "sizeGib": 3576, "model": "Sample 3.8T"}}, "addresses": []string{"203.0.113.7"},
		},
		"declared": []string{"hardware.memory.generation", "total.ram_gib"}, "vms": 1,
		"measured": doc{"at": "2026-01-31T11:00:00Z", "ageSeconds": 10800, "cpuSingle": 1034.4, "cpuAll": 28110.9, "memory": 41000, "diskRead": 3100, "diskWrite": 2400, "diskIops": 11800, "diskFsync": 0.084, "network": 0, "note": "the control plane did not answer"},
	})
	answer(w, http.StatusCreated, doc{"token": "join_9", "expiresAt": time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC).Add(time.Duration(body["validHours"].(float64)) * time.Hour)})
}

func (p *seller) server(w http.ResponseWriter, path []string, body doc) {
	i := slices.IndexFunc(p.servers, func(v doc) bool { return v["name"] == path[0] || v["id"] == path[0] })
	if i < 0 {
		refuse(w, http.StatusNotFound, "no such server")
		return
	}
	v := p.servers[i]
	switch verb := strings.Join(path[1:], "/"); verb {
	case "": // with all there is to tell
		v = clone(v)
		v["timeline"] = []doc{{"at": "2026-01-31T12:00:00Z", "text": "joined"}, {"at": "2026-01-31T12:00:09Z", "text": "sold by standard"}}
		v["virtualMachines"] = []doc{{"id": "0x11000000000000000000000000000000000001Ab", "status": "Active", "createdAt": "2026-01-31T12:00:41Z"}}
	case "cordon":
		v["state"] = "cordoned"
	case "uncordon":
		v["state"], v["drainDeadline"] = "open", nil
	case "drain":
		left, err := time.ParseDuration(body["deadline"].(string))
		if err != nil {
			refuse(w, http.StatusUnprocessableEntity, err.Error())
			return
		}
		v["state"], v["drainDeadline"] = "draining", time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC).Add(left)
	case "remove":
		if body["lost"] == true {
			if v["unreachableSince"] == nil {
				refuse(w, http.StatusConflict, "server is not lost: its agent was heard")
				return
			}
			v["vms"], v["lostReason"] = 0, body["reason"]
		}
		if v["vms"] != 0 {
			refuse(w, http.StatusConflict, "1 VM is on it; drain it first")
			return
		}
		v["state"] = "removed"
	case "benchmark":
	default:
		refuse(w, http.StatusNotFound, "no such path; see /docs")
		return
	}
	answer(w, http.StatusOK, v)
}

func clone(v doc) (copied doc) {
	text, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(text, &copied)
	}
	if err != nil {
		return doc{"error": err.Error()}
	}
	return copied
}

func (p *seller) terminate(w http.ResponseWriter, id string, body doc) {
	if reason, _ := body["reason"].(string); reason == "" || len(p.servers) == 0 || !strings.HasPrefix(id, "0x11") {
		refuse(w, http.StatusNotFound, fmt.Sprintf("no VM with id %q", id))
		return
	}
	p.servers[0]["vms"] = 0
	answer(w, http.StatusOK, doc{"id": id, "status": "Terminated", "returned": "0.42"})
}

func (p *seller) earnings(w http.ResponseWriter, r *http.Request) {
	by, since := r.URL.Query().Get("by"), r.URL.Query().Get("since")
	keys := map[string]string{"vm": "0x11000000000000000000000000000000000001Ab", "server": "srv_1", "day": "2026-01-31"}
	rows := []doc{{"key": keys[by], by: keys[by], "charged": "1.68", "returned": "0.42", "net": "1.26", "epochs": 2}}
	if by == "server" {
		rows[0]["server"] = "rack1" // its name, beside the id
	}
	if since > "2026-02-01" {
		rows = []doc{}
	}
	answer(w, http.StatusOK, doc{"pending": "0.84", "earned": "12.6", "withdrawing": "5", "withdrawn": "20", "rows": rows})
}
