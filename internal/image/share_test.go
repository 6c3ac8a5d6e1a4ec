package image_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/image"
	"github.com/cpucloud/cpucloud/internal/image/guard"
)

func sumOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// A tenant is given an image that another one fetched only if it is public. One
// that can't fetch it by itself does not get it.
func TestImagesOfTenants(t *testing.T) {
	t.Parallel()

	gone := false
	content := disk(mib)
	h := func(w http.ResponseWriter, r *http.Request) {
		if gone {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		body(content)(w, r)
	}
	s := serve(t, map[string]http.HandlerFunc{"/a.img": h})
	private := strings.Replace(s.URL, "127.0.0.1", "localhost", 1)
	turn := serve(t, map[string]http.HandlerFunc{
		"/to-private.img": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, private+"/a.img", http.StatusFound) },
	})
	open := func(mirrors ...image.Mirror) *image.Cache {
		gone = false
		return open(t, t.TempDir(), func(cfg *image.Config) {
			cfg.Guard = guard.New(guard.Config{Allow: []string{"127.0.0.1", "localhost"}})
			cfg.Private, cfg.Mirrors = []string{"localhost"}, mirrors
		})
	}
	for name, a := range map[string]struct {
		url    string
		shared bool
	}{
		"public":                     {s.URL + "/a.img", true},
		"with a query":               {s.URL + "/a.img?X-Amz-Signature=abc", false},
		"with an empty query":        {s.URL + "/a.img?", false},
		"on a private host":          {private + "/a.img", false},
		"by way of a private host":   {turn.URL + "/to-private.img", false},
		"mirrored":                   {"https://images.invalid/a.img", true},
		"mirrored, and with a query": {"https://images.invalid/a.img?token=1", false},
	} {
		c := open(image.Mirror{Prefix: "https://images.invalid/", Replacement: private + "/"})
		get := func(tenant string) error {
			_, err := c.Get(t.Context(), image.Request{URL: a.url, DiskBytes: gib, Tenant: tenant})
			return err
		}
		if err := get("anna"); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		gone = true // for everybody, so that only the cache can give it
		if err := get("anna"); err != nil {
			t.Errorf("%s: the tenant who fetched it gets it no more: %v", name, err)
		}
		if err := get("ben"); (err == nil) != a.shared {
			t.Errorf("%s: another tenant got %v, want shared = %v", name, err, a.shared)
		}
		gone = false
		if err := get("ben"); err != nil {
			t.Errorf("%s: another tenant who can fetch it got %v", name, err)
		}
		if list, err := c.List(); err != nil || len(list.Images) != 1 || list.Images[0].Private == a.shared {
			t.Errorf("%s: the operator is told %+v, %v", name, list, err)
		}
	}
	// What the operator fetched is for everybody.
	c := open()
	if _, err := c.Get(t.Context(), image.Request{URL: private + "/a.img", DiskBytes: gib}); err != nil {
		t.Fatal(err)
	}
	gone = true
	if _, err := c.Get(t.Context(), image.Request{URL: private + "/a.img", DiskBytes: gib, Tenant: "ben"}); err != nil {
		t.Errorf("what the operator fetched: %v", err)
	}
}

// A tenant that waits for another one's fetch does not get what turns out to be
// private, nor goes on with a download of it that broke.
func TestPrivateFetchIsNotShared(t *testing.T) {
	t.Parallel()

	var mu sync.Mutex
	n := 0
	release := make(chan struct{})
	d := disk(2 * mib)
	s := serve(t, map[string]http.HandlerFunc{"/a.img": func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		n++
		first := n == 1
		mu.Unlock()
		if !first {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		w.Header().Set("ETag", `"v1"`)
		_, _ = w.Write(d[:mib])
		_ = http.NewResponseController(w).Flush()
		<-release
		_, _ = w.Write(d[mib:])
	}})
	private := strings.Replace(s.URL, "127.0.0.1", "localhost", 1)
	turn := serve(t, map[string]http.HandlerFunc{
		"/a.img": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, private+"/a.img", http.StatusFound) },
	})
	c := open(t, t.TempDir(), func(cfg *image.Config) {
		cfg.Guard = guard.New(guard.Config{Allow: []string{"127.0.0.1", "localhost"}})
		cfg.Private = []string{"localhost"}
	})
	got := map[string]error{}
	var wg sync.WaitGroup
	get := func(tenant string) {
		_, err := c.Get(t.Context(), image.Request{URL: turn.URL + "/a.img", DiskBytes: gib, Tenant: tenant})
		mu.Lock()
		got[tenant] = err
		mu.Unlock()
	}
	wg.Go(func() { get("anna") })
	waitFor(t, "the first to fetch", func() bool { return image.Waiting(c, turn.URL+"/a.img") == 1 })
	wg.Go(func() { get("ben") })
	waitFor(t, "the second to join", func() bool { return image.Waiting(c, turn.URL+"/a.img") == 2 })
	close(release)
	wg.Wait()
	if got["anna"] != nil || !fault.Is(got["ben"], fault.Invalid) {
		t.Errorf("got %v, want the image for the first and 403 for the second", got)
	}
}

