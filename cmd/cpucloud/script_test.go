package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/cpucloud/cpucloud/internal/agent"
	"github.com/cpucloud/cpucloud/internal/agent/local"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"cpucloud": func() { os.Exit(run()) }})
}

// rawDisk is a disk of n MiB that passes for one that boots.
func rawDisk(n int) []byte {
	d := make([]byte, n<<20)
	d[446+4] = 0x83
	binary.LittleEndian.PutUint32(d[446+8:], 8)
	binary.LittleEndian.PutUint32(d[446+12:], uint32(len(d)/512-8)) //nolint:gosec // small
	d[510], d[511] = 0x55, 0xaa
	copy(d[8*512:], bytes.Repeat([]byte{byte(n)}, 64<<10))
	return d
}

// TestScripts runs testdata/*.txtar: commands on a provider's server. $IMAGES is
// an image server, $AGENT the folder of an agent that runs, $IDLE that of one that
// does not.
func TestScripts(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/one.raw":
			_, _ = w.Write(rawDisk(1))
		case "/two.raw":
			_, _ = w.Write(rawDisk(2))
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(s.Close)
	testscript.Run(t, testscript.Params{
		Dir: "testdata", RequireExplicitExec: true, RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("IMAGES", s.URL)
			env.Setenv("AGENT", filepath.Join(env.WorkDir, "running"))
			env.Setenv("IDLE", filepath.Join(env.WorkDir, "idle"))
			stop, err := runDesk(filepath.Join(env.WorkDir, "running"))
			env.Defer(stop)
			return err
		},
	})
}

// runDesk answers in dir as an agent does, which may fetch from this host.
func runDesk(dir string) (stop func(), err error) {
	f, err := openFolder(dir)
	if err != nil {
		return func() {}, err
	}
	cache, err := openImages(imagesDir(dir), imageFlags{allow: []string{"127.0.0.1"}, quota: 1}, nil, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		return func() {}, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	counter, err := local.Listen(ctx, dir)
	if err != nil {
		cancel()
		return func() {}, err
	}
	go func() {
		ended <- counter.Serve(ctx, local.Desk{Cache: cache, InUse: func() (map[string]bool, error) { return agent.UsedImages(dir) }})
	}()
	return func() {
		cancel()
		if err := errors.Join(<-ended, cache.Close(), f.Close()); err != nil {
			panic(err) // what the scripts ask has not ended as it should
		}
	}, nil
}
