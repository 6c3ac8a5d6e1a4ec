package cli_test

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// shop is the market of a stub: offers are alike but for their names and
// prices, stand in the US in tier 3, and have room for 4 VMs.
type shop struct {
	offers   int   // how many, 1 unless told
	searched []doc // the bodies of searches
	asked    []doc // the bodies of requests for an explanation
	silent   bool  // explanations fail
	quotes   []doc // the bodies of requests for quotes, by number
	taken    []string
}

// trade answers the routes of the market.
func (s *stub) trade(w http.ResponseWriter, route string, body doc) {
	switch route {
	case "POST /v1/offers":
		s.market.search(w, body)
	case "POST /v1/offers/explain":
		s.market.explain(w, body)
	case "POST /v1/quotes":
		s.market.quote(w, body)
	case "POST /v1/vms":
		s.placed = append(s.placed, body)
		if id, ok := body["quoteId"].(string); ok && !s.market.take(w, id) {
			return
		}
		s.deploy(w, body)
	}
}

// unmet returns the refusal of a request, "" when it can be met.
func unmet(body doc) string {
	want, _ := body["constraints"].(doc)
	if excludes(want) {
		return "No suitable offer found"
	}
	if n, _ := body["instances"].(float64); n > 4 {
		return "Not enough offers found"
	}
	return ""
}

func excludes(want doc) bool {
	place, placed := want["datacenter"].(doc)
	tier, _ := want["minTier"].(float64)
	return placed && !slices.Contains(place["countries"].([]any), any("US")) || tier > 3
}

func (m *shop) search(w http.ResponseWriter, body doc) {
	m.searched = append(m.searched, body)
	limit, told := body["limit"].(float64)
	if !told {
		limit = 100
	}
	if limit < 1 || limit > 1000 {
		refuse(w, http.StatusUnprocessableEntity, fmt.Sprintf("limit is %v; it has to be within 1 to 1000", limit))
		return
	}
	behind, _ := body["cursor"].(string)
	from, _ := strconv.Atoi(strings.TrimPrefix(behind, "from"))
	list, total := []doc{}, max(m.offers, 1)
	if excludes(body) {
		total = 0
	}
	for n := from; n < total && len(list) < int(limit); n++ {
		list = append(list, summary(n))
	}
	var next any
	if end := from + len(list); end < total {
		next = fmt.Sprintf("from%d", end)
	}
	answer(w, http.StatusOK, doc{"offers": list, "next": next})
}

func summary(n int) doc {
	o := doc{
		"configuration": doc{"slug": "cpu-2-ram-4gb-storage-25gb", "price": "0.84"}, "offer": fmt.Sprintf("epyc-%d", n+1), "provider": "Example Hosting",
		"datacenter": datacenter("US", "NYC"),
		"hardware": doc{
			"cpu":    doc{"manufacturer": "AMD", "brand": "EPYC", "architecture": "Zen", "generation": "4"},
			"memory": doc{"type": "DDR", "generation": "5"}, "storage": doc{"type": "NVMe"},
		},
		"vcpuPerThread": 1, "prices": doc{"vcpu": "0.2", "ram": "0.06", "storage": "0.002", "address": "0.1"},
		"servers": 2, "instances": 4, "maxExtraStorageGib": 200, "measured": nil,
	}
	if n == 1 { // the second is oversold, and measured
		o["vcpuPerThread"], o["maxExtraStorageGib"] = 4, 0
		o["measured"] = doc{
			"servers": 2, "oldest": "2026-01-28T12:00:00Z", "cpuSingle": doc{"worst": 990.5, "best": 1012.25}, "diskFsync": doc{"worst": 2.5, "best": 0.5},
		}
	}
	return o
}

func (m *shop) explain(w http.ResponseWriter, body doc) {
	m.asked = append(m.asked, body)
	if m.silent {
		refuse(w, http.StatusInternalServerError, "internal error")
		return
	}
	e := doc{
		"servers": 3, "matching": 0,
		"reasons": []doc{
			{"constraint": "datacenter.countries", "wanted": "FR", "alone": 3, "inOrder": 3},
			{"constraint": "maxTotalPricePerEpochUsd", "wanted": "0.2", "alone": 2, "inOrder": 0},
			{"constraint": "open", "wanted": "a server that takes new VMs", "alone": 0, "inOrder": 0},
			{"constraint": "room", "wanted": "2 vCPU", "alone": 1, "inOrder": 0},
		},
		"relaxations": []doc{{
			"constraint": "maxTotalPricePerEpochUsd", "change": "raise maxTotalPricePerEpochUsd from 0.2 to 0.31", "price": "0.31",
			"configuration": "cpu-2-ram-4gb-storage-25gb", "instances": body["instances"],
		}},
	}
	if unmet(body) == "" {
		e["matching"], e["relaxations"] = 2, []doc{}
		e["reasons"] = []doc{{"constraint": "room", "wanted": "2 vCPU", "alone": 1, "inOrder": 1}}
	}
	answer(w, http.StatusOK, e)
}

func (m *shop) quote(w http.ResponseWriter, body doc) {
	if why := unmet(body); why != "" {
		refuse(w, http.StatusUnprocessableEntity, why)
		return
	}
	if hold := body["holdSeconds"].(float64); hold < 60 || hold > 300 {
		refuse(w, http.StatusUnprocessableEntity, fmt.Sprintf("a quote holds for 1m0s to 5m0s, not %vs", hold))
		return
	}
	m.quotes = append(m.quotes, body)
	answer(w, http.StatusCreated, doc{
		"quoteId": fmt.Sprintf("quo_%d", len(m.quotes)), "expiresAt": "2026-01-31T12:02:00Z", "configuration": "cpu-2-ram-4gb-storage-25gb", "storageGib": 25,
		"depositAmountUsdc": "3.36", "depositEpochs": 2, "totalPricePerEpoch": "1.68", "maxPricePerEpoch": "0.84", "instances": body["instances"],
	})
}

// take takes a quote, or refuses and returns false.
func (m *shop) take(w http.ResponseWriter, id string) bool {
	n, _ := strconv.Atoi(strings.TrimPrefix(id, "quo_"))
	switch {
	case n < 1 || n > len(m.quotes):
		refuse(w, http.StatusNotFound, fmt.Sprintf("no quote with id %q", id))
		return false
	case slices.Contains(m.taken, id):
		refuse(w, http.StatusConflict, "quote "+id+" has expired or was used; ask for a new one")
		return false
	}
	m.taken = append(m.taken, id)
	return true
}
