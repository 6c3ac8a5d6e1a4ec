package cli_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// The keys that a stub knows.
const (
	customerKey = "cpu_customer"
	operatorKey = "cpu_operator"
)

// doc is any JSON object.
type doc = map[string]any

// stub is a cloud that keeps to the published contract and has nothing behind
// it: a VM becomes Active when somebody waits for it. Names decide its fate:
// one that begins with "bad" fails, one that begins with "slow" takes a second look.
type stub struct {
	mu        sync.Mutex
	vms       []doc
	keys      []doc
	balance   string
	requests  map[string]any // answers of deployments by request id
	deployed  []doc          // the bodies of deployments
	placed    []doc          // those of them that have preferences or a quote
	market    shop
	rehearsed []doc     // the bodies of dry runs of deployments
	down      int       // how many calls are still answered with 503
	sellers   []*seller // providers
	payments  []string  // ids of credits
	payouts   []doc     // withdrawals
	purse     purse

	operations []doc
	snapshots  []doc
	exports    []doc
	schedule   doc
	asked      doc   // the body of the last operation on disks
	deleted    []doc // VMs that can be undeleted
	tries      int   // to reach a console
}

// newStub starts a stub that ends with the test.
func newStub(tb testing.TB) (*stub, *httptest.Server) {
	tb.Helper()
	s := &stub{balance: "100", requests: map[string]any{}}
	server := httptest.NewServer(s)
	tb.Cleanup(server.Close)
	return s, server
}

// add puts a VM into the stub and returns it.
func (s *stub) add(name, status string, ports ...doc) doc {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addVM(name, status, ports)
}

func (s *stub) addVM(name, status string, ports []doc) doc {
	n := len(s.vms) + 1
	v := doc{
		"id": fmt.Sprintf("0x%02d%036dAb", n*11, n), "vmName": name, "status": status, "pricePerEpoch": "0.84", "power": "on", "pricePowerOff": "0.62",
		"reservedBalance": "1.68", "totalSpent": "0", "osImage": "https://images.example/demo.qcow2", "publicIp": nil,
		"createdAt": "2026-01-31T12:00:00Z", "statusChangedAt": "2026-01-31T12:00:00Z", "nextBillingAt": nil, "terminatedAt": nil,
		"datacenter": datacenter("US", "NYC"), "ports": append([]doc{{"port": 22, "protocol": "tcp"}}, ports...),
		"resources": []doc{
			{"type": "VCPU", "supply": 2, "units": "vCPU", "quantity": 2, "details": doc{}, "metadata": doc{"manufacturer": "AMD", "architecture": "Zen"}},
			{"type": "RAM", "supply": 4, "units": "GiB", "quantity": 4, "details": doc{}, "metadata": doc{"type": "DDR", "generation": "5"}},
			{"type": "STORAGE", "supply": 25, "units": "GiB", "quantity": 25, "details": doc{}, "metadata": doc{"type": "NVMe"}},
		},
		"hostname": name, "reason": nil, "deadline": nil,
		"timeline": []doc{{"at": "2026-01-31T12:00:00Z", "text": "accepted at 0.84 USDC per epoch"}},
	}
	if status == "Active" {
		activate(v)
	}
	s.vms = append(s.vms, v)
	return v
}

func activate(v doc) {
	v["status"], v["publicIp"], v["statusChangedAt"], v["nextBillingAt"] = "Active", "127.77.0.5", "2026-01-31T12:00:41Z", "2026-02-01T12:00:41Z"
	v["reservedBalance"], v["totalSpent"] = "0.84", "0.84"
	v["timeline"] = append(v["timeline"].([]doc), doc{"at": "2026-01-31T12:00:41Z", "text": "answers on port 22"})
}

func datacenter(country, city string) doc {
	return doc{
		"id": "dc_" + strings.ToLower(country), "countryCode": country, "cityCode": city, "cityIndex": 1, "index": 1, "tier": 3,
		"certifications": []string{"ISO 27001"}, "slug": strings.ToLower(country + "-" + city + "-1"),
	}
}

