package image_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/image"
	"github.com/cpucloud/cpucloud/internal/image/guard"
)

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

func TestRestartFindsImagesAndSweepsTheRest(t *testing.T) {
	t.Parallel()

	content := disk(mib)
	s := serve(t, map[string]http.HandlerFunc{"/a.img": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(content) }})
	dir, address := t.TempDir(), s.URL+"/a.img?signature=secret"
	c := open(t, dir, nil)
	before, err := c.Get(t.Context(), image.Request{URL: address, DiskBytes: gib})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := image.New(image.Config{Dir: dir, Now: time.Now}); !fault.Is(err, fault.Conflict) {
		t.Errorf("a second cache in the folder: got %v, want a Conflict fault", err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil || !json.Valid(text) || strings.Contains(string(text), "secret") {
		t.Errorf("the index is %s (%v), want JSON without the signature", text, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "fetch-7.part"), content, 0o600); err != nil { // a crash's
		t.Fatal(err)
	}

	content = disk(2 * mib) // another image under the same address is not noticed
	c = open(t, dir, nil)
	if got := leftovers(t, dir); got != nil {
		t.Errorf("left over after a restart: %v", got)
	}
	after, err := c.Get(t.Context(), image.Request{URL: address, DiskBytes: gib})
	if err != nil || after != before {
		t.Errorf("after a restart: got %+v, %v, want %+v", after, err, before)
	}
	if n := s.count("/a.img"); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
	if _, err := c.Get(t.Context(), image.Request{URL: address, DiskBytes: mib - 1}); !fault.Is(err, fault.Invalid) {
		t.Errorf("a disk that is too small: got %v, want an Invalid fault", err)
	}
}

// An image never changes under the disks that lie on it, whatever the server
// answers the next time and whatever happened to the index.
func TestDamagedIndexCostsAFetchAndNoImage(t *testing.T) {
	t.Parallel()

	content := disk(mib)
	s := serve(t, map[string]http.HandlerFunc{"/a.img": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(content) }})
	dir := t.TempDir()
	c := open(t, dir, nil)
	first, err := c.Get(t.Context(), image.Request{URL: s.URL + "/a.img", DiskBytes: gib})
	if err != nil {
		t.Fatal(err)
	}
	for _, damage := range []string{"", "{", "null", "[]", `{"x":{"digest":"../../etc/passwd"}}`} {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "index.json"), []byte(damage), 0o600); err != nil {
			t.Fatal(err)
		}
		c = open(t, dir, nil)
		if b, err := c.Get(t.Context(), image.Request{URL: s.URL + "/a.img", DiskBytes: gib}); err != nil || b != first {
			t.Errorf("index %q: got %+v, %v, want %+v", damage, b, err, first)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "index.json")); err != nil {
		t.Fatal(err)
	}
	content = disk(2 * mib)
	c = open(t, dir, nil)
	second, err := c.Get(t.Context(), image.Request{URL: s.URL + "/a.img", DiskBytes: gib})
	if err != nil || second.Digest == first.Digest {
		t.Errorf("changed content: got %+v, %v, want another digest than %s", second, err, first.Digest)
	}
	if got, err := os.ReadFile(first.Path); err != nil || !bytes.Equal(got, disk(mib)) {
		t.Errorf("the first image has changed (%v)", err)
	}
}

