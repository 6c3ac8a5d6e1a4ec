package agent_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/agent"
	"github.com/cpucloud/cpucloud/internal/archive"
	"github.com/cpucloud/cpucloud/internal/archive/archivetest"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// shop is a store of exports that needs no network, so that clocks can be faked.
type shop struct {
	mu      sync.Mutex
	objects map[string][]byte
	puts    []string
	refuse  func(*http.Request) int // status of an answer, 0 for none of its own
	// answered has each request be answered, or not; nil answers all.
	answered func(answer func())
}

const linkSecret = "X-Amz-Signature=feedbeef"

// RunErrand answers for the control plane: links are addresses of the shop.
func (c *control) RunErrand(_ context.Context, _ string, e vm.Errand) (vm.Pass, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.errands = append(c.errands, e)
	p := c.passes[e.Export]
	if !e.Stores() && p.Identity == "" {
		return p, fault.New(fault.NotFound, "nothing is made of it")
	}
	p.Link = "https://shop.test/" + e.Export + "/" + e.Name + "?" + linkSecret
	return p, nil
}

func (s *shop) RoundTrip(r *http.Request) (*http.Response, error) {
	body := []byte{}
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	answer := func(status int, body []byte) (*http.Response, error) {
		return &http.Response{StatusCode: status, Body: io.NopCloser(bytes.NewReader(body)), Header: http.Header{}, Request: r}, r.Context().Err()
	}
	if s.refuse != nil {
		if status := s.refuse(r); status == 1 {
			return nil, errors.New("connection reset")
		} else if status != 0 {
			return answer(status, nil)
		}
	}
	if s.answered != nil {
		lost := true
		s.answered(func() {
			if lost = false; r.Method == http.MethodPut {
				s.objects[r.URL.Path] = body
			}
		})
		if lost || r.Context().Err() != nil {
			return nil, errors.New("connection reset")
		}
	}
	if r.Method == http.MethodPut {
		s.objects[r.URL.Path] = body
		s.puts = append(s.puts, r.URL.Path)
		return answer(http.StatusOK, nil)
	}
	if object, ok := s.objects[r.URL.Path]; ok {
		return answer(http.StatusOK, object)
	}
	return answer(http.StatusNotFound, []byte("<Error><Code>NoSuchKey</Code></Error>"))
}

func (s *shop) refuses(f func(*http.Request) int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = f
}

func (s *shop) stored() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.puts)
}

// change changes the objects whose names have a part.
func (s *shop) change(part string, f func([]byte) []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, object := range s.objects {
		if strings.Contains(name, part) {
			if s.objects[name] = f(slices.Clone(object)); s.objects[name] == nil {
				delete(s.objects, name)
			}
		}
	}
}

// logged is what agents of a rig write to their log.
type logged struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

const guestText = "the customer's own text"

// exporting returns a rig whose VM 0xA has a snapshot, the store that it may use, and an
// order to export it that is not given yet. Recipient and identity are of one key.
func exporting(r *rig) (*shop, vm.Order, archive.Keys) {
	r.Helper()
	s := &shop{objects: map[string][]byte{}}
	r.config.Store = &http.Client{Transport: s}
	r.log = &logged{}
	r.config.Log = slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	k, err := archive.NewKeys()
	if err != nil {
		r.Fatal(err)
	}
	o := saving(r)
	r.halt()
	file := archivetest.Disk(1<<30/4, guestText)
	if err := os.WriteFile(r.dir+"/agent/vms/0xA/"+r.diskName(), file, 0o600); err != nil {
		r.Fatal(err)
	}
	r.start()
	r.order(o)
	seen := r.comes(o, vm.SnapshotThere)
	o.Exports = []vm.ExportWish{{ID: "exp_1", Snapshot: "snap_1", Recipient: k.Recipient, Bytes: seen.Bytes, SHA256: strings.TrimPrefix(seen.Checksum, "sha256:")}}
	return s, o, k
}

// diskName is what the first disk of a VM is called that there is.
func (r *rig) diskName() string {
	r.Helper()
	for _, name := range []string{"disk.qcow2", "disk.raw"} {
		if _, err := os.Stat(r.dir + "/agent/vms/0xA/" + name); err == nil {
			return name
		}
	}
	r.Fatal("there is no disk")
	return ""
}

