package api

import (
	"fmt"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/cpucloud/cpucloud/internal/id"
)

const requestIDHeader = "X-Request-Id"

// guard wraps every request: it gets an id, headers that keep browsers from
// doing anything with an answer, a line in the log, and a defined answer when
// the code panics.
func (a *api) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := a.control.Now()
		seen := &watched{ResponseWriter: w, status: http.StatusOK}
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		requestID, err := id.New("req", began, a.control.Rand)
		if err != nil {
			a.refuse(seen, r, fmt.Errorf("make request id: %w", err))
			return
		}
		h.Set(requestIDHeader, requestID)
		defer a.finish(seen, r, requestID, began)
		next.ServeHTTP(seen, r)
	})
}

// finish answers when the code has panicked, and writes the line in the log. It
// has to be deferred itself.
func (a *api) finish(seen *watched, r *http.Request, requestID string, began time.Time) {
	if cause := recover(); cause != nil {
		a.refuse(seen, r, fmt.Errorf("panic: %v\n%s", cause, debug.Stack()))
	}
	a.Log.DebugContext(r.Context(), "request", "request_id", requestID, "method", r.Method, "path", r.URL.Path,
		"status", seen.status, "took", a.control.Now().Sub(began).Round(time.Microsecond))
}

// watched remembers the status of an answer, for the log.
type watched struct {
	http.ResponseWriter
	status int
}

// WriteHeader remembers the status.
func (w *watched) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *watched) Unwrap() http.ResponseWriter { return w.ResponseWriter }