// ServeHTTP answers as the contract says.
func (s *stub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/console") {
		s.enter(w, r)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("X-Request-Id", "req_7")
	key, admin := r.Header.Get("X-Api-Key"), strings.HasPrefix(r.URL.Path, "/v1/admin/")
	switch {
	case s.down > 0:
		s.down--
		refuse(w, http.StatusServiceUnavailable, "the server is starting")
		return
	case key != customerKey && key != operatorKey:
		refuse(w, http.StatusForbidden, "Auth failed. No such API Key")
		return
	case admin && key != operatorKey:
		refuse(w, http.StatusForbidden, "this needs an operator's API key")
		return
	}
	var body doc
	if r.Method != http.MethodGet {
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil && !errors.Is(err, io.EOF) {
			refuse(w, http.StatusBadRequest, err.Error())
			return
		}
	}
	if r.URL.Query().Get("dryRun") == "true" && !strings.HasSuffix(r.URL.Path, "/listing") {
		s.rehearse(w, r, body)
		return
	}
	s.route(w, r, body)
}

func (s *stub) route(w http.ResponseWriter, r *http.Request, body doc) {
	switch route := r.Method + " " + r.URL.Path; route {
	case "GET /marketplace/basic_configurations":
		answer(w, http.StatusOK, []string{"cpu-2-ram-4gb-storage-25gb", "cpu-4-ram-8gb-storage-25gb"})
	case "GET /marketplace/countries":
		answer(w, http.StatusOK, []string{"DE", "US"})
	case "GET /marketplace/hardware":
		answer(w, http.StatusOK, doc{
			"cpu": []doc{{"manufacturer": "AMD", "architecture": "Zen"}}, "memory": []doc{{"type": "DDR", "generation": "5"}}, "storage": []doc{{"type": "NVMe"}},
		})
	case "GET /v1/marketplace/datacenters":
		answer(w, http.StatusOK, []doc{datacenter("DE", "FRA"), datacenter("US", "NYC")})
	case "GET /vms/v3/default_images":
		answer(w, http.StatusOK, []doc{image("ubuntu-24-04-x64", "Ubuntu", "ubuntu", "noble"), image("cpucloud-demo", "CPU Cloud", "demo", "demo")})
	case "POST /vms/v3/estimate":
		if why := unmet(body); why != "" {
			refuse(w, http.StatusUnprocessableEntity, why)
			return
		}
		answer(w, http.StatusOK, doc{
			"depositAmountUsdc": "5.04", "depositEpochs": 2, "totalPricePerEpoch": "2.52", "maxPricePerEpoch": "0.84", "instances": body["instances"],
		})
	case "POST /vms/v3":
		s.deploy(w, body)
	case "GET /v1/vms":
		s.list(w, r)
	case "PATCH /vms/v3":
		s.update(w, body)
	case "POST /v1/vms/" + vmOf(r) + "/reboot", "POST /v1/vms/" + vmOf(r) + "/reset", "POST /v1/vms/" + vmOf(r) + "/shutdown", "POST /v1/vms/" + vmOf(r) + "/start":
		s.operate(w, r)
	case "POST /v1/vms/" + vmOf(r) + "/resize":
		if body["maxPricePerEpoch"] == nil {
			refuse(w, http.StatusUnprocessableEntity, "an epoch costs 1.66 USDC then, which is more than 0.84: agree to it by maxPricePerEpoch")
			return
		}
		s.operate(w, r)
	case "POST /v1/vms/" + vmOf(r) + "/undelete":
		s.undelete(w, r)
	case "DELETE /v1/vms/" + vmOf(r):
		s.deleted = slices.DeleteFunc(s.deleted, func(v doc) bool { return v["id"] == vmOf(r) })
		answer(w, http.StatusOK, doc{"id": vmOf(r), "keptUntil": nil})
	case "POST /v1/vms/" + vmOf(r) + "/console", "GET /v1/vms/" + vmOf(r) + "/console/log":
		s.console(w, r, body)
	case "POST /v1/vms/" + vmOf(r) + "/protect", "POST /v1/vms/" + vmOf(r) + "/unprotect":
		s.protect(w, r)
	case "GET /v1/metrics":
		s.latest(w)
	case "GET /v1/vms/" + vmOf(r) + "/metrics":
		s.metrics(w, r)
	case "PATCH /v1/vms/" + vmOf(r) + "/labels":
		s.label(w, r, body)
	case "GET /v1/operations/" + path.Base(r.URL.Path):
		s.operation(w, path.Base(r.URL.Path))
	case "PUT /v1/vms/" + vmOf(r) + "/ports":
		s.setPorts(w, r, body)
	case "POST /v1/vms/" + vmOf(r) + "/ports/confirm":
		answer(w, http.StatusOK, portsOf(s.vms[s.find(vmOf(r))], nil))
	case "DELETE /vms/v3":
		s.remove(w, body)
	case "GET /v1/account":
		answer(w, http.StatusOK, s.outlook())
	default:
		s.more(w, r, body, route)
	}
}

