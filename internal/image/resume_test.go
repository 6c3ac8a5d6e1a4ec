package image_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/image"
)

// shaky is an image server whose connections break. Its script says of each
// request, in turn, what it does; after the last, all is well.
type shaky struct {
	content func() []byte
	tag     func() string // ETag; "" sends none
	script  []func(s *shaky, w http.ResponseWriter, r *http.Request)

	mu    sync.Mutex
	asked []string // Range and If-Range of each request
}

func steady(b []byte) *shaky {
	return &shaky{content: func() []byte { return b }, tag: func() string { return `"v1"` }}
}

func (s *shaky) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	n := len(s.asked)
	s.asked = append(s.asked, strings.TrimSpace(r.Header.Get("Range")+" "+r.Header.Get("If-Range")))
	s.mu.Unlock()
	if n < len(s.script) {
		s.script[n](s, w, r)
		return
	}
	whole(s, w, r)
}

func (s *shaky) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

// whole answers as a proper server does.
func whole(s *shaky, w http.ResponseWriter, r *http.Request) {
	if tag := s.tag(); tag != "" {
		w.Header().Set("ETag", tag)
	}
	http.ServeContent(w, r, "image", time.Time{}, bytes.NewReader(s.content()))
}

// cut answers with the image, and breaks the connection after n bytes of it.
func cut(n int) func(*shaky, http.ResponseWriter, *http.Request) {
	return func(s *shaky, w http.ResponseWriter, r *http.Request) {
		tag := s.tag()
		if tag != "" {
			w.Header().Set("ETag", tag)
		}
		b := s.content()
		from := 0
		if text, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ok && (tag == "" || r.Header.Get("If-Range") == tag || tag == `"v9"`) {
			from, _ = strconv.Atoi(strings.TrimSuffix(text, "-"))
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(b)-1, len(b)))
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(b)-from))
		if from > 0 {
			w.WriteHeader(http.StatusPartialContent)
		}
		_, _ = w.Write(b[from : from+n])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

// lies answers a request for a part with a Content-Range that isn't what follows.
func lies(contentRange string) func(*shaky, http.ResponseWriter, *http.Request) {
	return func(s *shaky, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("ETag", s.tag())
		w.Header().Set("Content-Range", contentRange)
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(s.content()[:1024])
	}
}

// piece answers with bytes first to last of 4 MiB, or so it says.
func piece(first, last int, b []byte) func(*shaky, http.ResponseWriter, *http.Request) {
	return func(s *shaky, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("ETag", s.tag())
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last, 4*mib))
		w.WriteHeader(http.StatusPartialContent)
		_ = http.NewResponseController(w).Flush() // its length is not announced
		_, _ = w.Write(b)
	}
}

func says(status int) func(*shaky, http.ResponseWriter, *http.Request) {
	return func(_ *shaky, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }
}

// pauses is a clock that is never waited for.
type pauses struct {
	mu   sync.Mutex
	list []time.Duration
}

func (p *pauses) wait(ctx context.Context, d time.Duration) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.list = append(p.list, d)
	return ctx.Err()
}