// A download of what is private, that broke, is gone on with for its tenant alone.
func TestSpoolOfATenant(t *testing.T) {
	t.Parallel()

	s := steady(disk(2 * mib))
	s.script = []func(*shaky, http.ResponseWriter, *http.Request){cut(1000), cut(1), cut(1), cut(1), cut(1), cut(1)}
	srv := serve(t, map[string]http.HandlerFunc{"/a.img": s.ServeHTTP})
	private := strings.Replace(srv.URL, "127.0.0.1", "localhost", 1)
	turn := serve(t, map[string]http.HandlerFunc{
		"/a.img": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, private+"/a.img", http.StatusFound) },
	})
	var p pauses
	c := open(t, t.TempDir(), func(cfg *image.Config) {
		cfg.Guard = guard.New(guard.Config{Allow: []string{"127.0.0.1", "localhost"}})
		cfg.Private, cfg.Pause = []string{"localhost"}, p.wait
	})
	get := func(tenant string) error {
		_, err := c.Get(t.Context(), image.Request{URL: turn.URL + "/a.img", DiskBytes: gib, Tenant: tenant})
		return err
	}
	if err := get("anna"); !image.Temporary(err) {
		t.Fatalf("got %v, want that it broke", err)
	}
	if err := get("ben"); err != nil {
		t.Error(err)
	}
	if asked := s.requests(); len(asked) != 7 || asked[6] != "" {
		t.Errorf("asked %q, want the last to be for all of it", asked)
	}
}

// A checksum is that of the download; it decides which of an address's versions
// one gets, and is no way to what others have.
func TestChecksums(t *testing.T) {
	t.Parallel()

	d := disk(mib)
	packed := gzipped(t, d)
	content := packed
	s := serve(t, map[string]http.HandlerFunc{"/a.raw.gz": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(content) }, "/b.img": body(d)})
	dir := t.TempDir()
	c := open(t, dir, nil)
	get := func(path, sum string) (image.Base, error) {
		return c.Get(t.Context(), image.Request{URL: s.URL + path, DiskBytes: gib, Checksum: sum, Tenant: "anna"})
	}
	for _, bad := range []string{"sha256:", "md5:" + strings.Repeat("a", 64), "sha256:" + strings.Repeat("x", 64), sumOf(d)[1:]} {
		if _, err := get("/b.img", bad); !fault.Is(err, fault.Invalid) || s.count("/b.img") != 0 {
			t.Errorf("%s: got %v after %d requests, want an Invalid fault before any", bad, err, s.count("/b.img"))
		}
	}
	// It is that of the download, not of what is in it.
	if _, err := get("/a.raw.gz", sumOf(d)); !fault.Is(err, fault.Invalid) || image.Temporary(err) || !strings.Contains(err.Error(), "checksum is "+sumOf(packed)) {
		t.Errorf("the checksum of the disk: got %v", err)
	}
	if got := append(leftovers(t, dir), images(t, dir)...); got != nil {
		t.Errorf("left over: %v", got)
	}
	first, err := get("/a.raw.gz", strings.Replace(strings.ToUpper(sumOf(packed)), "SHA256", "sha256", 1))
	if err != nil || first.Checksum != sumOf(packed) {
		t.Fatalf("the checksum of the download: %+v, %v", first, err)
	}
	if b, err := get("/a.raw.gz", sumOf(packed)); err != nil || b != first || s.count("/a.raw.gz") != 2 {
		t.Errorf("again: %+v, %v after %d requests, want it from the cache", b, err, s.count("/a.raw.gz"))
	}
	// The address gives something else by now. Who asks for either gets that one.
	pinned, err := get("/a.raw.gz", "")
	if err != nil {
		t.Fatal(err)
	}
	d2 := bytes.Clone(d)
	copy(d2[mib/2:], "another version")
	content = gzipped(t, d2)
	second, err := get("/a.raw.gz", sumOf(content))
	if err != nil || second.Digest == first.Digest {
		t.Errorf("the new version by its checksum: %+v, %v", second, err)
	}
	if b, err := get("/a.raw.gz", sumOf(packed)); err != nil || b != first {
		t.Errorf("the old version by its checksum: %+v, %v", b, err)
	}
	if b, err := get("/a.raw.gz", ""); err != nil || b != pinned {
		t.Errorf("without a checksum: %+v, %v, want what the address gave first", b, err)
	}
	// A checksum is no way to what another tenant has at another address.
	if _, err := c.Get(t.Context(), image.Request{URL: s.URL + "/none.img", DiskBytes: gib, Checksum: sumOf(packed), Tenant: "ben"}); !fault.Is(err, fault.Invalid) {
		t.Errorf("another address, with a checksum that is in the cache: %v", err)
	}
	_, err = c.Get(t.Context(), image.Request{URL: s.URL + "/b.img", DiskBytes: gib, Checksum: sumOf(packed), Pinned: true})
	if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "other bytes than when the VM was first made") {
		t.Errorf("what was pinned: %v", err)
	}
}

