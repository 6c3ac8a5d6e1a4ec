package image_test

import (
	"bytes"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/image"
)

// Whatever becomes of a fetch, what may be secret in its address is told to nobody:
// not in errors, logs, nor on the disk.
func TestSecretsOfAddresses(t *testing.T) {
	t.Parallel()

	garbage, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = garbage.Close() })
	go func() {
		for {
			c, err := garbage.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("SSH-2.0-OpenSSH\r\n\r\n"))
			_ = c.Close()
		}
	}()
	s := steady(disk(2 * mib))
	s.script = []func(*shaky, http.ResponseWriter, *http.Request){cut(1000), cut(1), cut(1), cut(1), cut(1), cut(1)}
	srv := serve(t, map[string]http.HandlerFunc{
		"/good.img": body(disk(mib)), "/broken.img": s.ServeHTTP, "/page.img": body([]byte("<html>")),
		"/away.img": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://10.0.0.1/?token=hush-hush", http.StatusFound)
		},
		"/loop.img": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.String(), http.StatusFound) },
		"/header.img": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "://hush-hush")
			w.WriteHeader(http.StatusFound)
		},
	})
	dir := t.TempDir()
	var log bytes.Buffer
	var p pauses
	c := open(t, dir, func(cfg *image.Config) {
		cfg.Log, cfg.Pause = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})), p.wait
	})
	for _, address := range []string{
		srv.URL + "/good.img", srv.URL + "/broken.img", srv.URL + "/page.img", srv.URL + "/away.img", srv.URL + "/loop.img", srv.URL + "/header.img",
		srv.URL + "/none.img", "http://" + garbage.Addr().String() + "/a.img", "http://127.0.0.1:1/a.img", "http://nothing.invalid/a.img",
		"http://user:hush-hush@127.0.0.1/a.img",
	} {
		_, err := c.Get(t.Context(), image.Request{URL: address + "?token=hush-hush", DiskBytes: gib, Tenant: "tenant-of-anna"})
		if err != nil && (strings.Contains(err.Error(), "hush") || strings.Contains(fault.Message(err), "hush")) {
			t.Errorf("%s: the error tells the secret: %v", address, err)
		}
		if err == nil != strings.HasSuffix(address, "/good.img") {
			t.Errorf("%s: %v", address, err)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if text := log.String(); strings.Contains(text, "hush") || !strings.Contains(text, "good.img?…") {
		t.Errorf("the log tells\n%s", text)
	}
	err = fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasPrefix(path, "sha256-") {
			return err
		}
		if b, err := os.ReadFile(filepath.Join(dir, path)); err != nil || bytes.Contains(b, []byte("hush")) {
			t.Errorf("%s holds the secret, %v", path, err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