// A download goes on where its connection broke. What the server says of the
// rest has to be of the same image, or all of it is fetched anew: the image is
// one version or the other, never a mixture.
func TestDownloadGoesOn(t *testing.T) {
	t.Parallel()

	d := disk(4 * mib)
	other := bytes.Clone(d)
	copy(other[200<<10:], "another version")
	copy(other[3*mib:], "another version")
	const part = mib
	rest := fmt.Sprintf("bytes=%d- \"v1\"", part)
	for name, c := range map[string]struct {
		script []func(*shaky, http.ResponseWriter, *http.Request)
		change bool // the image is another one from the second request on
		want   []string
	}{
		"once":            {[]func(*shaky, http.ResponseWriter, *http.Request){cut(part)}, false, []string{"", rest}},
		"again and again": {[]func(*shaky, http.ResponseWriter, *http.Request){cut(part), cut(part), cut(part)}, false, []string{"", rest, `bytes=2097152- "v1"`, `bytes=3145728- "v1"`}},
		"busy in between": {[]func(*shaky, http.ResponseWriter, *http.Request){cut(part), says(503), says(429)}, false, []string{"", rest, rest, rest}},
		"changed":         {[]func(*shaky, http.ResponseWriter, *http.Request){cut(part)}, true, []string{"", rest}},
		"changed twice":   {[]func(*shaky, http.ResponseWriter, *http.Request){cut(part), cut(part)}, true, []string{"", rest, `bytes=1048576- "v2"`}},
		"ranges ignored": {[]func(*shaky, http.ResponseWriter, *http.Request){cut(part), func(s *shaky, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("ETag", s.tag())
			_, _ = w.Write(s.content())
		}}, false, []string{"", rest}},
		"another start":   {[]func(*shaky, http.ResponseWriter, *http.Request){cut(part), lies("bytes 0-1023/4194304")}, false, []string{"", rest, ""}},
		"another size":    {[]func(*shaky, http.ResponseWriter, *http.Request){cut(part), lies("bytes 1048576-1049599/1049600")}, false, []string{"", rest, ""}},
		"only a piece":    {[]func(*shaky, http.ResponseWriter, *http.Request){cut(part), lies("bytes 1048576-1049599/4194304")}, false, []string{"", rest, ""}},
		"backwards":       {[]func(*shaky, http.ResponseWriter, *http.Request){cut(part), lies("bytes 1048576-3/4194304")}, false, []string{"", rest, ""}},
		"nonsense":        {[]func(*shaky, http.ResponseWriter, *http.Request){cut(part), lies("bytes -1-x/y")}, false, []string{"", rest, ""}},
		"no range at all": {[]func(*shaky, http.ResponseWriter, *http.Request){cut(part), lies("")}, false, []string{"", rest, ""}},
		"from before":     {[]func(*shaky, http.ResponseWriter, *http.Request){cut(part), piece(part-1, 4*mib-1, d[part-1:])}, false, []string{"", rest, ""}},
		"not satisfiable": {[]func(*shaky, http.ResponseWriter, *http.Request){cut(part), says(416)}, false, []string{"", rest, ""}},
		"part of another": {[]func(*shaky, http.ResponseWriter, *http.Request){cut(part), func(s *shaky, w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"v9"`)
			cut(part)(&shaky{content: s.content, tag: func() string { return `"v9"` }}, w, r)
		}}, false, []string{"", rest, ""}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := steady(d)
			s.script = c.script
			want := d
			if c.change {
				n := 0
				s.content = func() []byte {
					n++
					if n == 1 {
						return d
					}
					return other
				}
				m := 0
				s.tag = func() string {
					m++
					if m == 1 {
						return `"v1"`
					}
					return `"v2"`
				}
				want = other
			}
			srv := serve(t, map[string]http.HandlerFunc{"/a.img": s.ServeHTTP})
			dir := t.TempDir()
			var p pauses
			cache := open(t, dir, func(cfg *image.Config) { cfg.Pause = p.wait })
			var done []int64
			b, err := cache.Get(t.Context(), image.Request{URL: srv.URL + "/a.img", DiskBytes: gib, Progress: func(p image.Progress) { done = append(done, p.Done) }})
			if err != nil {
				t.Fatalf("%v after %q", err, s.requests())
			}
			if got, err := os.ReadFile(b.Path); err != nil || !bytes.Equal(got, want) {
				t.Errorf("the image is not what was served (%v)", err)
			}
			if got := s.requests(); !slices.Equal(got, c.want) {
				t.Errorf("asked %q, want %q", got, c.want)
			}
			if done[len(done)-1] != 4*mib {
				t.Errorf("progress %v, want it to end with the size", done)
			}
			if got := leftovers(t, dir); got != nil {
				t.Errorf("left over: %v", got)
			}
		})
	}
}

// What a server sends beyond what it announced is left out.
func TestMoreThanAnnounced(t *testing.T) {
	t.Parallel()

	d := disk(mib + 512)
	s := steady(d)
	s.script = []func(*shaky, http.ResponseWriter, *http.Request){cut(mib), func(_ *shaky, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("ETag", `"v1"`)
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", mib, len(d)-1, len(d)))
		w.WriteHeader(http.StatusPartialContent)
		_ = http.NewResponseController(w).Flush() // its length is not announced
		_, _ = w.Write(append(bytes.Clone(d[mib:]), make([]byte, 512)...))
	}}
	srv := serve(t, map[string]http.HandlerFunc{"/a.img": s.ServeHTTP})
	var p pauses
	c := open(t, t.TempDir(), func(cfg *image.Config) { cfg.Pause = p.wait })
	b, err := c.Get(t.Context(), image.Request{URL: srv.URL + "/a.img", DiskBytes: gib})
	if err != nil || b.Checksum != sumOf(d) || b.VirtualBytes != int64(len(d)) {
		t.Errorf("got %+v, %v, want the %d bytes that were announced", b, err, len(d))
	}
}

// Tries are bounded, with growing pauses between them, and counted anew after
// one that brought much.
func TestTriesAreBounded(t *testing.T) {
	t.Parallel()

	d := disk(4 * mib)
	s := steady(d)
	for range 100 {
		s.script = append(s.script, cut(1000))
	}
	srv := serve(t, map[string]http.HandlerFunc{"/a.img": s.ServeHTTP})
	var p pauses
	c := open(t, t.TempDir(), func(cfg *image.Config) { cfg.Pause = p.wait })
	_, err := c.Get(t.Context(), image.Request{URL: srv.URL + "/a.img", DiskBytes: gib})
	if !image.Temporary(err) || !strings.Contains(err.Error(), "6,000 of 4,194,304 bytes arrived") && !strings.Contains(err.Error(), "broke after") {
		t.Errorf("got %v, want that it was cut off", err)
	}
	if want := []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second}; !slices.Equal(p.list, want) {
		t.Errorf("pauses %v, want %v", p.list, want)
	}
	if n := len(s.requests()); n != 6 {
		t.Errorf("%d requests, want 6", n)
	}

	big := steady(disk(100 * mib))
	for range 9 {
		big.script = append(big.script, cut(10*mib))
	}
	srv2 := serve(t, map[string]http.HandlerFunc{"/a.img": big.ServeHTTP})
	if _, err := c.Get(t.Context(), image.Request{URL: srv2.URL + "/a.img", DiskBytes: gib}); err != nil {
		t.Errorf("a connection that breaks after every 10 MiB: %v", err)
	}
}

// What an image that changes all the time costs is bounded, too.
func TestImageThatNeverStaysTheSame(t *testing.T) {
	t.Parallel()

	n := 0
	s := steady(disk(24 * mib))
	s.tag = func() string { n++; return fmt.Sprintf("%q", fmt.Sprint(n)) }
	for range 100 {
		s.script = append(s.script, cut(9*mib)) // enough for tries to be counted anew
	}
	srv := serve(t, map[string]http.HandlerFunc{"/a.img": s.ServeHTTP})
	var p pauses
	c := open(t, t.TempDir(), func(cfg *image.Config) { cfg.Pause = p.wait })
	if _, err := c.Get(t.Context(), image.Request{URL: srv.URL + "/a.img", DiskBytes: gib}); !image.Temporary(err) || !strings.Contains(err.Error(), "changed while") {
		t.Errorf("got %v, want a temporary error", err)
	}
	if got := len(s.requests()); got > 6 {
		t.Errorf("%d requests", got)
	}
}

// A download goes on after a restart, compressed or not, and what is not to be
// relied on is not.
func TestDownloadGoesOnAfterARestart(t *testing.T) {
	t.Parallel()

	raw := disk(8 * mib)
	for name, content := range map[string][]byte{"a.img": raw, "a.qcow2": qcow(t, raw), "a.raw.gz": gzipped(t, raw), "a.img.xz": xzed(t, raw)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			half := len(content) / 2
			restart := func(change func(dir string, now *time.Time, s *shaky)) []string {
				s := steady(content)
				for range 6 {
					s.script = append(s.script, cut(half/6))
				}
				srv := serve(t, map[string]http.HandlerFunc{"/" + name: s.ServeHTTP})
				dir, now := t.TempDir(), time.Unix(1700000000, 0)
				var p pauses
				cfg := func(cfg *image.Config) { cfg.Pause, cfg.Now = p.wait, func() time.Time { return now } }
				c := open(t, dir, cfg)
				if _, err := c.Get(t.Context(), image.Request{URL: srv.URL + "/" + name, DiskBytes: gib}); !image.Temporary(err) {
					t.Fatalf("got %v, want that it broke", err)
				}
				if err := c.Close(); err != nil {
					t.Fatal(err)
				}
				if got := leftovers(t, dir); len(got) != 2 {
					t.Errorf("left over: %v, want a download and its state", got)
				}
				change(dir, &now, s)
				c = open(t, dir, cfg)
				first := int64(-1)
				b, err := c.Get(t.Context(), image.Request{URL: srv.URL + "/" + name, DiskBytes: gib, Progress: func(p image.Progress) {
					if first < 0 {
						first = p.Done
					}
				}})
				if err != nil {
					t.Fatal(err)
				}
				if got, err := os.ReadFile(b.Path); err != nil || !bytes.Equal(got, raw) || b.Checksum != sumOf(s.content()) {
					t.Errorf("the image is not what was served (%v, %s)", err, b.Checksum)
				}
				if got := leftovers(t, dir); got != nil {
					t.Errorf("left over: %v", got)
				}
				return s.requests()[6:]
			}
			rest := fmt.Sprintf("bytes=%d- \"v1\"", half/6*6)
			partial := func(dir, suffix string) string {
				names, err := filepath.Glob(filepath.Join(dir, "download-*"+suffix))
				if err != nil || len(names) != 1 {
					t.Fatalf("downloads: %v, %v", names, err)
				}
				return names[0]
			}
			for what, c := range map[string]struct {
				change func(dir string, now *time.Time, s *shaky)
				want   string
			}{
				"as it was":     {func(string, *time.Time, *shaky) {}, rest},
				"a day later":   {func(_ string, now *time.Time, _ *shaky) { *now = now.Add(25 * time.Hour) }, ""},
				"clock back":    {func(_ string, now *time.Time, _ *shaky) { *now = now.Add(-time.Hour) }, ""},
				"state damaged": {func(dir string, _ *time.Time, _ *shaky) { write(t, partial(dir, ".json"), []byte("{")) }, ""},
				"state gone":    {func(dir string, _ *time.Time, _ *shaky) { remove(t, partial(dir, ".json")) }, ""},
				"file damaged": {func(dir string, _ *time.Time, _ *shaky) {
					f := partial(dir, ".partial")
					b, _ := os.ReadFile(f)
					b[len(b)/2] ^= 1
					write(t, f, b)
				}, ""},
				"file cut": {func(dir string, _ *time.Time, _ *shaky) { write(t, partial(dir, ".partial"), content[:10]) }, ""},
				"file longer": {func(dir string, _ *time.Time, _ *shaky) {
					f := partial(dir, ".partial")
					b, _ := os.ReadFile(f)
					write(t, f, append(b, "written, but not known to be on the disk"...))
				}, rest},
				"a link": {func(dir string, _ *time.Time, _ *shaky) {
					f := partial(dir, ".partial")
					remove(t, f)
					if err := os.Symlink("/etc/passwd", f); err != nil {
						t.Fatal(err)
					}
				}, ""},
			} {
				if got := restart(c.change); !slices.Equal(got, []string{c.want}) {
					t.Errorf("%s: asked %q, want %q", what, got, c.want)
				}
			}
		})
	}
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// Without a validator that tells versions apart nothing is gone on with, nor kept.
func TestWeakValidators(t *testing.T) {
	t.Parallel()

	d := disk(4 * mib)
	now := time.Now()
	for name, c := range map[string]struct {
		head map[string]string
		want string // If-Range of the second request; "" for none
	}{
		"none":              {nil, ""},
		"weak ETag":         {map[string]string{"ETag": `W/"v1"`}, ""},
		"broken ETag":       {map[string]string{"ETag": `v1`}, ""},
		"endless ETag":      {map[string]string{"ETag": `"` + strings.Repeat("v", 300) + `"`}, ""},
		"modified just now": {map[string]string{"Last-Modified": now.UTC().Format(http.TimeFormat)}, ""},
		"modified long ago": {map[string]string{"Last-Modified": now.Add(-time.Hour).UTC().Format(http.TimeFormat)}, now.Add(-time.Hour).UTC().Format(http.TimeFormat)},
		"modified sometime": {map[string]string{"Last-Modified": "yesterday"}, ""},
		"strong ETag":       {map[string]string{"ETag": `"v1"`}, `"v1"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := steady(d)
			s.tag = func() string { return "" }
			s.script = []func(*shaky, http.ResponseWriter, *http.Request){cut(mib)}
			srv := serve(t, map[string]http.HandlerFunc{"/a.img": func(w http.ResponseWriter, r *http.Request) {
				for k, v := range c.head {
					w.Header().Set(k, v)
				}
				s.ServeHTTP(w, r)
			}})
			dir := t.TempDir()
			var p pauses
			cache := open(t, dir, func(cfg *image.Config) { cfg.Pause = p.wait })
			_, err := cache.Get(t.Context(), image.Request{URL: srv.URL + "/a.img", DiskBytes: gib})
			asked := s.requests()
			switch {
			case c.want == "" && (!image.Temporary(err) || len(asked) != 1):
				t.Errorf("got %v after %q, want that it broke at once", err, asked)
			case c.want != "" && (err != nil || len(asked) != 2 || asked[1] != "bytes=1048576- "+c.want):
				t.Errorf("got %v after %q, want a second request with %q", err, asked, c.want)
			}
			if got := leftovers(t, dir); got != nil {
				t.Errorf("left over: %v", got)
			}
		})
	}
}

// A fetch that is cancelled, or ended by the agent's end, is gone on with later;
// one that can't succeed, or for which there is no room, leaves nothing.
func TestWhatIsKeptOfADownload(t *testing.T) {
	t.Parallel()

	d := disk(4 * mib)
	s := steady(d)
	s.script = []func(*shaky, http.ResponseWriter, *http.Request){func(_ *shaky, w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"v1"`)
		_, _ = w.Write(d[:2*mib])
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}}
	bad := steady([]byte("<html>" + strings.Repeat("x", 4*mib)))
	srv := serve(t, map[string]http.HandlerFunc{"/a.img": s.ServeHTTP, "/b.img": bad.ServeHTTP, "/c.raw": steady(dense(4 * mib)).ServeHTTP})
	dir := t.TempDir()
	c := open(t, dir, func(cfg *image.Config) { cfg.Quota = 3 * mib })
	ctx, cancel := context.WithCancel(t.Context())
	stop := func(p image.Progress) {
		if p.Done >= mib {
			cancel()
		}
	}
	if _, err := c.Get(ctx, image.Request{URL: srv.URL + "/a.img", DiskBytes: gib, Progress: stop}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	waitFor(t, "the state of the download", func() bool { return len(leftovers(t, dir)) == 2 })
	if _, err := c.Get(t.Context(), image.Request{URL: srv.URL + "/a.img", DiskBytes: gib}); err != nil || len(s.requests()) != 2 || s.requests()[1] == "" {
		t.Errorf("after it was cancelled: %v, asked %q", err, s.requests())
	}
	if _, err := c.Get(t.Context(), image.Request{URL: srv.URL + "/b.img", DiskBytes: gib}); !fault.Is(err, fault.Invalid) {
		t.Errorf("a web page: %v", err)
	}
	if _, err := c.Get(t.Context(), image.Request{URL: srv.URL + "/c.raw", DiskBytes: gib}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("beyond the quota: %v", err)
	}
	if got := leftovers(t, dir); got != nil {
		t.Errorf("left over: %v", got)
	}
}

// dense is a disk of n bytes without holes.
func dense(n int) []byte {
	d := disk(n)
	for i := 4096; i < len(d); i++ {
		d[i] |= 1
	}
	return d
}