func (r *rig) exported(o vm.Order) vm.ExportSeen {
	for _, e := range r.sighting(o.ID).Exports {
		if e.ID == o.Exports[0].ID {
			return e
		}
	}
	return vm.ExportSeen{}
}

// is waits until the export of an order is as is says.
func (r *rig) is(o vm.Order, what string, is func(vm.ExportSeen) bool) vm.ExportSeen {
	r.Helper()
	r.until(10*time.Minute, "the export is "+what, func() bool { return is(r.exported(o)) })
	return r.exported(o)
}

func stored(e vm.ExportSeen) bool { return e.Manifest != "" }

// traces returns the files of exports that the agent keeps.
func (r *rig) traces() (names []string) {
	r.Helper()
	err := filepath.WalkDir(r.dir+"/agent", func(_ string, d fs.DirEntry, err error) error {
		if err == nil && (strings.HasPrefix(d.Name(), "export") || strings.HasPrefix(d.Name(), "import")) {
			names = append(names, d.Name())
		}
		return err
	})
	if err != nil {
		r.Fatal(err)
	}
	return names
}

// secretless fails if a secret of exports is in the agent's folder, its log or its reports.
func (r *rig) secretless(secrets ...string) {
	r.Helper()
	everywhere := map[string]string{"the log": r.log.text.String(), "the report": fmt.Sprintf("%+v", r.last)}
	err := filepath.WalkDir(r.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		everywhere[path] = string(text)
		return err
	})
	if err != nil {
		r.Fatal(err)
	}
	for where, text := range everywhere {
		for _, secret := range secrets {
			if strings.Contains(text, secret) {
				r.Errorf("%q is in %s", secret, where)
			}
		}
	}
}

// A snapshot is exported beside the VM, and told with the checksum of its manifest; what
// is kept of it goes when it is not asked for any more.
func TestExport(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		s, o, k := exporting(r)
		r.order(o)
		seen := r.is(o, "stored", stored)
		text := s.objects["/exp_1/manifest.json"]
		if sum := fmt.Sprintf("%x", sha256.Sum256(text)); seen.Manifest != sum || seen.Through != o.Exports[0].Bytes || seen.Failed || seen.Reason != "" {
			t.Errorf("told %+v, want manifest %s", seen, sum)
		}
		for name, object := range s.objects {
			if bytes.Contains(object, []byte(guestText)) {
				t.Errorf("%s has plain text in it", name)
			}
		}
		if r.starts("0xA") != 1 {
			t.Errorf("%d starts of the VM", r.starts("0xA"))
		}
		for range 2 { // what was done is told again, and not done again
			puts := len(s.stored())
			r.halt()
			r.start()
			r.until(time.Minute, "it is told again", func() bool { return r.exported(o) == seen })
			if got := len(s.stored()); got != puts {
				t.Errorf("stored %d objects more", got-puts)
			}
		}
		o.Generation, o.Exports = o.Generation+1, nil
		r.order(o)
		r.until(time.Minute, "nothing is left", func() bool { return len(r.sighting("0xA").Exports) == 0 && len(r.traces()) == 0 })
		r.secretless(linkSecret, k.Identity)
	})
}

// What keeps a store from being reached is told, and tried again until it is.
func TestExportIsTriedAgain(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		s, o, k := exporting(r)
		for _, status := range []int{http.StatusForbidden, http.StatusNotFound, http.StatusServiceUnavailable, 1} {
			s.refuses(func(*http.Request) int { return status })
			r.order(o)
			r.is(o, "waiting", func(e vm.ExportSeen) bool { return strings.Contains(e.Reason, "it is tried again") && !e.Failed })
		}
		time.Sleep(time.Hour)
		s.refuses(nil)
		r.is(o, "stored", stored)
		r.secretless(linkSecret, k.Identity)
	})
}

// One that can't be is told as failed, once, and never begun again.
func TestExportThatFails(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		s, o, _ := exporting(r)
		o.Exports[0].SHA256 = strings.Repeat("0", 64)
		r.order(o)
		seen := r.is(o, "failed", func(e vm.ExportSeen) bool { return e.Failed })
		if !strings.Contains(seen.Reason, "damaged on its server's disk") {
			t.Errorf("told %+v", seen)
		}
		puts := len(s.stored())
		r.halt()
		r.start()
		r.until(time.Minute, "it is told again", func() bool { return r.exported(o) == seen })
		time.Sleep(time.Hour)
		if got := s.stored(); len(got) != puts || slices.Contains(got, "/exp_1/manifest.json") {
			t.Errorf("stored %v", got)
		}
	})
}