// Ten imports at once stay within the quota, whatever comes of each.
func TestParallelImportsKeepTheQuota(t *testing.T) {
	t.Parallel()

	handlers := map[string]http.HandlerFunc{}
	for i := range 10 {
		d := dense(2 * mib)
		copy(d[mib:], fmt.Sprint("image ", i))
		handlers[fmt.Sprintf("/%d.img", i)] = body(d)
		handlers[fmt.Sprintf("/%d.raw.gz", i)] = body(gzipped(t, d))
	}
	s := serve(t, handlers)
	dir := t.TempDir()
	c := open(t, dir, func(cfg *image.Config) { cfg.Quota = 9 * mib })
	var wg sync.WaitGroup
	var mu sync.Mutex
	good := 0
	for path := range handlers {
		wg.Go(func() {
			_, err := c.Get(t.Context(), image.Request{URL: s.URL + path, DiskBytes: gib, Tenant: path})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				good++
			case !fault.Is(err, fault.Unavailable) || !image.Temporary(err):
				t.Errorf("%s: %v, want that there is no room", path, err)
			}
		})
	}
	wg.Wait()
	list, err := c.List()
	if err != nil || list.Bytes > 9*mib || good < 1 {
		t.Errorf("%d images of %d bytes, %v, want some within 9 MiB", good, list.Bytes, err)
	}
	if got := leftovers(t, dir); got != nil {
		t.Errorf("left over: %v", got)
	}
	if n := len(images(t, dir)); n > 4 || n < 1 {
		t.Errorf("%d images of 2 MiB", n)
	}
}

// Images go by age, and where they are too many the one used longest ago goes
// first; never one that a disk lies on, nor one that was used just now.
func TestPrune(t *testing.T) {
	t.Parallel()

	handlers := map[string]http.HandlerFunc{}
	for i := range 4 {
		d := dense(mib)
		copy(d[mib/2:], fmt.Sprint("image ", i))
		handlers[fmt.Sprintf("/%d.img", i)] = body(d)
	}
	s := serve(t, handlers)
	dir, now := t.TempDir(), time.Unix(1700000000, 0)
	cfg := func(cfg *image.Config) {
		cfg.Now, cfg.Quota, cfg.Soft, cfg.MaxAge = func() time.Time { return now }, 8*mib, 2*mib+mib/2, 24*time.Hour
	}
	c := open(t, dir, cfg)
	digests := make([]string, 4)
	get := func(i int) {
		t.Helper()
		b, err := c.Get(t.Context(), image.Request{URL: fmt.Sprintf("%s/%d.img", s.URL, i), DiskBytes: gib})
		if err != nil {
			t.Fatal(err)
		}
		digests[i] = b.Digest
	}
	has := func() (n string) {
		list, err := c.List()
		if err != nil {
			t.Fatal(err)
		}
		for i, d := range digests {
			for _, k := range list.Images {
				if k.Digest == d {
					n += fmt.Sprint(i)
				}
			}
		}
		return n
	}
	prune := func(want string, used ...int) {
		t.Helper()
		_, err := c.Prune(func(d string) bool {
			for _, i := range used {
				if digests[i] == d {
					return true
				}
			}
			return false
		})
		if got := has(); err != nil || got != want {
			t.Errorf("left %q, %v, want %q", got, err, want)
		}
	}
	for i := range 4 {
		get(i)
		now = now.Add(time.Minute)
	}
	if !c.Full() {
		t.Error("four MiB are not more than two and a half")
	}
	prune("0123") // all were used just now
	now = now.Add(time.Hour)
	get(0)
	if err := c.Close(); err != nil { // the times of use outlive a restart …
		t.Fatal(err)
	}
	c = open(t, dir, cfg)
	now = now.Add(time.Hour)
	prune("0123", 0, 1, 2, 3)
	prune("01", 1) // 1 would be the first to go, 0 the last
	if c.Full() {
		t.Error("two MiB are more than two and a half")
	}
	prune("01")
	now = now.Add(21 * time.Hour)
	prune("01")
	now = now.Add(time.Hour)
	prune("0")
}

// All that no disk lies on can go, but for what was used just now.
func TestPruneAll(t *testing.T) {
	t.Parallel()

	now := time.Unix(1700000000, 0)
	s := serve(t, map[string]http.HandlerFunc{"/a.img": body(disk(mib)), "/b.img": body(disk(2 * mib)), "/c.img": body(disk(3 * mib))})
	dir := t.TempDir()
	c := open(t, dir, func(cfg *image.Config) { cfg.Now = func() time.Time { return now } })
	var last image.Base
	for _, path := range []string{"/a.img", "/b.img", "/c.img"} {
		now = now.Add(time.Hour)
		b, err := c.Get(t.Context(), image.Request{URL: s.URL + path, DiskBytes: gib})
		if err != nil {
			t.Fatal(err)
		}
		if path != "/c.img" {
			last = b
		}
	}
	n, err := c.PruneAll(func(d string) bool { return d == last.Digest })
	if got := images(t, dir); err != nil || n <= 0 || len(got) != 2 {
		t.Errorf("freed %d bytes, %v, left %v; want the one in use and the one just used", n, err, got)
	}
}
