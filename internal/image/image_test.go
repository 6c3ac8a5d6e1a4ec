package image_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/ulikunitz/xz"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/image"
	"github.com/cpucloud/cpucloud/internal/image/guard"
)

const (
	mib = 1 << 20
	gib = 1 << 30
)

// disk is a raw disk of n bytes with a boot sector, one partition to its end,
// some data and much nothing.
func disk(n int) []byte {
	d := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(n >> 16)}).Read(d[4096 : 4096+300<<10])
	d[446+4] = 0x83
	binary.LittleEndian.PutUint32(d[446+8:], 8)
	binary.LittleEndian.PutUint32(d[446+12:], uint32(n/512-8))
	d[510], d[511] = 0x55, 0xaa
	copy(d[n-512:], "the last sector")
	return d
}

func gzipped(t *testing.T, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func xzed(t *testing.T, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := xz.NewWriter(&out)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func qemuImg(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "qemu-img", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("qemu-img %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// qcow returns d as a qcow2 image.
func qcow(t *testing.T, d []byte, args ...string) []byte {
	t.Helper()
	dir := t.TempDir()
	raw, q := filepath.Join(dir, "raw"), filepath.Join(dir, "q")
	if err := os.WriteFile(raw, d, 0o600); err != nil {
		t.Fatal(err)
	}
	qemuImg(t, append(append([]string{"convert", "-f", "raw", "-O", "qcow2"}, args...), raw, q)...)
	b, err := os.ReadFile(q)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// server answers paths with handlers and counts its requests.
type server struct {
	*httptest.Server
	mu       sync.Mutex
	requests map[string]int
}

func serve(t *testing.T, paths map[string]http.HandlerFunc) *server {
	t.Helper()
	s := &server{requests: map[string]int{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.requests[r.URL.Path]++
		s.mu.Unlock()
		if h := paths[r.URL.Path]; h != nil {
			h(w, r)
			return
		}
		http.NotFound(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *server) count(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[path]
}

// body answers with b.
func body(b []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(b) }
}

// open returns a cache in dir that may fetch from this host.
func open(t *testing.T, dir string, change func(*image.Config)) *image.Cache {
	t.Helper()
	cfg := image.Config{
		Dir: dir, Guard: guard.New(guard.Config{Allow: []string{"127.0.0.1"}}),
		Log: slog.New(slog.DiscardHandler), Now: time.Now,
	}
	if change != nil {
		change(&cfg)
	}
	c, err := image.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// leftovers returns the files in dir that are neither images nor the cache's own.
func leftovers(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if n := e.Name(); n != "lock" && n != "index.json" && !strings.HasPrefix(n, "sha256-") {
			names = append(names, n)
		}
	}
	return names
}

func images(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "sha256-*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestGetAcceptsWhatItPromises(t *testing.T) {
	t.Parallel()

	want := disk(4 * mib)
	s := serve(t, map[string]http.HandlerFunc{
		"/a.raw": body(want), "/a.img": body(want), "/a.raw.gz": body(gzipped(t, want)), "/a.img.gz": body(gzipped(t, want)),
		"/a.raw.xz": body(xzed(t, want)), "/a.img.xz": body(xzed(t, want)),
		"/a.qcow2": body(qcow(t, want)), "/b.qcow2": body(qcow(t, want, "-c")), "/q.img": body(qcow(t, want, "-c")),
		"/q.img.gz": body(gzipped(t, qcow(t, want))),
	})
	dir := t.TempDir()
	c := open(t, dir, nil)
	for _, path := range []string{
		"/a.raw", "/a.img", "/a.raw.gz", "/a.img.gz", "/a.raw.xz", "/a.img.xz", "/a.qcow2", "/b.qcow2", "/q.img", "/q.img.gz", "/a.raw?sig=1",
	} {
		b, err := c.Get(t.Context(), image.Request{URL: s.URL + path, DiskBytes: 4 * mib})
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		got, err := os.ReadFile(b.Path)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: the disk differs from what was served (%v)", path, err)
		}
		if b.Format != "raw" || b.VirtualBytes != 4*mib || len(b.Digest) != 64 {
			t.Errorf("%s: got %+v", path, b)
		}
		if info, _ := os.Stat(b.Path); info.Mode().Perm() != 0o444 {
			t.Errorf("%s: mode %v, want read-only", path, info.Mode())
		}
	}
	if got := images(t, dir); len(got) != 3 {
		t.Errorf("%d images are kept, want 3: the same content once", len(got))
	}
	if got := leftovers(t, dir); got != nil {
		t.Errorf("left over: %v", got)
	}
}

func TestGetRefusesWhatIsNoDisk(t *testing.T) {
	t.Parallel()

	raw := disk(mib)
	backing := qcow(t, raw)
	binary.BigEndian.PutUint64(backing[8:], 512)
	binary.BigEndian.PutUint32(backing[16:], uint32(copy(backing[512:], "/etc/shadow")))
	magic := func(at int, m string) []byte {
		b := disk(mib)
		copy(b[at:], m)
		return b
	}
	gpt := disk(mib)
	copy(gpt[512:], "EFI PART")
	binary.LittleEndian.PutUint64(gpt[512+32:], mib/512)
	type answer struct {
		path, want string
		data       []byte
	}
	s := []answer{
		{"/html.img", "web page", []byte("\n<!DOCTYPE html><html>Please log in</html>")},
		{"/html.qcow2", "web page", []byte("<html>")},
		{"/empty.img", "empty", nil},
		{"/text.img", "not a bootable disk", []byte("hello")},
		{"/zero.raw", "not a bootable disk", make([]byte, mib)},
		{"/script.img", "a script", magic(0, "#!/bin/sh")},
		{"/elf.img", "a program", magic(0, "\x7fELF")},
		{"/vmdk.img", "VMDK", magic(0, "KDMV")},
		{"/vdi.img", "VDI", magic(0x40, "\x7f\x10\xda\xbe")},
		{"/vhdx.raw", "VHDX", magic(0, "vhdxfile")},
		{"/qed.img", "QED", magic(0, "QED\x00")},
		{"/luks.img", "encrypted", magic(0, "LUKS\xba\xbe\x00\x01")},
		{"/qcow2.raw", "it is a qcow2", qcow(t, raw)},
		{"/raw.qcow2", "not a qcow2", raw},
		{"/plain.raw.gz", "gz data", raw},
		{"/plain.img.xz", "xz data", raw},
		{"/packed.img", "a gzip file", gzipped(t, raw)},
		{"/twice.img.gz", "a gzip file", gzipped(t, gzipped(t, raw))},
		{"/xz-in.raw.gz", "an xz file", gzipped(t, xzed(t, raw))},
		{"/backing.qcow2", "backing file", backing},
		{"/backing.img", "backing file", backing},
		{"/backing.img.gz", "backing file", gzipped(t, backing)},
		{"/cut.raw", "cut off", raw[:len(raw)/2]},
		{"/odd.raw", "cut off", raw[:len(raw)-100]},
		{"/sector.raw", "cut off", raw[:512]},
		{"/gpt.raw", "cut off", gpt},
		{"/cut.qcow2", "cut off", qcow(t, raw)[:200<<10]},
		{"/cut.raw.gz", "too early", gzipped(t, raw)[:200<<10]},
		{"/cut.raw.xz", "too early", xzed(t, raw)[:200<<10]},
		{"/more.raw.gz", "more data", append(gzipped(t, raw), gzipped(t, raw)...)},
		{"/large.qcow2", "needs 25 GiB, the VM has 1 GiB", nil},
	}
	handlers := map[string]http.HandlerFunc{}
	for _, a := range s {
		handlers[a.path] = body(a.data)
	}
	handlers["/large.qcow2"] = body(sized(t, 24*gib+512))
	srv := serve(t, handlers)
	dir := t.TempDir()
	c := open(t, dir, nil)
	for _, a := range s {
		_, err := c.Get(t.Context(), image.Request{URL: srv.URL + a.path, DiskBytes: gib})
		if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), a.want) {
			t.Errorf("%s: got %v, want an Invalid fault about %q", a.path, err, a.want)
		}
		if image.Temporary(err) {
			t.Errorf("%s: %v counts as temporary", a.path, err)
		}
	}
	if got := append(leftovers(t, dir), images(t, dir)...); got != nil {
		t.Errorf("left over: %v", got)
	}
}

// A download ends when it can no longer become a disk of the size that was
// bought, whatever the server announces.
func TestTooLargeEndsEarly(t *testing.T) {
	t.Parallel()

	sent := make(chan int64, 2)
	endless := func(head []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(head)
			n, _ := io.CopyN(w, zeroes{}, gib)
			sent <- n
		}
	}
	s := serve(t, map[string]http.HandlerFunc{"/a.raw": endless(disk(mib)), "/a.qcow2": endless(qcow(t, disk(mib)))})
	c := open(t, t.TempDir(), nil)
	for _, path := range []string{"/a.raw", "/a.qcow2"} {
		_, err := c.Get(t.Context(), image.Request{URL: s.URL + path, DiskBytes: 8 * mib})
		if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "needs more than") {
			t.Errorf("%s: got %v, want an Invalid fault", path, err)
		}
		if n := <-sent; n > 128*mib {
			t.Errorf("%s: the server could send %d bytes", path, n)
		}
	}
}

// zeroes is an endless source.
type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// sized returns an empty qcow2 disk of n bytes.
func sized(t *testing.T, n int64) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "q")
	qemuImg(t, "create", "-f", "qcow2", path, "0")
	qemuImg(t, "resize", "-f", "qcow2", path, itoa(n))
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestServersThatMisbehave(t *testing.T) {
	t.Parallel()

	hang := make(chan struct{})
	t.Cleanup(func() { close(hang) })
	status := func(n int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(n); _, _ = w.Write(disk(mib)) }
	}
	s := serve(t, map[string]http.HandlerFunc{
		"/403.img": status(403), "/410.img": status(410), "/206.img": status(206), "/429.img": status(429),
		"/500.img": status(500), "/503.img": status(503),
		"/short.img": func(w http.ResponseWriter, _ *http.Request) { // says 4096, sends 1024
			w.Header().Set("Content-Length", "4096")
			_, _ = w.Write(disk(mib)[:1024])
		},
		"/reset.img": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(disk(mib)[:300<<10])
			panic(http.ErrAbortHandler)
		},
		"/announced.img": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", itoa(1<<50))
			w.WriteHeader(http.StatusOK)
		},
		"/endless.img": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(disk(mib))
			_, _ = io.Copy(w, zeroes{})
		},
		"/slow.img": func(w http.ResponseWriter, r *http.Request) {
			for b := range bytes.SplitSeq(disk(mib), nil) {
				_, _ = w.Write(b)
				_ = http.NewResponseController(w).Flush()
				select {
				case <-r.Context().Done():
					return
				case <-time.After(20 * time.Millisecond):
				}
			}
		},
		"/silent.img": func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-r.Context().Done():
			case <-hang:
			}
		},
	})
	dir := t.TempDir()
	c := open(t, dir, func(cfg *image.Config) {
		cfg.MaxDownload = 8 * mib
		cfg.StallAfter, cfg.StallBytes = 400*time.Millisecond, 1000
	})
	for _, a := range []struct {
		path, want string
		temporary  bool
	}{
		{"/404.img", "answered 404 Not Found", false},
		{"/403.img", "answered 403 Forbidden", false},
		{"/410.img", "answered 410 Gone", false},
		{"/206.img", "answered 206", false},
		{"/429.img", "answered 429", true},
		{"/500.img", "answered 500", true},
		{"/503.img", "answered 503 Service Unavailable", true},
		{"/short.img", "1,024 of 4,096 bytes arrived", true},
		{"/reset.img", "broke after", true},
		{"/announced.img", "more than 8,388,608 bytes", false},
		{"/endless.img", "more than 8,388,608 bytes", false},
		{"/slow.img", "too slowly", true},
		{"/silent.img", "too slowly", true},
	} {
		_, err := c.Get(t.Context(), image.Request{URL: s.URL + a.path, DiskBytes: gib})
		if err == nil || !strings.Contains(fault.Message(err), a.want) || image.Temporary(err) != a.temporary {
			t.Errorf("%s: got %v (temporary: %v), want %q (%v)", a.path, err, image.Temporary(err), a.want, a.temporary)
		}
	}
	s.Close()
	if _, err := c.Get(t.Context(), image.Request{URL: s.URL + "/down.img", DiskBytes: gib}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("a server that is down: got %v, want an Unavailable fault", err)
	}
	if _, err := c.Get(t.Context(), image.Request{URL: "http://nothing.invalid/x.img", DiskBytes: gib}); err == nil {
		t.Error("a host that doesn't exist gave an image")
	}
	if got := append(leftovers(t, dir), images(t, dir)...); got != nil {
		t.Errorf("left over: %v", got)
	}
}

