package image_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/image"
)

// cached returns a cache, and what it has made of content that is served as path.
func cached(t *testing.T, path string, content []byte) (*image.Cache, image.Base) {
	t.Helper()
	s := serve(t, map[string]http.HandlerFunc{path: body(content)})
	c := open(t, t.TempDir(), nil)
	base, err := c.Get(t.Context(), image.Request{URL: s.URL + path, DiskBytes: gib})
	if err != nil {
		t.Fatal(err)
	}
	return c, base
}

func TestOverlay(t *testing.T) {
	t.Parallel()

	c, base := cached(t, "/a.qcow2", qcow(t, disk(4*mib)))
	dir := t.TempDir()
	path := filepath.Join(dir, "disk.qcow2")
	if err := os.WriteFile(path+".part", []byte("half"), 0o600); err != nil { // a crash's
		t.Fatal(err)
	}
	if err := c.Overlay(t.Context(), base, path, 64*mib); err != nil {
		t.Fatal(err)
	}
	var info struct {
		Format        string `json:"format"`
		VirtualSize   int64  `json:"virtual-size"`
		Backing       string `json:"backing-filename"`
		BackingFormat string `json:"backing-filename-format"`
	}
	if err := json.Unmarshal([]byte(qemuImg(t, "info", "--output=json", "-f", "qcow2", path)), &info); err != nil {
		t.Fatal(err)
	}
	if info.Format != "qcow2" || info.VirtualSize != 64*mib || info.Backing != base.Path || info.BackingFormat != "raw" {
		t.Errorf("the overlay is %+v", info)
	}
	out := filepath.Join(dir, "flat")
	qemuImg(t, "convert", "-f", "qcow2", "-O", "raw", path, out)
	got, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got[:4*mib], disk(4*mib)) {
		t.Error("the overlay doesn't show the base")
	}
	before, _ := os.ReadFile(path)
	if err := c.Overlay(t.Context(), base, path, 128*mib); err != nil {
		t.Errorf("again: %v", err)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Error("a disk that was there has changed")
	}
}

func TestOverlayRefuses(t *testing.T) {
	t.Parallel()

	c, base := cached(t, "/a.img", disk(4*mib))
	dir := t.TempDir()
	if err := c.Overlay(t.Context(), base, filepath.Join(dir, "small"), mib); !fault.Is(err, fault.Invalid) {
		t.Errorf("smaller than the base: got %v, want an Invalid fault", err)
	}
	if err := c.Overlay(t.Context(), base, "json:{}", gib); !fault.Is(err, fault.Internal) {
		t.Errorf("a path that qemu-img would read as something else: got %v, want an Internal fault", err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := c.Overlay(t.Context(), base, filepath.Join(dir, "link"), gib); err == nil {
		t.Error("a symbolic link was taken for a disk")
	}
	gone := base
	gone.Path = filepath.Join(dir, "gone")
	if err := c.Overlay(t.Context(), gone, filepath.Join(dir, "new"), gib); err == nil {
		t.Error("an overlay on nothing was made")
	}
	missing := open(t, t.TempDir(), func(cfg *image.Config) { cfg.QemuImg = "/nowhere/qemu-img" })
	err := missing.Overlay(t.Context(), base, filepath.Join(dir, "new"), gib)
	if !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "qemu-utils") {
		t.Errorf("without qemu-img: got %v, want an Unavailable fault that names qemu-utils", err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("left over: %v", entries)
	}
}

// What a guest writes into its disk is never taken for a disk format: the
// base is raw by name, and the overlay's own header can't be reached.
func TestGuestCannotPlantABackingFile(t *testing.T) {
	t.Parallel()

	c, base := cached(t, "/a.raw", disk(4*mib))
	dir := t.TempDir()
	path, evil := filepath.Join(dir, "disk.qcow2"), filepath.Join(dir, "evil")
	if err := c.Overlay(t.Context(), base, path, 64*mib); err != nil {
		t.Fatal(err)
	}
	qemuImg(t, "create", "-f", "qcow2", "-F", "raw", "-b", "/etc/passwd", "-u", evil, "1M")
	// The guest writes that image over the start of its disk.
	qemuImg(t, "dd", "-f", "raw", "-O", "raw", "if="+evil, "of="+evil+".raw", "bs=64k")
	qemuImg(t, "convert", "-n", "-f", "raw", "-O", "qcow2", evil+".raw", path)
	out := filepath.Join(dir, "seen")
	qemuImg(t, "convert", "-f", "qcow2", "-O", "raw", path, out)
	got, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(got, []byte("QFI\xfb")) {
		t.Errorf("the disk begins with %q, want the bytes that the guest wrote", got[:8])
	}
}

// orphan is a qemu-img that outlives its caller, and writes when it is let go.
const orphan = `#!/bin/sh
for last; do target=$before before=$last; done
(cd %s; cat go; echo garbage >"$target"; echo >done) >/dev/null 2>&1 &
exit 1
`

// A qemu-img that was left over by a crash harms neither the disk that was made
// since, nor leaves anything.
func TestOrphanHarmsNothing(t *testing.T) {
	t.Parallel()

	c, base := cached(t, "/a.raw", disk(4*mib))
	dir, pipes := t.TempDir(), t.TempDir()
	for _, name := range []string{"go", "done"} {
		if err := syscall.Mkfifo(filepath.Join(pipes, name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	script := filepath.Join(pipes, "qemu-img")
	if err := os.WriteFile(script, fmt.Appendf(nil, orphan, pipes), 0o700); err != nil {
		t.Fatal(err)
	}
	crashed := open(t, t.TempDir(), func(cfg *image.Config) { cfg.QemuImg = script })
	image.Unconfine(crashed)
	path := filepath.Join(dir, "disk.qcow2")
	if err := crashed.Overlay(t.Context(), base, path, 64*mib); err == nil {
		t.Fatal("Overlay by a qemu-img that ends with 1: no error")
	}
	if err := c.Overlay(t.Context(), base, path, 64*mib); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(pipes, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := os.ReadFile(filepath.Join(pipes, "done")); err != nil {
		t.Fatal(err)
	}
	qemuImg(t, "check", "-f", "qcow2", path)
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("left over: %v", entries)
	}
}
