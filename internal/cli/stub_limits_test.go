package cli_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// purse is what accounts and API keys of the stub may spend. A key named first is
// the one that asks.
type purse struct {
	own, operator doc
	keys          []doc
	dry           bool // what would be new has no id, and no secret
}

// allowance returns limits with what is used of them.
func allowance(own, operator doc) doc {
	used := doc{"perDay": "0.84", "perMonth": "61.5", "running": "1.68"}
	all := doc{}
	for name := range used {
		limit := own[name]
		if o, ok := operator[name].(string); ok && (limit == nil || len(o) < len(limit.(string)) || o < limit.(string)) {
			limit = o
		}
		all[name] = doc{"limit": limit, "used": used[name], "own": own[name], "operator": operator[name]}
	}
	return all
}

func (k *purse) spending() doc {
	all := allowance(k.own, k.operator)
	all["key"] = with(allowance(nil, nil), doc{"id": "key_1"})
	return all
}

// ask answers the routes of limits and API keys.
func (k *purse) ask(w http.ResponseWriter, route string, body doc) {
	if k.keys == nil {
		k.keys = []doc{{"id": "key_1", "name": "first", "role": "customer", "createdAt": "2026-01-31T12:00:00Z", "current": true, "manages": true, "limits": doc{}}}
	}
	switch route {
	case "PUT /v1/account/limits":
		k.own = body
		answer(w, http.StatusOK, k.spending())
	case "GET /v1/account/limits":
		answer(w, http.StatusOK, k.spending())
	case "PUT /v1/admin/accounts/acc_1/limits":
		k.operator = body
		answer(w, http.StatusOK, allowance(k.own, k.operator))
	case "GET /v1/admin/accounts/acc_1/limits":
		answer(w, http.StatusOK, allowance(k.own, k.operator))
	case "GET /v1/api-keys":
		list := []doc{}
		for _, key := range k.keys {
			list = append(list, shown(key))
		}
		answer(w, http.StatusOK, list)
	case "POST /v1/api-keys":
		key := doc{
			"id": fmt.Sprint("key_", len(k.keys)+1), "name": body["name"], "role": "customer", "createdAt": "2026-01-31T12:00:00Z", "current": false,
			"manages": false, "limits": body["limits"],
		}
		k.keys = append(k.keys, key)
		made := doc{"apiKey": "cpu_new"}
		if k.dry {
			made = doc{"apiKey": "", "id": ""}
		}
		answer(w, http.StatusCreated, with(shown(key), made))
	default:
		k.change(w, route, body)
	}
}

func shown(key doc) doc { return with(allowance(key["limits"].(doc), nil), key) }

// change answers the routes of one API key.
func (k *purse) change(w http.ResponseWriter, route string, body doc) {
	method, path, _ := strings.Cut(route, " /v1/api-keys/")
	id, _, _ := strings.Cut(path, "/")
	i := slices.IndexFunc(k.keys, func(key doc) bool { return key["id"] == id })
	switch {
	case i == 0:
		refuse(w, http.StatusConflict, "no API key without limits would be left to manage the others; make another one first")
	case method == http.MethodPut:
		k.keys[i] = with(maps.Clone(k.keys[i]), doc{"limits": body})
		answer(w, http.StatusOK, shown(k.keys[i]))
	default:
		k.keys = slices.Delete(slices.Clone(k.keys), i, i+1)
		w.WriteHeader(http.StatusNoContent)
	}
}

// rehearse answers a dry run: as ever, and then all is as it was. A deployment is
// answered with a plan.
func (s *stub) rehearse(w http.ResponseWriter, r *http.Request, body doc) {
	w.Header().Set("Cpucloud-Dry-Run", "true")
	balance, purse, vms, keys := s.balance, s.purse, make([]doc, len(s.vms)), slices.Clone(s.keys)
	exports := slices.Clone(s.exports)
	for i, v := range s.vms {
		vms[i] = maps.Clone(v)
	}
	payouts := make([]doc, len(s.payouts))
	for i, w := range s.payouts {
		payouts[i] = maps.Clone(w)
	}
	sellers, servers := slices.Clone(s.sellers), map[*seller][]doc{}
	for _, p := range s.sellers {
		servers[p] = nil
		for _, v := range p.servers {
			servers[p] = append(servers[p], maps.Clone(v))
		}
	}
	defer func() {
		s.balance, s.purse, s.vms, s.keys, s.payouts = balance, purse, vms, keys, payouts
		s.sellers, s.exports = sellers, exports
		for p, list := range servers {
			p.servers = list
		}
	}()
	if s.purse.dry = true; r.URL.Path != "/v1/vms" {
		s.route(w, r, body)
		return
	}
	s.rehearsed = append(s.rehearsed, body)
	if why := unmet(body); why != "" {
		refuse(w, http.StatusUnprocessableEntity, why)
		return
	}
	answer(w, http.StatusOK, doc{
		"dryRun": true, "depositAmountUsdc": "1.68", "depositEpochs": 2, "totalPricePerEpoch": "0.84", "maxPricePerEpoch": "0.84", "instances": body["instances"],
		"balanceAfter": "98.32", "limits": s.purse.spending(),
	})
}