func TestOneFetchForAll(t *testing.T) {
	t.Parallel()

	release, started := make(chan struct{}), make(chan struct{})
	d := disk(4 * mib)
	s := serve(t, map[string]http.HandlerFunc{"/a.img": func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(d[:2*mib])
		_ = http.NewResponseController(w).Flush()
		close(started)
		<-release
		_, _ = w.Write(d[2*mib:])
	}})
	c := open(t, t.TempDir(), nil)

	// The first to come gives up while the others wait.
	first, giveUp := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() {
		_, err := c.Get(first, image.Request{URL: s.URL + "/a.img", DiskBytes: gib})
		gone <- err
	}()
	<-started
	var wg sync.WaitGroup
	errs := make(chan error, 10)
	for i := range 10 {
		wg.Go(func() {
			limit := int64(gib)
			if i == 9 {
				limit = mib // this VM's disk is too small, which is no one else's trouble
			}
			b, err := c.Get(t.Context(), image.Request{URL: s.URL + "/a.img", DiskBytes: limit})
			if i == 9 {
				if !fault.Is(err, fault.Invalid) {
					t.Errorf("a disk that is too small: got %v, want an Invalid fault", err)
				}
				return
			}
			if err == nil && b.VirtualBytes != 4*mib {
				t.Errorf("got %+v", b)
			}
			errs <- err
		})
	}
	waitFor(t, "ten others to join", func() bool { return image.Waiting(c, s.URL+"/a.img") == 11 })
	giveUp()
	if err := <-gone; err == nil {
		t.Error("the cancelled Get has no error")
	}
	close(release)
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Errorf("a waiting Get: %v", err)
		}
	}
	if n := s.count("/a.img"); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestFetchEndsWhenNobodyWaits(t *testing.T) {
	t.Parallel()

	started, ended := make(chan struct{}), make(chan struct{})
	s := serve(t, map[string]http.HandlerFunc{"/a.img": func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(disk(mib))
		_ = http.NewResponseController(w).Flush()
		close(started)
		<-r.Context().Done()
		close(ended)
	}})
	dir := t.TempDir()
	c := open(t, dir, nil)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-started; cancel() }()
	if _, err := c.Get(ctx, image.Request{URL: s.URL + "/a.img", DiskBytes: gib}); err == nil {
		t.Error("the cancelled Get has no error")
	}
	<-ended
	if err := c.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if got := append(leftovers(t, dir), images(t, dir)...); got != nil {
		t.Errorf("left over: %v", got)
	}
	if _, err := c.Get(t.Context(), image.Request{URL: s.URL + "/b.img", DiskBytes: gib}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("Get after Close: got %v, want an Unavailable fault", err)
	}
}

func TestProgress(t *testing.T) {
	t.Parallel()

	q := qcow(t, disk(8*mib), "-S", "0")
	s := serve(t, map[string]http.HandlerFunc{"/a.qcow2": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", itoa(int64(len(q))))
		_, _ = w.Write(q)
	}})
	last := map[image.Step]image.Progress{}
	n := 0
	c := open(t, t.TempDir(), nil)
	if _, err := c.Get(t.Context(), image.Request{URL: s.URL + "/a.qcow2", DiskBytes: gib, Progress: func(p image.Progress) { last[p.Step] = p; n++ }}); err != nil {
		t.Fatal(err)
	}
	size := int64(len(q))
	if got, want := last[image.Download], (image.Progress{Step: image.Download, Done: size, Total: size}); got != want {
		t.Errorf("download ended with %+v, want %+v", got, want)
	}
	if got, want := last[image.Unpack], (image.Progress{Step: image.Unpack, Done: 8 * mib, Total: 8 * mib}); got != want {
		t.Errorf("unpack ended with %+v, want %+v", got, want)
	}
	if n > 20 {
		t.Errorf("%d reports for %d bytes, want about one for each MiB", n, size)
	}
}
