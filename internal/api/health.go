package api

import "net/http"

var healthz = operation{
	method: http.MethodGet, path: "/healthz", id: "healthz", tag: "Health", access: public,
	summary:  "Is the process alive",
	response: `{"status": "ok", "version": "v1.0.0"}`,
}

var readyz = operation{
	method: http.MethodGet, path: "/readyz", id: "readyz", tag: "Health", access: public,
	summary:  "Can it serve",
	response: `{"status": "ok", "version": "v1.0.0"}`,
	refusals: map[int]string{http.StatusServiceUnavailable: "the store does not answer"},
}

type health struct {
	Status  string `json:"status" enum:"ok"`
	Version string `json:"version"`
}

func (a *api) healthz(*call, none) (health, error) {
	return health{Status: "ok", Version: a.Version}, nil
}

func (a *api) readyz(c *call, _ none) (health, error) {
	return health{Status: "ok", Version: a.Version}, a.control.Ready(c.Context())
}
