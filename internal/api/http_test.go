package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/api"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/store"
)

// contract is the published API.
var contract = [][2]string{
	{"POST", "/marketplace/offers"},
	{"GET", "/marketplace/basic_configurations"},
	{"GET", "/marketplace/countries"},
	{"GET", "/marketplace/hardware"},
	{"GET", "/v1/marketplace/datacenters"},
	{"POST", "/vms/v3"},
	{"GET", "/vms/v3"},
	{"PATCH", "/vms/v3"},
	{"DELETE", "/vms/v3"},
	{"GET", "/vms/v3/status"},
	{"GET", "/vms/v3/default_images"},
	{"POST", "/vms/v3/estimate"},
	{"GET", "/ssh_keys"},
	{"POST", "/ssh_keys"},
	{"DELETE", "/ssh_keys"},
}

// admin is what only operators may do.
var admin = [][2]string{
	{"GET", "/v1/admin/accounts"},
	{"POST", "/v1/admin/accounts"},
	{"GET", "/v1/admin/accounts/x/balance"},
	{"PUT", "/v1/admin/accounts/x/balance"},
	{"POST", "/v1/admin/accounts/x/credit"},
	{"GET", "/v1/admin/accounts/x/payments"},
	{"GET", "/v1/admin/withdrawals"},
	{"POST", "/v1/admin/withdrawals/x/confirm"},
	{"POST", "/v1/admin/withdrawals/x/reject"},
	{"GET", "/v1/admin/accounts/x/limits"},
	{"PUT", "/v1/admin/accounts/x/limits"},
	{"POST", "/v1/admin/join-tokens"},
	{"POST", "/v1/admin/clock"},
}

