package console_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/console"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/store"
)

func newControl(t *testing.T, images ...control.Image) *control.Service {
	t.Helper()
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "cloud.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	c, err := control.New(t.Context(), control.Config{
		Store: db, Now: time.Now, Rand: rand.Reader, Log: slog.New(slog.DiscardHandler), Epoch: 24 * time.Hour, Launch: time.Hour, Images: images,
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// join adds a server in the city at a price per vCPU and nothing else.
func join(t *testing.T, c *control.Service, city string, vcpu int64) {
	t.Helper()
	token, err := c.Invite(t.Context(), control.System, control.Invitation{
		Provider:   "<script>alert(1)</script>",
		Datacenter: market.Datacenter{Country: "US", City: city, Index: 1, Tier: 3, Certifications: []string{"<b>ISO</b>"}},
		Prices:     market.Prices{VCPU: 1_000 * 1_000}, Valid: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	key, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Enroll(t.Context(), token, key, capacity.Inventory{
		Total: capacity.Vector{VCPU: vcpu, RAMGiB: 2 * vcpu, StorageGiB: 1000, Addresses: 100}, Pool: netip.MustParsePrefix("203.0.113.0/24"),
	})
	if err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, c *control.Service, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://cloud.example"+path, nil)
	console.Handler(c, console.Config{Version: "v-test", Log: slog.New(slog.DiscardHandler)}).ServeHTTP(w, r)
	return w
}

func TestStartPage(t *testing.T) {
	t.Parallel()
	c := newControl(t, control.Image{Slug: "ubuntu-24-04-x64", Distribution: "Ubuntu", Name: "24.04 (LTS) x64"})
	join(t, c, "NYC", 4)
	join(t, c, "LAX", 2)
	w := get(t, c, "/")
	page := w.Body.String()
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "text/html; charset=utf-8" {
		t.Fatalf("got %d %s", w.Code, w.Header().Get("Content-Type"))
	}
	for _, want := range []string{
		"v-test", "cpu-2-ram-4gb-storage-25gb", ">2</td>", "us-lax-1", "us-nyc-1", "ubuntu-24-04-x64", "http://cloud.example/marketplace/offers",
		`href="/docs"`, `href="/docs/openapi.yaml"`, `href="/healthz"`, "cpucloud vm create", "demo.env", "&lt;b&gt;ISO&lt;/b&gt;",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, bad := range []string{"<script", "<style", " style=", "onclick", "<b>ISO", "cpu-8-"} {
		if strings.Contains(page, bad) {
			t.Errorf("the page holds %q", bad)
		}
	}
	if policy := w.Header().Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
		t.Errorf("policy %q", policy)
	}
}

// An empty marketplace says how a server joins.
func TestEmptyStartPage(t *testing.T) {
	t.Parallel()
	page := get(t, newControl(t), "/").Body.String()
	if !strings.Contains(page, "Nothing is free") || !strings.Contains(page, "cpucloud agent") || strings.Contains(page, "<table>") {
		t.Errorf("got %s", page)
	}
}

func TestAssets(t *testing.T) {
	t.Parallel()
	c := newControl(t)
	for path, want := range map[string]string{"/console/style.css": "text/css; charset=utf-8", "/console/icon.svg": "image/svg+xml"} {
		if w := get(t, c, path); w.Code != http.StatusOK || w.Header().Get("Content-Type") != want || w.Body.Len() == 0 {
			t.Errorf("GET %s: %d %s", path, w.Code, w.Header().Get("Content-Type"))
		}
	}
	for _, path := range []string{"/console/", "/console/start.html", "/console/../console.go", "/other"} {
		if w := get(t, c, path); w.Code == http.StatusOK {
			t.Errorf("GET %s is served", path)
		}
	}
}

// A database that doesn't answer makes a sentence, and its error only a log line.
func TestStartPageWithoutStore(t *testing.T) {
	t.Parallel()
	c := newControl(t)
	if err := c.Store.Close(); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	console.Handler(c, console.Config{Log: slog.New(slog.NewTextHandler(&log, nil))}).ServeHTTP(w, r)
	if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "sql") || !strings.Contains(log.String(), "start page") {
		t.Errorf("got %d %s, logged %s", w.Code, w.Body.String(), log.String())
	}
}