func (s *stub) more(w http.ResponseWriter, r *http.Request, body doc, route string) {
	id, isVM := strings.CutPrefix(route, "GET /v1/vms/")
	switch {
	case s.exporting(w, r, route):
	case s.snapshotting(w, r, body, route):
	case slices.Contains(turning, path.Base(r.URL.Path)), strings.Contains(r.URL.Path, "/disks"):
		s.turn(w, r, body)
	case isVM:
		s.one(w, r, id)
	case strings.HasPrefix(r.URL.Path, "/v1/offers"), route == "POST /v1/quotes", route == "POST /v1/vms":
		s.trade(w, route, body)
	case strings.HasPrefix(r.URL.Path, "/v1/api-keys"), strings.HasSuffix(r.URL.Path, "acc_1/limits"), strings.HasSuffix(r.URL.Path, "account/limits"):
		s.purse.ask(w, route, body)
	case strings.HasPrefix(r.URL.Path, "/v1/billing/"):
		s.bill(w, r)
	case strings.HasPrefix(r.URL.Path, "/v1/providers"):
		s.sell(w, r, body)
	case strings.HasSuffix(route, " /ssh_keys"):
		s.sshKeys(w, r, body)
	case route == "POST /v1/admin/accounts":
		answer(w, http.StatusCreated, doc{"id": "acc_2", "name": body["name"], "apiKey": "cpu_new"})
	case route == "GET /v1/admin/accounts":
		answer(w, http.StatusOK, []doc{s.account()})
	case strings.HasPrefix(r.URL.Path, "/v1/admin/accounts/") && !strings.HasPrefix(r.URL.Path, "/v1/admin/accounts/acc_1/"):
		refuse(w, http.StatusNotFound, "no such account")
	case route == "PUT /v1/admin/accounts/acc_1/balance", route == "POST /v1/admin/accounts/acc_1/credit":
		s.pay(w, body)
	case strings.HasPrefix(r.URL.Path, "/v1/admin/withdrawals"):
		s.judge(w, r, body)
	case route == "GET /v1/admin/accounts/acc_1/payments":
		answer(w, http.StatusOK, []doc{
			{"key": "deposit:operator:inv-7", "kind": "deposit", "amount": "12", "reason": "credit by the operator: invoice 7", "actor": "acc_0/key_0", "at": "2026-01-31T12:00:00Z"},
		})
	case route == "GET /v1/admin/accounts/acc_1/balance":
		answer(w, http.StatusOK, s.account())
	case route == "POST /v1/admin/join-tokens":
		if body["country"] != "US" || body["validHours"] != 48.0 || body["prices"].(doc)["vcpu"] != "0.5" {
			refuse(w, http.StatusUnprocessableEntity, fmt.Sprintf("not as the script asked: %v", body))
			return
		}
		answer(w, http.StatusCreated, doc{"token": "join_1", "expiresAt": "2026-02-01T12:00:00Z"})
	case route == "POST /v1/admin/clock":
		by, err := time.ParseDuration(body["advance"].(string))
		if err != nil {
			refuse(w, http.StatusUnprocessableEntity, err.Error())
			return
		}
		answer(w, http.StatusOK, doc{"now": time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC).Add(by)})
	default:
		refuse(w, http.StatusNotFound, "no such path; see /docs")
	}
}

func (s *stub) account() doc {
	return doc{"id": "acc_1", "name": "demo", "createdAt": "2026-01-31T12:00:00Z", "balance": s.balance, "reserved": "0.84", "spent": "0.84"}
}

func image(slug, distribution, user, file string) doc {
	return doc{
		"id": "img_" + slug, "name": "64 bit", "distribution": distribution, "slug": slug, "username": user,
		"downloadUrl": "https://images.example/" + file + ".qcow2", "createdAt": "2026-01-01T00:00:00Z", "updatedAt": "2026-01-01T00:00:00Z",
	}
}