// An export that is not asked for any more is stopped where it is.
func TestExportIsCalledOff(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		s, o, _ := exporting(r)
		begun := make(chan struct{})
		s.refuses(func(*http.Request) int {
			select {
			case <-begun:
			default:
				close(begun)
			}
			return http.StatusServiceUnavailable
		})
		r.order(o)
		<-begun
		o.Generation, o.Exports = o.Generation+1, nil
		r.order(o)
		r.until(time.Minute, "nothing is left", func() bool { return len(r.traces()) == 0 && len(r.sighting("0xA").Exports) == 0 })
		s.refuses(nil)
		puts := len(s.stored())
		time.Sleep(time.Hour)
		if got := s.stored(); len(got) != puts {
			t.Errorf("stored %v", got)
		}
	})
}

// importing has the export of 0xA be stored, and returns an order for 0xB that is to be
// made of it and is not given yet.
func importing(r *rig) (*shop, vm.Order, archive.Keys) {
	r.Helper()
	s, o, k := exporting(r)
	r.order(o)
	return s, r.ofExport(o, r.is(o, "stored", stored), k), k
}

// ofExport returns an order for 0xB that is to be made of the export of an order.
func (r *rig) ofExport(o vm.Order, seen vm.ExportSeen, k archive.Keys) vm.Order {
	r.control.mu.Lock()
	defer r.control.mu.Unlock()
	r.passes = map[string]vm.Pass{"exp_1": {Identity: k.Identity, Manifest: seen.Manifest, Bytes: o.Exports[0].Bytes, SHA256: o.Exports[0].SHA256}}
	b := order("0xB", 1, ssh)
	b.Address = netip.MustParseAddr("127.77.0.2")
	b.From = "exp_1"
	return b
}

// importedText returns how what the disk of 0xB was made of begins.
func (r *rig) importedText() string {
	r.Helper()
	text, err := os.ReadFile(r.dir + "/agent/vms/0xB/import.raw")
	if err != nil {
		r.Fatal(err)
	}
	return strings.TrimRight(string(text[:100]), "\x00")
}

// A VM is made of an export: of a raw disk of its own that has what the snapshot had.
func TestVMOfExport(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		_, o, k := importing(r)
		r.order(o)
		r.reaches("0xB", 1, vm.Ready)
		if got := r.importedText(); got != guestText {
			t.Errorf("the disk begins with %q", got)
		}
		if got := r.traces(); !slices.Equal(slices.DeleteFunc(got, func(n string) bool { return strings.HasPrefix(n, "export") }), []string{"import.raw"}) {
			t.Errorf("left are %v", got)
		}
		r.secretless(linkSecret, k.Identity)
		started := r.starts("0xB")
		r.halt()
		r.start()
		o.Generation = 2
		r.order(o)
		r.reaches("0xB", 2, vm.Ready)
		if r.starts("0xB") != started {
			t.Error("it was started again")
		}
	})
}

// A VM is restored from an export: it gets another disk, and keeps the one that it has.
func TestRestoreFromExport(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		_, b, k := importing(r)
		o := order("0xA", 9, ssh)
		o.From, o.Disk = b.From, 9
		r.order(o)
		r.reaches("0xA", 9, vm.Ready)
		for _, name := range []string{"import-9.raw", "disk-9.qcow2", "disk.qcow2"} {
			if text, err := os.ReadFile(r.dir + "/agent/vms/0xA/" + name); err != nil || name == "import-9.raw" && !strings.HasPrefix(string(text), guestText) {
				t.Errorf("%s: %v", name, err)
			}
		}
		r.secretless(linkSecret, k.Identity)
		o.Generation, o.Disk, o.From, o.Purge = 10, 0, "", []int64{9}
		r.order(o)
		r.until(time.Minute, "nothing of the other disk is left", func() bool { return len(r.traces()) == 0 })
	})
}

