// Package archivetest starts a real S3 server for tests: versitygw, as a process of
// its own over a folder. Requests go through the test's process, which can look at
// them, change answers and cut them off.
package archivetest

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/archive/s3"
)

const (
	bucket = "exports"
	// Secret is the secret key of the server: it may appear nowhere.
	Secret = "secret-key-of-the-store"
	// AccessKey is its name.
	AccessKey = "ACCESSKEYOFSTORE"
)

// Gateway is a running S3 server.
type Gateway struct {
	URL    string // of the server
	Host   string // and port
	folder string // with the bucket in it

	wrap atomic.Pointer[func(http.ResponseWriter, *http.Request, http.Handler)]
	mu   sync.Mutex
	seen []string
}

// Start starts a server, which ends with the test.
func Start(tb testing.TB) *Gateway {
	tb.Helper()
	dir, err := os.MkdirTemp("", "s3") //nolint:usetesting // a socket's path may be 107 bytes long
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	g := &Gateway{folder: filepath.Join(dir, "data")}
	for _, d := range []string{filepath.Join(g.folder, bucket), filepath.Join(dir, "meta")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			tb.Fatal(err)
		}
	}
	socket := filepath.Join(dir, "socket")
	run(tb, dir, socket, g.folder)
	server := httptest.NewServer(g.proxy(socket))
	tb.Cleanup(server.Close)
	g.URL, g.Host = server.URL, strings.TrimPrefix(server.URL, "http://")
	g.await(tb)
	return g
}

// run starts the process.
func run(tb testing.TB, dir, socket, folder string) {
	tb.Helper()
	out, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(tb.Context()), Program(tb), "--port", socket, "--quiet", "posix", "--sidecar", filepath.Join(dir, "meta"), folder)
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY_ID="+AccessKey, "ROOT_SECRET_ACCESS_KEY="+Secret)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if text, err := os.ReadFile(out.Name()); err == nil && tb.Failed() {
			tb.Logf("the S3 server says:\n%.4000s", text)
		}
		_ = out.Close()
	})
}

// building makes sure that one test at a time builds the server.
var building sync.Mutex

// Program returns the path of versitygw, which it builds unless `make` did before.
func Program(tb testing.TB) string {
	tb.Helper()
	building.Lock()
	defer building.Unlock()
	_, here, _, _ := runtime.Caller(0)
	root := filepath.Join(filepath.Dir(here), "..", "..", "..")
	program := filepath.Join(root, "build", "tools", "versitygw")
	if _, err := os.Stat(program); err == nil {
		return program
	} else if !errors.Is(err, fs.ErrNotExist) {
		tb.Fatal(err)
	}
	if out, err := exec.CommandContext(tb.Context(), "make", "-C", root, "build/tools/versitygw").CombinedOutput(); err != nil {
		tb.Fatalf("make build/tools/versitygw: %v\n%s", err, out)
	}
	return program
}

// proxy hands requests on to the server at a socket.
func (g *Gateway) proxy(socket string) http.Handler {
	var dialer net.Dialer
	onward := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: "socket"})
			r.Out.Host = r.In.Host // which is signed
		},
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return dialer.DialContext(ctx, "unix", socket)
			},
			DisableCompression: true,
		},
		ErrorLog: log.New(io.Discard, "", 0), // while the server starts, and where a test cuts it off
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		g.seen = append(g.seen, r.Method+" "+strings.TrimPrefix(r.URL.Path, "/"+bucket+"/"))
		g.mu.Unlock()
		if f := g.wrap.Load(); f != nil {
			(*f)(w, r, onward)
			return
		}
		onward.ServeHTTP(w, r)
	})
}

// await waits until the server answers.
func (g *Gateway) await(tb testing.TB) {
	tb.Helper()
	deadline, tick := time.NewTimer(20*time.Second), time.NewTicker(20*time.Millisecond)
	defer deadline.Stop()
	defer tick.Stop()
	store := g.Store("")
	for {
		_, err := store.List(tb.Context(), "none")
		if err == nil {
			break
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			tb.Fatalf("the S3 server does not answer: %v", err)
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.seen = nil
}

// Wrap has f answer requests from now on; nil ends that.
func (g *Gateway) Wrap(f func(w http.ResponseWriter, r *http.Request, onward http.Handler)) {
	if f == nil {
		g.wrap.Store(nil)
		return
	}
	g.wrap.Store(&f)
}

// Requests returns what was asked for until now: "PUT prefix/name".
func (g *Gateway) Requests() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.seen)
}

// Address is how an operator names the store: s3://….
func (g *Gateway) Address(prefix string) string {
	return "s3://" + bucket + "/" + prefix + "?endpoint=" + g.URL
}

// Credentials are the keys of the store.
func (g *Gateway) Credentials() s3.Credentials {
	return s3.Credentials{AccessKey: AccessKey, SecretKey: Secret}
}

// now is the clock of stores.
var now = time.Now //nolint:forbidigo // a process knows no other time

// Store returns the store as who has its keys uses it.
func (g *Gateway) Store(prefix string) *s3.Store {
	l, err := s3.ParseLocation(g.Address(prefix))
	if err != nil {
		panic(err) //nolint:forbidigo // a test's own mistake
	}
	return s3.New(s3.Config{Location: l, Credentials: g.Credentials(), Now: now})
}

// Files returns what lies on the server's disk, by name.
func (g *Gateway) Files(tb testing.TB) map[string][]byte {
	tb.Helper()
	files := map[string][]byte{}
	root := filepath.Join(g.folder, bucket)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		files[name], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return files
}

// Change replaces an object on the server's disk; nil removes it.
func (g *Gateway) Change(tb testing.TB, name string, body []byte) {
	tb.Helper()
	path := filepath.Join(g.folder, bucket, name)
	err := os.Remove(path)
	if err == nil && body != nil {
		err = os.WriteFile(path, body, 0o600)
	}
	if err != nil {
		tb.Fatal(err)
	}
}