func (s *stub) deploy(w http.ResponseWriter, body doc) {
	s.deployed = append(s.deployed, body)
	id, _ := body["requestId"].(string)
	if kept, ok := s.requests[id]; ok && id != "" {
		answer(w, http.StatusOK, kept)
		return
	}
	config := body["vmConfiguration"].(doc)
	name := config["name"].(string)
	why := unmet(body)
	switch {
	case why != "":
		refuse(w, http.StatusUnprocessableEntity, why)
		return
	case name == "poor":
		refuse(w, http.StatusUnprocessableEntity, "the deposit is 1.68 USDC (two epochs at 0.84), the balance is 1 USDC; 0.68 USDC are missing")
		return
	}
	var ports []doc
	if list, ok := config["openPorts"].([]any); ok {
		for _, p := range list {
			ports = append(ports, p.(doc))
		}
	}
	made := []doc{}
	for range int(body["instances"].(float64)) {
		v := s.addVM(name, "New", ports)
		v["osImage"] = config["osImage"]
		made = append(made, doc{"vmId": v["id"], "vmName": name})
	}
	s.requests[id] = made
	answer(w, http.StatusOK, made)
}

func (s *stub) list(w http.ResponseWriter, r *http.Request) {
	wanted := r.URL.Query().Get("status")
	if r.URL.Query().Has("deleted") {
		answer(w, http.StatusOK, slices.Concat([]doc{}, s.deleted))
		return
	}
	found := []doc{}
	for _, v := range s.vms {
		if chooses(r, v) && (wanted == "" || slices.Contains(strings.Split(wanted, ","), v["status"].(string))) {
			found = append(found, v)
		}
	}
	answer(w, http.StatusOK, found)
}

func (s *stub) find(id string) int {
	return slices.IndexFunc(s.vms, func(v doc) bool { return strings.EqualFold(v["id"].(string), id) })
}

func (s *stub) one(w http.ResponseWriter, r *http.Request, id string) {
	i := s.find(id)
	if i < 0 {
		refuse(w, http.StatusNotFound, fmt.Sprintf("no VM with id %q", id))
		return
	}
	v := s.vms[i]
	if r.URL.Query().Get("wait") != "" {
		advance(v)
	}
	answer(w, http.StatusOK, v)
}

// advance moves a VM that somebody waits for.
func advance(v doc) {
	name := v["vmName"].(string)
	switch {
	case v["status"] == "Active" || v["status"] == "Failed" || strings.HasPrefix(name, "never"):
	case strings.HasPrefix(name, "bad"):
		v["status"], v["reason"] = "Failed", "the image has a backing file"
	case strings.HasPrefix(name, "slow") && v["status"] == "New":
		v["status"] = "Launching"
		v["timeline"] = append(v["timeline"].([]doc), doc{"at": "2026-01-31T12:00:20Z", "text": "booting"})
	default:
		activate(v)
	}
}

func (s *stub) update(w http.ResponseWriter, body doc) {
	for _, u := range body["updates"].([]any) {
		change := u.(doc)
		v := s.vms[s.find(change["id"].(string))]
		if name, ok := change["vmName"]; ok {
			v["vmName"] = name
		}
		if ports, ok := change["openPorts"]; ok {
			v["ports"] = ports
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *stub) remove(w http.ResponseWriter, body doc) {
	for _, id := range body["vmIds"].([]any) {
		i := s.find(id.(string))
		s.vms[i]["keptUntil"] = "2026-02-01T12:00:00Z"
		s.deleted = append(s.deleted, s.vms[i])
		s.vms = slices.Delete(s.vms, i, i+1)
	}
	answer(w, http.StatusOK, doc{"removed_ids": body["vmIds"], "transactions": []doc{}})
}

func (s *stub) sshKeys(w http.ResponseWriter, r *http.Request, body doc) {
	switch r.Method {
	case http.MethodGet:
		answer(w, http.StatusOK, slices.Concat([]doc{}, s.keys))
	case http.MethodPost:
		line := body["publicKey"].(string)
		parts := append(strings.Fields(line), "", "")
		k := doc{
			"name": body["name"], "fingerprint": "SHA256:" + parts[1][len(parts[1])-6:], "algorithm": parts[0], "comment": parts[2],
			"publicKey": line, "public_key": line, "active": true, "createdAt": "2026-01-31T12:00:00Z",
		}
		if k["name"] == "" {
			k["name"] = nil
		}
		s.keys = append(s.keys, k)
		answer(w, http.StatusCreated, k)
	case http.MethodDelete:
		s.keys = slices.DeleteFunc(s.keys, func(k doc) bool { return k["fingerprint"] == body["fingerprint"] })
		answer(w, http.StatusOK, doc{})
	}
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a client that went away needs no answer
}

func refuse(w http.ResponseWriter, status int, text string) { answer(w, status, doc{"error": text}) }