// revoked returns a key of the customer that was revoked.
func (c *cloud) revoked() string {
	c.t.Helper()
	const secret = "cpu_revoked"
	err := c.store.Write(c.t.Context(), func(tx *store.Tx) error {
		return tx.InsertKey(c.t.Context(), account.Key{
			ID: "key_revoked", AccountID: c.account, Name: "old", Hash: account.HashKey(secret), Role: account.Operator,
			CreatedAt: c.control.Now(), RevokedAt: c.control.Now(),
		})
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return secret
}

// No operation does anything for a key that isn't good, and none reads the body first.
func TestKeys(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	revoked := c.revoked()
	own := [][2]string{
		{"GET", "/v1/account"},
		{"GET", "/v1/account/events"},
		{"GET", "/v1/billing/history"},
		{"GET", "/v1/billing/spend"},
		{"GET", "/v1/billing/statement"},
		{"GET", "/v1/vms/" + unknown},
		{"GET", "/v1/account/limits"},
		{"PUT", "/v1/account/limits"},
		{"GET", "/v1/api-keys"},
		{"POST", "/v1/api-keys"},
		{"PUT", "/v1/api-keys/x/limits"},
		{"DELETE", "/v1/api-keys/x"},
	}
	every := slices.Concat(own, contract, admin)
	c.unchanged("a bad key", func() {
		for _, op := range every {
			for _, key := range []string{"", "wrong", c.key + "x", strings.ToUpper(c.key), revoked, strings.Repeat("k", 10_000)} {
				c.sendAs(key, op[0], op[1], "not JSON").refused(403, "Auth failed. No such API Key")
			}
		}
		for _, op := range admin {
			c.send(op[0], op[1], "not JSON").refused(403, "operator")
		}
	})
}

// A key has three spellings; X-API-KEY comes first.
func TestKeySpellings(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	for _, headers := range [][]string{
		{"X-API-KEY: " + c.key},
		{"x-api-key: " + c.key},
		{"Authorization: Bearer " + c.key},
		{"Authorization: bearer  " + c.key + " "},
		{"Authorization: X-API-KEY " + c.key},
		{"X-API-KEY: " + c.key, "Authorization: Bearer wrong"},
	} {
		c.sendAs("", "GET", "/vms/v3", "", headers...).wants(http.StatusOK, nil)
	}
	for _, headers := range [][]string{
		{"X-API-KEY: wrong", "Authorization: Bearer " + c.key},
		{"Authorization: " + c.key},
		{"Authorization: Basic " + c.key},
		{"Authorization: Bearer"},
		{"Cookie: X-API-KEY=" + c.key},
	} {
		c.sendAs("", "GET", "/vms/v3", "", headers...).refused(403, "Auth failed")
	}
	c.sendAs("", "GET", "/vms/v3?api_key="+c.key, "").refused(403, "Auth failed")
}

// Paths and methods that aren't served answer like everything else.
func TestUnserved(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	for _, path := range []string{"/nowhere", "/vms", "/vms/v3/", "/vms/v3/x", "/v1", "/docs/nothing", "/v1/vms/"} {
		for _, method := range []string{"GET", "POST", "DELETE", "OPTIONS", "BREW"} {
			c.send(method, path, "").refused(404, "no such path")
		}
	}
	for _, row := range [][3]string{
		{"PUT", "/vms/v3", "GET, POST, PATCH, DELETE"},
		{"GET", "/marketplace/offers", "POST"},
		{"POST", "/marketplace/countries", "GET"},
		{"OPTIONS", "/ssh_keys", "GET, POST, DELETE"},
		{"PATCH", "/v1/vms/x", "GET, DELETE"},
		{"POST", "/docs", "GET"},
		{"POST", "/healthz", "GET"},
	} {
		a := c.send(row[0], row[1], "")
		a.refused(405, row[2])
		if got := a.header.Get("Allow"); got != row[2] {
			t.Errorf("%s %s allows %q, want %q", row[0], row[1], got, row[2])
		}
	}
	c.send("HEAD", "/vms/v3", "").wants(http.StatusOK, nil)
}

// Bodies that aren't JSON objects, for every operation that reads one.
func TestMalformed(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	reading := [][2]string{
		{"POST", "/marketplace/offers"},
		{"POST", "/vms/v3"},
		{"PATCH", "/vms/v3"},
		{"DELETE", "/vms/v3"},
		{"POST", "/vms/v3/estimate"},
		{"POST", "/ssh_keys"},
		{"DELETE", "/ssh_keys"},
	}
	c.unchanged("a malformed body", func() {
		for _, op := range reading {
			for body, says := range map[string]string{
				"{": "not JSON", "{}{}": "not JSON", "{} x": "not JSON", `{"a": NaN}`: "not JSON", "{'a': 1}": "not JSON", "\xef\xbb\xbf{}": "not JSON",
				`{"a": "` + "\xff" + `"}`: "UTF-8", "[]": "the body has to be an object, not array", `"x"`: "the body has to be an object, not string",
				"7": "the body has to be an object, not number", "true": "the body has to be an object, not bool",
				`{"a":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + "}": "not JSON",
			} {
				c.send(op[0], op[1], body).refused(400, says)
			}
			c.send(op[0], op[1], "{}", "Content-Encoding: gzip").refused(400, "compressed")
			c.send(op[0], op[1], `{"a": "`+strings.Repeat("x", 1<<20)+`"}`).refused(413, "larger")
		}
	})
	almost := `{"a": "` + strings.Repeat("x", 1<<20-9) + `"}`
	c.send("POST", "/marketplace/offers", almost).wants(http.StatusOK, nil)
}

// broken is a body that ends before its length.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("connection reset") }

func TestBodyCutShort(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	r := httptest.NewRequestWithContext(t.Context(), "POST", "/vms/v3", broken{})
	r.Header.Set("X-API-KEY", c.key)
	w := httptest.NewRecorder()
	c.handler.ServeHTTP(w, r)
	answer{t, "a body cut short", w.Code, w.Header(), w.Body.String()}.refused(400, "ended early")
}

// Every answer carries an id of its own and headers for browsers.
func TestHeaders(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	seen := map[string]bool{}
	for _, path := range []string{"/vms/v3", "/nowhere", "/healthz", "/docs", "/docs/openapi.json"} {
		a := c.send("GET", path, "")
		requestID := a.header.Get("X-Request-Id")
		if !strings.HasPrefix(requestID, "req_") || seen[requestID] {
			t.Errorf("GET %s: request id %q", path, requestID)
		}
		seen[requestID] = true
		if a.header.Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(a.header.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("GET %s: headers %v", path, a.header)
		}
	}
}

// What is our own fault is logged with the request's id, and not shown.
func TestInternalErrors(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	var log bytes.Buffer
	handler := api.New(c.control, api.Config{Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err := c.store.Close(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Reset() })
	ask := func(ctx context.Context, path string) answer {
		r := httptest.NewRequestWithContext(ctx, "GET", path, nil)
		r.Header.Set("X-API-KEY", c.key)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return answer{t, path, w.Code, w.Header(), w.Body.String()}
	}
	a := ask(t.Context(), "/vms/v3")
	requestID := a.header.Get("X-Request-Id")
	a.refused(500, "internal error (request "+requestID+")")
	if strings.Contains(a.body, "sql") || strings.Contains(a.body, "database") || !strings.Contains(log.String(), "request_id="+requestID) {
		t.Errorf("shown %s, logged %s", a.body, log.String())
	}
	if strings.Contains(log.String(), c.key) {
		t.Error("the log holds the API key")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	ask(ended, "/vms/v3").refused(503, "try again")
	ask(t.Context(), "/readyz").refused(503, "store")
	ask(t.Context(), "/healthz").wants(http.StatusOK, nil)
}

// A panic is answered, and the next request is served.
func TestPanic(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	var log bytes.Buffer
	crippled := &control.Service{Config: control.Config{Now: c.control.Now, Rand: c.control.Rand}} // has no store
	handler := api.New(crippled, api.Config{Log: slog.New(slog.NewTextHandler(&log, nil))})
	for range 2 {
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/vms/v3", nil)
		r.Header.Set("X-API-KEY", "some")
		handler.ServeHTTP(w, r)
		answer{t, "a panic", w.Code, w.Header(), w.Body.String()}.refused(500, "internal error (request req_")
	}
	if !strings.Contains(log.String(), "panic") {
		t.Errorf("logged %s", log.String())
	}
}

func TestHealthAndDocs(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	for _, path := range []string{"/healthz", "/readyz"} {
		var health struct{ Status, Version string }
		c.sendAs("", "GET", path, "").wants(http.StatusOK, &health)
		if health.Status != "ok" || health.Version != "v-test" {
			t.Errorf("%s: %+v", path, health)
		}
	}
	for path, want := range map[string][2]string{
		"/docs":                      {"text/html", "swagger-ui-bundle.js"},
		"/docs/":                     {"text/html", "swagger-ui-bundle.js"},
		"/docs/start.js":             {"text/javascript", "openapi.json"},
		"/docs/openapi.json":         {"application/json", `"openapi": "3.1.0"`},
		"/docs/openapi.yaml":         {"application/yaml", "openapi: 3.1.0"},
		"/docs/swagger-ui-bundle.js": {"javascript", "SwaggerUIBundle"},
		"/docs/swagger-ui.css":       {"text/css", ".swagger-ui"},
		"/docs/favicon-32x32.png":    {"image/png", "PNG"},
	} {
		a := c.sendAs("", "GET", path, "")
		if a.status != 200 || !strings.Contains(a.header.Get("Content-Type"), want[0]) || !strings.Contains(a.body, want[1]) {
			t.Errorf("GET %s: %d %s, %d bytes", path, a.status, a.header.Get("Content-Type"), len(a.body))
		}
	}
	var document map[string]any
	if err := json.Unmarshal([]byte(c.sendAs("", "GET", "/docs/openapi.json", "").body), &document); err != nil {
		t.Error(err)
	}
	paths, _ := document["paths"].(map[string]any)
	for _, op := range append(contract, admin...) {
		item, _ := paths[strings.Replace(op[1], "/x/", "/{id}/", 1)].(map[string]any)
		if item[strings.ToLower(op[0])] == nil {
			t.Errorf("the document lacks %s %s", op[0], op[1])
		}
	}
}

// Over a real connection: whoever has no key is told so before the body is sent,
// however long it takes.
func TestKeyBeforeBody(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	server := httptest.NewServer(c.handler)
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	endless, w := io.Pipe()
	defer func() { _ = w.Close() }() // the pipe is not needed any more
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+"/vms/v3", endless)
	if err != nil {
		t.Fatal(err)
	}
	response, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusForbidden {
		t.Errorf("got %d, want 403 at once", response.StatusCode)
	}
}
