package server_test

import (
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/server"
)

// start returns a server over a fresh folder, stopped when the test ends.
func start(t *testing.T, change func(*server.Config)) *server.Server {
	t.Helper()
	c := server.Config{
		Listen: "127.0.0.1:0", Database: filepath.Join(t.TempDir(), "cloud.db"), Version: "test",
		Epoch: 24 * time.Hour, Retention: time.Hour, Now: time.Now, Rand: rand.Reader, Log: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&c)
	}
	s, err := server.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(context.Background()); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	return s
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close() //nolint:errcheck // it was only read
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

func TestWhatAnswersWhere(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	for path, want := range map[string]int{
		"/": 200, "/healthz": 200, "/readyz": 200, "/docs": 200, "/docs/openapi.yaml": 200,
		"/vms/v3": 403, "/images/x.img": 404, "/nowhere": 404, "/agent/v1/sync": 405,
	} {
		if got, body := get(t, s.URL+path); got != want {
			t.Errorf("GET %s = %d %.80q, want %d", path, got, body, want)
		}
	}
}

// The image folder serves disk images that lie in it, and nothing else.
func TestImageFolder(t *testing.T) {
	t.Parallel()
	folder, secret := t.TempDir(), filepath.Join(t.TempDir(), "secret.img")
	for name, text := range map[string]string{
		filepath.Join(folder, "cpucloud-demo.qcow2"): "disk", filepath.Join(folder, "notes.txt"): "private", secret: "private",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(secret, filepath.Join(folder, "link.img")); err != nil {
		t.Fatal(err)
	}
	s := start(t, func(c *server.Config) { c.Images = folder })
	if status, body := get(t, s.URL+"/images/cpucloud-demo.qcow2"); status != 200 || body != "disk" {
		t.Errorf("the image: %d %q, want 200 and its content", status, body)
	}
	for _, name := range []string{"", "notes.txt", "link.img", "../secret.img", "..%2fsecret.img", "a/b.img", ".img"} {
		if status, body := get(t, s.URL+"/images/"+name); status == 200 || strings.Contains(body, "private") {
			t.Errorf("GET /images/%s = %d %q, want a refusal", name, status, body)
		}
	}
}

func TestDefaultImages(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	_, key, err := s.Control.CreateAccount(t.Context(), control.System, "ann", account.Customer)
	if err != nil {
		t.Fatal(err)
	}
	images, err := client.New(s.URL, key).DefaultImages(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	has := func(distribution, name string) bool {
		for _, i := range images {
			if i.Distribution == distribution && strings.Contains(i.Name, name) && strings.HasPrefix(i.DownloadURL, "https://") {
				return true
			}
		}
		return false
	}
	for _, want := range [][2]string{{"Ubuntu", "24.04"}, {"Ubuntu", "22.04"}, {"Debian", "12"}, {"Debian", "13"}} {
		if !has(want[0], want[1]) {
			t.Errorf("%s %s is not among the default images %v", want[0], want[1], images)
		}
	}
}

// Only a server with a test clock lets it be moved.
func TestClock(t *testing.T) {
	t.Parallel()
	if _, err := start(t, nil).Control.AdvanceClock(t.Context(), control.System, time.Hour); !fault.Is(err, fault.Conflict) {
		t.Errorf("the real clock: %v, want a Conflict fault", err)
	}
	s := start(t, func(c *server.Config) { c.TestClock = true })
	before := s.Control.Now()
	after, err := s.Control.AdvanceClock(t.Context(), control.System, 24*time.Hour)
	if err != nil || after.Sub(before) < 24*time.Hour {
		t.Errorf("advanced from %s to %s, %v; want a day more", before, after, err)
	}
	if _, err := s.Control.AdvanceClock(t.Context(), control.System, -time.Hour); !fault.Is(err, fault.Invalid) {
		t.Errorf("backwards: %v, want an Invalid fault", err)
	}
}

func TestAddressInUse(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	_, err := server.Start(t.Context(), server.Config{Listen: strings.TrimPrefix(s.URL, "http://"), Log: slog.New(slog.DiscardHandler)})
	if !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "--listen") {
		t.Errorf("a second server on the address: %v; want an Unavailable fault that names --listen", err)
	}
}