// Whatever was done to what is in the store: no disk is made of it, and the VM is Broken
// with nothing of it left.
func TestTamperedExportMakesNoVM(t *testing.T) {
	t.Parallel()
	flip := func(b []byte) []byte { b[len(b)/2] ^= 1; return b }
	for name, change := range map[string]func(s *shop, r *rig){
		"one byte of a chunk":      func(s *shop, _ *rig) { s.change("/00000-", flip) },
		"a chunk cut short":        func(s *shop, _ *rig) { s.change("/00000-", func(b []byte) []byte { return b[:len(b)-1] }) },
		"a chunk that is gone":     func(s *shop, _ *rig) { s.change("/00000-", func([]byte) []byte { return nil }) },
		"one byte of the manifest": func(s *shop, _ *rig) { s.change("manifest", flip) },
		"another account's chunk": func(_ *shop, r *rig) {
			k, err := archive.NewKeys()
			if err != nil {
				r.Fatal(err)
			}
			r.control.mu.Lock()
			defer r.control.mu.Unlock()
			p := r.passes["exp_1"]
			p.Identity = k.Identity
			r.passes["exp_1"] = p
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(r *rig) {
				s, o, k := importing(r)
				change(s, r)
				r.order(o)
				r.until(10*time.Minute, "it is Broken", func() bool { return r.sighting("0xB").Phase == vm.Broken })
				if seen := r.sighting("0xB"); !strings.Contains(seen.Reason, "the export is damaged") || seen.Elsewhere {
					t.Errorf("told %+v", seen)
				}
				if r.starts("0xB") != 0 || r.disk("0xB") != "" || slices.ContainsFunc(r.traces(), func(n string) bool { return strings.HasPrefix(n, "import") }) {
					t.Errorf("%d starts, disk %q, left are %v", r.starts("0xB"), r.disk("0xB"), r.traces())
				}
				r.secretless(linkSecret, k.Identity)
			})
		})
	}
}

// An import that is cut off goes on; the store may be away for a while.
func TestImportGoesOnAfterwards(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		s, o, k := importing(r)
		s.refuses(func(q *http.Request) int {
			if strings.Contains(q.URL.Path, "/00000-") {
				return 1
			}
			return 0
		})
		r.order(o)
		time.Sleep(5 * time.Second)
		r.halt()
		r.start()
		time.Sleep(5 * time.Second)
		s.refuses(nil)
		r.reaches("0xB", 1, vm.Ready)
		if got := r.importedText(); got != guestText {
			t.Errorf("the disk begins with %q", got)
		}
		r.secretless(linkSecret, k.Identity)
	})
}

// An agent that ends at any request to the store, before it is answered or after, is
// followed by one that goes on: in the end the export is whole, and a VM made of it.
func TestExportEndsAnywhere(t *testing.T) {
	t.Parallel()
	for n := 1; n <= 4; n++ { // a chunk and the manifest are stored, and fetched
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprint(n, after), func(t *testing.T) {
				t.Parallel()
				bubble(t, func(r *rig) {
					s, o, k := exporting(r)
					requests := 0
					died := make(chan struct{})
					s.answered = func(answer func()) {
						requests++
						if requests != n {
							answer()
							return
						}
						if after {
							answer()
						}
						r.kill()
						close(died)
					}
					r.order(o)
					if n <= 2 {
						<-died
						r.halt()
						r.start()
					}
					seen := r.is(o, "stored", stored)
					b := r.ofExport(o, seen, k)
					r.order(b)
					if n > 2 {
						<-died
						r.halt()
						r.start()
					}
					r.reaches("0xB", 1, vm.Ready)
					if got := r.importedText(); got != guestText {
						t.Errorf("the disk begins with %q", got)
					}
					r.secretless(linkSecret, k.Identity)
				})
			})
		}
	}
}

// A disk that takes nothing of an export for a while costs time and nothing else.
func TestExportOnASickDisk(t *testing.T) {
	t.Parallel()
	for _, part := range []string{"export", "import"} {
		t.Run(part, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(r *rig) {
				_, o, k := exporting(r)
				var sick atomic.Bool
				sick.Store(true)
				r.halt()
				r.config = agent.WithFault(r.config, func(step string) error {
					if sick.Load() && strings.Contains(step, part) {
						return syscall.ENOSPC
					}
					return nil
				})
				r.start()
				r.order(o)
				if part == "export" {
					time.Sleep(time.Minute)
					sick.Store(false)
				}
				seen := r.is(o, "stored", stored)
				r.order(r.ofExport(o, seen, k))
				if part == "import" {
					time.Sleep(10 * time.Second)
					sick.Store(false)
				}
				r.reaches("0xB", 1, vm.Ready)
				if got := r.importedText(); got != guestText {
					t.Errorf("the disk begins with %q", got)
				}
			})
		})
	}
}