func TestMissingFileIsFetchedAgain(t *testing.T) {
	t.Parallel()

	s := serve(t, map[string]http.HandlerFunc{"/a.img": body(disk(mib))})
	c := open(t, t.TempDir(), nil)
	for n := 1; n <= 3; n++ {
		b, err := c.Get(t.Context(), image.Request{URL: s.URL + "/a.img", DiskBytes: gib})
		if err != nil {
			t.Fatal(err)
		}
		if got := s.count("/a.img"); got != n {
			t.Errorf("%d requests, want %d", got, n)
		}
		if err := os.Remove(b.Path); err != nil {
			t.Fatal(err)
		}
		if n == 1 { // what somebody put in its place is not it
			if err := os.Symlink("/etc/passwd", b.Path); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestQuota(t *testing.T) {
	t.Parallel()

	s := serve(t, map[string]http.HandlerFunc{"/a.img": body(disk(mib)), "/b.img": body(disk(2 * mib))})
	dir := t.TempDir()
	now := time.Unix(1700000000, 0)
	c := open(t, dir, func(cfg *image.Config) {
		cfg.Quota, cfg.MaxAge = 600<<10, time.Hour // one of the two, which are mostly holes
		cfg.Soft = cfg.Quota
		cfg.Now = func() time.Time { return now }
	})
	a, err := c.Get(t.Context(), image.Request{URL: s.URL + "/a.img", DiskBytes: gib})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 { // what a failed fetch took is given back
		_, err := c.Get(t.Context(), image.Request{URL: s.URL + "/b.img", DiskBytes: gib})
		if !fault.Is(err, fault.Unavailable) || !image.Temporary(err) {
			t.Fatalf("beyond the quota: got %v, want an Unavailable fault", err)
		}
	}
	if got := leftovers(t, dir); got != nil {
		t.Errorf("left over: %v", got)
	}
	for _, c := range []struct {
		c     *image.Cache
		later time.Duration
		inUse bool
		want  bool
	}{{c, 0, false, false}, {c, 2 * time.Hour, true, false}, {c, 2 * time.Hour, false, true}} {
		now = now.Add(c.later)
		n, err := c.c.Prune(func(d string) bool { return c.inUse && d == a.Digest })
		if err != nil || (n > 0) != c.want {
			t.Errorf("Prune freed %d bytes, %v, want some: %v", n, err, c.want)
		}
	}
	if _, err := c.Get(t.Context(), image.Request{URL: s.URL + "/b.img", DiskBytes: gib}); err != nil {
		t.Errorf("after Prune: %v", err)
	}
	if got := images(t, dir); len(got) != 1 {
		t.Errorf("%d images, want 1", len(got))
	}
}

func TestEmptySpaceCostsNothing(t *testing.T) {
	t.Parallel()

	s := serve(t, map[string]http.HandlerFunc{"/a.raw.gz": body(gzipped(t, disk(64*mib)))})
	c := open(t, t.TempDir(), func(cfg *image.Config) { cfg.Quota = 4 * mib })
	if _, err := c.Get(t.Context(), image.Request{URL: s.URL + "/a.raw.gz", DiskBytes: gib}); err != nil {
		t.Errorf("a disk of 64 MiB with 300 KiB in it: %v", err)
	}
}

func TestMirrors(t *testing.T) {
	t.Parallel()

	s := serve(t, map[string]http.HandlerFunc{"/debian/12/a.img": body(disk(mib)), "/private/a.img": body(disk(mib))})
	open2 := func(m ...image.Mirror) (*image.Cache, error) {
		c, err := image.New(image.Config{Dir: t.TempDir(), Guard: guard.New(guard.Config{}), Mirrors: m, Now: time.Now})
		if err == nil {
			t.Cleanup(func() { _ = c.Close() })
		}
		return c, err
	}
	c, err := open2(image.Mirror{Prefix: "https://images.invalid/", Replacement: s.URL + "/debian/"})
	if err != nil {
		t.Fatal(err)
	}
	if b, err := c.Get(t.Context(), image.Request{URL: "https://images.invalid/12/a.img", DiskBytes: gib}); err != nil || b.VirtualBytes != mib {
		t.Errorf("through the mirror: got %+v, %v", b, err)
	}
	for _, address := range []string{
		s.URL + "/private/a.img", "https://images.invalid/../private/a.img",
		"https://images.invalid/%2e%2e/private/a.img", "https://images.invalid/..%2fprivate/a.img", `https://images.invalid/..\private/a.img`,
	} {
		if _, err := c.Get(t.Context(), image.Request{URL: address, DiskBytes: gib}); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: got %v, want an Invalid fault", address, err)
		}
	}
	if n := s.count("/private/a.img"); n != 0 {
		t.Error("a customer reached a folder of the mirror that nobody mapped")
	}
	for _, m := range []image.Mirror{
		{Prefix: "https://images.invalid", Replacement: "http://m/"},
		{Prefix: "https://a/", Replacement: "http://m"},
		{Prefix: "https://a/", Replacement: "/srv/"},
		{Prefix: "https://a/", Replacement: "ftp://m/"},
	} {
		if _, err := open2(m); !fault.Is(err, fault.Invalid) {
			t.Errorf("mirror %+v: got %v, want an Invalid fault", m, err)
		}
	}
}

// Without the operator's word, a customer's address does not lead into this
// host or its networks.
func TestPrivateServersAreOutOfReach(t *testing.T) {
	t.Parallel()

	s := serve(t, map[string]http.HandlerFunc{"/a.img": body(disk(mib))})
	c := open(t, t.TempDir(), func(cfg *image.Config) { cfg.Guard = nil })
	for _, address := range []string{s.URL + "/a.img", "http://169.254.169.254/a.img", "http://[::1]:8080/a.img", "http://10.0.0.1/a.img"} {
		if _, err := c.Get(t.Context(), image.Request{URL: address, DiskBytes: gib}); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: got %v, want an Invalid fault", address, err)
		}
	}
	if n := s.count("/a.img"); n != 0 {
		t.Errorf("%d requests came through", n)
	}
}
