package api

import (
	"net/http"
	"strings"

	"github.com/cpucloud/cpucloud/internal/account"
)

// authenticate returns who sent the request. It is the only place that does.
func (a *api) authenticate(r *http.Request) (account.Actor, error) {
	return a.control.Authenticate(r.Context(), apiKey(r.Header))
}

// apiKey returns the key out of any of its three spellings. X-API-KEY wins.
func apiKey(h http.Header) string {
	if key := strings.TrimSpace(h.Get("X-API-KEY")); key != "" {
		return key
	}
	scheme, key, _ := strings.Cut(strings.TrimSpace(h.Get("Authorization")), " ")
	if strings.EqualFold(scheme, "Bearer") || strings.EqualFold(scheme, "X-API-KEY") {
		return strings.TrimSpace(key)
	}
	return ""
}
