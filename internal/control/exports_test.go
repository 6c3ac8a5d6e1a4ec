package control_test

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // what stores check a body by
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/archive"
	"github.com/cpucloud/cpucloud/internal/archive/archivetest"
	"github.com/cpucloud/cpucloud/internal/archive/s3"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// exporting is a cloud with a store, a server and a ready VM of Anna that has a snapshot.
type exporting struct {
	*cloud
	test    *testing.T
	gateway *archivetest.Gateway
	a       *agent
	anna    account.Actor
	vm      string
	disk    []byte // the snapshot's file
	shot    string
}

// withStore runs a test in such a cloud, on every engine.
func withStore(t *testing.T, fn func(t *testing.T, x *exporting)) {
	t.Helper()
	each(t, func(t *testing.T, c *cloud) {
		x := &exporting{cloud: c, test: t, gateway: archivetest.Start(t), disk: archivetest.Disk(25<<30, "plain text of Anna")}
		c.archive = x.gateway.Store("cloud")
		c.exports = control.ExportLimits{Count: 3, Bytes: 10 << 20}
		c.restart()
		x.a = c.join(room(4))
		x.anna = c.account("Anna", 40*price)
		x.vm = c.deploy(x.anna)
		x.a.reports(vm.Ready, x.vm)
		x.shot = x.snapshot(x.vm, "snap_1", x.disk)
		fn(t, x)
	})
}

// snapshot puts a snapshot of a VM into the store, as if its agent had made it.
func (x *exporting) snapshot(vmID, id string, file []byte) string {
	x.t.Helper()
	v := x.stored(vmID)
	x.must("snapshot", x.db.Write(x.t.Context(), func(tx *store.Tx) error {
		return tx.InsertSnapshot(x.t.Context(), vm.Snapshot{
			ID: id, VMID: v.ID, AccountID: v.AccountID, ServerID: v.ServerID, Name: "monday", CreatedAt: x.clock.Now(), State: vm.Available, At: x.clock.Now(),
			Bytes: int64(len(file)), VirtualBytes: 25 << 30, Checksum: fmt.Sprintf("sha256:%x", sha256.Sum256(file)), Consistency: "crash", Image: v.Spec.Image,
		})
	}))
	return id
}

// errands carries an agent's errands, as a depot of the export does.
type errands struct {
	x      *exporting
	server string
	vm     string
	export string
	pass   vm.Pass // the newest
}

func (e *errands) Put(ctx context.Context, o archive.Object, body io.ReadSeeker) error {
	p, err := e.x.RunErrand(ctx, e.server, vm.Errand{VM: e.vm, Export: e.export, Name: o.Name, Bytes: o.Bytes, MD5: o.MD5})
	if err != nil {
		return err
	}
	return s3.Put(ctx, http.DefaultClient, s3.Link(p.Link), o, body)
}

func (e *errands) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	var err error
	if e.pass, err = e.x.RunErrand(ctx, e.server, vm.Errand{VM: e.vm, Export: e.export, Name: name}); err != nil {
		return nil, err
	}
	return s3.Get(ctx, http.DefaultClient, s3.Link(e.pass.Link))
}

func (x *exporting) file() *os.File {
	x.t.Helper()
	f, err := os.CreateTemp("", "export")
	x.must("file", err)
	_ = os.Remove(f.Name())
	return f
}

// export has the snapshot exported, up to that its agent says so.
func (x *exporting) export(requestID string) vm.Export {
	x.t.Helper()
	e, err := x.Export(x.t.Context(), x.anna, x.shot, requestID)
	x.must("Export", err)
	x.stores(e.ID)
	return e
}

// stores does what the agent does for an export that it is asked for.
func (x *exporting) stores(id string) (manifest string) {
	x.t.Helper()
	wish := x.wished()
	spool := x.file()
	defer spool.Close() //nolint:errcheck // it has no name any more
	_, manifest, err := archive.Export{
		ID: wish.ID, Source: bytes.NewReader(x.disk), Bytes: wish.Bytes, SHA256: wish.SHA256, Recipient: wish.Recipient, Spool: spool,
		Depot: &errands{x: x, server: x.a.id, vm: x.vm, export: id}, Kept: func(archive.Chunk) error { return nil }, Progress: func(int64) {},
	}.Run(x.t.Context())
	x.must("store", err)
	x.tells(vm.ExportSeen{ID: id, Through: wish.Bytes, Manifest: manifest})
	return manifest
}

// wished returns the one export that the agent is asked for.
func (x *exporting) wished() vm.ExportWish {
	x.t.Helper()
	for _, o := range x.a.orders() {
		if o.ID == x.vm && len(o.Exports) == 1 {
			return o.Exports[0]
		}
	}
	x.t.Fatalf("the agent is asked for %+v", x.a.orders())
	return vm.ExportWish{}
}

// tells has the agent tell how far an export is.
func (x *exporting) tells(seen vm.ExportSeen) {
	x.t.Helper()
	v := x.stored(x.vm)
	x.must("Observe", x.a.sees(vm.Sighting{ID: x.vm, Generation: v.Generation, Phase: vm.Ready, Exports: []vm.ExportSeen{seen}}))
}

func (x *exporting) tend(want int) {
	x.t.Helper()
	if n, err := x.TendExports(x.t.Context()); err != nil || n != want {
		x.t.Errorf("TendExports: %d moved on (%v), want %d", n, err, want)
	}
}

func (x *exporting) now(id string) vm.Export {
	x.t.Helper()
	e, err := x.ExportByID(x.t.Context(), x.anna, id)
	x.must("ExportByID", err)
	return e
}

// done returns an export that is done.
func (x *exporting) done() vm.Export {
	x.t.Helper()
	e := x.export("")
	x.tend(1)
	e = x.now(e.ID)
	want(x.t, "state", e.State, vm.Exported)
	return e
}

// secretless fails if the VM's story tells a secret.
func (x *exporting) secretless(t *testing.T, secrets ...string) {
	t.Helper()
	dump := ""
	x.must("events", x.db.Read(t.Context(), func(tx *store.Tx) error {
		events, err := tx.Events(t.Context(), x.vm)
		dump = fmt.Sprintf("%+v", events)
		return err
	}))
	for _, secret := range append(secrets, archivetest.Secret, "X-Amz-Signature", "AGE-SECRET-KEY") {
		if strings.Contains(dump, secret) {
			t.Errorf("%q is in the VM's story: %s", secret, dump)
		}
	}
}

// An export is asked for once, done when all of it was looked for in the store, and a VM
// on another server is made of it.
func TestExport(t *testing.T) {
	t.Parallel()
	withStore(t, func(t *testing.T, x *exporting) {
		e, err := x.Export(t.Context(), x.anna, x.shot, "once")
		x.must("Export", err)
		again, err := x.Export(t.Context(), x.anna, x.shot, "once")
		x.must("Export again", err)
		want(t, "repeated", again, e)
		_, err = x.Export(t.Context(), x.anna, x.shot, "another")
		wantFault(t, "a second one", err, fault.Conflict)
		err = x.DeleteSnapshot(t.Context(), x.anna, x.shot)
		wantFault(t, "its snapshot is deleted", err, fault.Conflict)
		want(t, "the VM's generation", x.stored(x.vm).Generation, int64(1))

		x.tells(vm.ExportSeen{ID: e.ID, Through: 1000, Reason: "the store is away\x1b[2J; it is tried again"})
		now := x.now(e.ID)
		want(t, "through", now.Through, int64(1000))
		want(t, "reason", now.Reason, "the store is away [2J; it is tried again")
		x.tend(0)
		x.stores(e.ID)
		want(t, "before it was looked for", x.now(e.ID).State, vm.Uploading)
		x.tend(1)
		now = x.now(e.ID)
		want(t, "state", now.State, vm.Exported)
		want(t, "reason", now.Reason, "")
		if now.Sealed <= 0 || now.Ended.IsZero() || len(x.stored(x.vm).Exports) != 0 {
			t.Errorf("it is %+v", now)
		}
		for name, object := range x.gateway.Files(t) {
			if !strings.HasPrefix(name, "cloud/"+e.ID+"/") || bytes.Contains(object, []byte("plain text")) {
				t.Errorf("%s is in the store, %q", name, object[:min(len(object), 40)])
			}
		}
		list, err := x.Exports(t.Context(), x.anna)
		x.must("Exports", err)
		want(t, "used", list.Used, control.ExportLimits{Count: 1, Bytes: now.Sealed})
		x.tend(0)

		x.remove(x.anna, x.vm) // the export outlives it
		x.secretless(t)
		other := x.join(room(1))
		d := wish(1)
		d.Image, d.Export = "", e.ID
		made, err := x.Deploy(t.Context(), x.anna, d)
		x.must("Deploy", err)
		v := x.stored(made[0].ID)
		want(t, "from", v.From, e.ID)
		want(t, "image", v.Spec.Image, now.Image)
		server := x.a
		if v.ServerID == other.id {
			server = other
		}
		_, err = x.DeleteExport(t.Context(), x.anna, e.ID)
		wantFault(t, "deleted while a VM is made of it", err, fault.Conflict)
		x.restores(t, server, v.ID, e.ID)
		server.reports(vm.Ready, v.ID)
		_, err = x.RunErrand(t.Context(), server.id, vm.Errand{VM: v.ID, Export: e.ID, Name: archive.ManifestName})
		wantFault(t, "once the disk is there", err, fault.NotFound)

		_, err = x.DeleteExport(t.Context(), x.anna, e.ID)
		x.must("DeleteExport", err)
		x.clock.advance(s3.LinkTime)
		x.tend(1)
		_, err = x.ExportByID(t.Context(), x.anna, e.ID)
		wantFault(t, "once it is gone", err, fault.NotFound)
		want(t, "left in the store", len(x.gateway.Files(t)), 0)
		x.sound()
	})
}

// restores does what an agent does that makes a VM's disk of an export.
func (x *exporting) restores(t *testing.T, a *agent, vmID, exportID string) {
	t.Helper()
	e := &errands{x: x, server: a.id, vm: vmID, export: exportID}
	r, err := e.Get(t.Context(), archive.ManifestName)
	x.must("Get", err)
	_ = r.Close()
	target, spool := x.file(), x.file()
	defer target.Close() //nolint:errcheck // it has no name any more
	defer spool.Close()  //nolint:errcheck // it has no name any more
	x.must("import", archive.Import{
		ID: exportID, Manifest: e.pass.Manifest, Bytes: e.pass.Bytes, SHA256: e.pass.SHA256, Identity: e.pass.Identity, Depot: e, Spool: spool, Target: target,
		Done: map[int]bool{}, Kept: func(int) error { return nil }, Progress: func(int64) {},
	}.Run(t.Context()))
	got := make([]byte, len(x.disk))
	if _, err := target.ReadAt(got, 0); err != nil || !bytes.Equal(got, x.disk) {
		t.Errorf("another file came back (%v)", err)
	}
}

// Nobody gets what is needed to store or fetch an object but who is ordered to.
func TestErrandsOfOthers(t *testing.T) {
	t.Parallel()
	withStore(t, func(t *testing.T, x *exporting) {
		other := x.join(room(2))
		bert := x.account("Bert", 40*price)
		berts := x.deploy(bert)
		sum := md5.Sum(nil) //nolint:gosec // what stores check a body by
		put := vm.Errand{VM: x.vm, Name: "00000-0123456789abcdef", Bytes: 10, MD5: sum[:]}
		refused := func(what, server string, e vm.Errand, kind fault.Kind) {
			t.Helper()
			if p, err := x.RunErrand(t.Context(), server, e); !fault.Is(err, kind) || p != (vm.Pass{}) {
				t.Errorf("%s: got %v, want a fault of kind %s and nothing else", what, err, kind)
			}
		}
		put.Export = "exp_none"
		refused("an unknown export", x.a.id, put, fault.NotFound)
		e, err := x.Export(t.Context(), x.anna, x.shot, "")
		x.must("Export", err)
		put.Export = e.ID
		if _, err := x.RunErrand(t.Context(), x.a.id, put); err != nil {
			t.Fatal(err)
		}
		refused("another server", other.id, put, fault.NotFound)
		foreign := put
		foreign.VM = berts
		for _, server := range []string{x.a.id, other.id} {
			refused("another account's VM", server, foreign, fault.NotFound)
		}
		large := put
		large.Bytes = archive.MostObject(archive.ChunkBytes(e.Bytes)) + 1
		refused("more than an object may have", x.a.id, large, fault.Invalid)
		large.Name, large.Bytes = archive.ManifestName, archive.MaxManifest+1
		refused("more than a manifest may have", x.a.id, large, fault.Invalid)
		for range 16*2 + 16 {
			if _, err = x.RunErrand(t.Context(), x.a.id, put); err != nil {
				break
			}
		}
		wantFault(t, "more objects than it can have", err, fault.Invalid)
		x.must("begin anew", x.db.Write(t.Context(), func(tx *store.Tx) error {
			return errors.Join(tx.DeleteExport(t.Context(), e.ID), tx.InsertExport(t.Context(), e))
		}))
		for _, name := range []string{"", "../00000-0123456789abcdef", "other", "00000-0123456789ABCDEF", "manifest.json/x"} {
			odd := put
			odd.Name = name
			refused("an odd name", x.a.id, odd, fault.Invalid)
		}
		get := vm.Errand{VM: x.vm, Export: e.ID, Name: archive.ManifestName}
		refused("its own server fetches what it stored", x.a.id, get, fault.NotFound)
		x.stores(e.ID)
		x.tend(1)
		refused("it stores once it is done", x.a.id, put, fault.NotFound)
		get.VM = berts
		for _, server := range []string{x.a.id, other.id} {
			refused("another account's VM fetches it", server, get, fault.NotFound)
		}
		for _, what := range []struct {
			name string
			do   func() error
		}{
			{"export", func() error { _, err := x.Export(t.Context(), bert, x.shot, ""); return err }},
			{"get", func() error { _, err := x.ExportByID(t.Context(), bert, e.ID); return err }},
			{"delete", func() error { _, err := x.DeleteExport(t.Context(), bert, e.ID); return err }},
			{"deploy", func() error {
				d := wish(1)
				d.Image, d.Export = "", e.ID
				_, err := x.Deploy(t.Context(), bert, d)
				return err
			}},
		} {
			wantFault(t, "another account: "+what.name, what.do(), fault.NotFound)
		}
	})
}

// What the agent says is done is not believed: without all of it in the store there is
// no export, and what is there is removed.
func TestExportThatIsNotThere(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(x *exporting, e vm.Export, manifest string){
		"a chunk is missing": func(x *exporting, e vm.Export, _ string) { x.spoil(e, "/00000-", nil) },
		"a chunk is cut":     func(x *exporting, e vm.Export, _ string) { x.spoil(e, "/00000-", []byte("short")) },
		"no manifest":        func(x *exporting, e vm.Export, _ string) { x.spoil(e, "/manifest", nil) },
		"another manifest":   func(x *exporting, e vm.Export, _ string) { x.spoil(e, "/manifest", []byte("{}")) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			withStore(t, func(t *testing.T, x *exporting) {
				e, err := x.Export(t.Context(), x.anna, x.shot, "")
				x.must("Export", err)
				spoil(x, e, x.stores(e.ID))
				x.tend(1)
				now := x.now(e.ID)
				if now.State != vm.Unusable || now.Reason == "" || len(x.stored(x.vm).Exports) != 0 {
					t.Errorf("it is %+v", now)
				}
				d := wish(1)
				d.Image, d.Export = "", e.ID
				_, err = x.Deploy(t.Context(), x.anna, d)
				wantFault(t, "deploy", err, fault.Conflict)
				x.tend(0) // an agent may still store something
				x.clock.advance(s3.LinkTime)
				x.tend(1)
				want(t, "left in the store", len(x.gateway.Files(t)), 0)
				want(t, "it still says why", x.now(e.ID).State, vm.Unusable)
				x.tend(0)
				_, err = x.DeleteExport(t.Context(), x.anna, e.ID)
				x.must("DeleteExport", err)
				x.tend(1)
				_, err = x.ExportByID(t.Context(), x.anna, e.ID)
				wantFault(t, "it is gone", err, fault.NotFound)
			})
		})
	}
}

// spoil changes an object of an export on the server's disk.
func (x *exporting) spoil(e vm.Export, part string, body []byte) {
	x.t.Helper()
	for name := range x.gateway.Files(x.test) {
		if strings.Contains(name, e.ID+part) {
			x.gateway.Change(x.test, name, body)
		}
	}
}

// What a try that was cut off has left is removed once the export is done.
func TestLeftoversOfAnExport(t *testing.T) {
	t.Parallel()
	withStore(t, func(t *testing.T, x *exporting) {
		e, err := x.Export(t.Context(), x.anna, x.shot, "")
		x.must("Export", err)
		x.must("Put", x.gateway.Store("cloud").Put(t.Context(), e.ID+"/00000-0123456789abcdef", []byte("of before")))
		x.must("Put", x.gateway.Store("cloud").Put(t.Context(), "exp_other/00000-0123456789abcdef", []byte("unknown")))
		x.stores(e.ID)
		x.tend(1)
		for name := range x.gateway.Files(t) {
			if strings.HasSuffix(name, e.ID+"/00000-0123456789abcdef") {
				t.Errorf("%s is left", name)
			}
		}
		if _, there := x.gateway.Files(t)["cloud/exp_other/00000-0123456789abcdef"]; !there {
			t.Error("what nobody knows of was removed")
		}
	})
}

// An export that does not get on, or whose VM goes, is given up and says why; one that
// can't be made is so at once.
func TestExportIsGivenUp(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		end   func(x *exporting, e vm.Export)
		moved int
		why   string
	}{
		"silence": {func(x *exporting, e vm.Export) {
			x.clock.advance(50 * time.Minute)
			x.tells(vm.ExportSeen{ID: e.ID, Through: 5})
			x.clock.advance(50 * time.Minute)
			x.tend(0)
			x.tells(vm.ExportSeen{ID: e.ID, Through: 5, Reason: "the store of exports answers 403"})
			x.clock.advance(10 * time.Minute)
		}, 1, "did not get on for 1h0m0s: the store of exports answers 403"},
		"its VM is deleted": {func(x *exporting, _ vm.Export) {
			x.must("remove", x.db.Write(x.t.Context(), func(tx *store.Tx) error {
				v, err := tx.VM(x.t.Context(), x.vm)
				v.Goal = vm.Remove
				return errors.Join(err, tx.UpdateVM(x.t.Context(), v))
			}))
		}, 1, "its VM was deleted"},
		"its agent can't": {func(x *exporting, e vm.Export) {
			x.tells(vm.ExportSeen{ID: e.ID, Failed: true, Reason: "the snapshot is damaged"})
		}, 0, "the snapshot is damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			withStore(t, func(t *testing.T, x *exporting) {
				e, err := x.Export(t.Context(), x.anna, x.shot, "")
				x.must("Export", err)
				tt.end(x, e)
				x.tend(tt.moved)
				now := x.now(e.ID)
				if now.State != vm.Unusable || !strings.Contains(now.Reason, tt.why) || now.Ended.IsZero() || len(x.stored(x.vm).Exports) != 0 {
					t.Errorf("it is %+v, want that it failed: %s", now, tt.why)
				}
				list, err := x.Exports(t.Context(), x.anna)
				x.must("Exports", err)
				want(t, "used", list.Used, control.ExportLimits{Count: 1})
			})
		})
	}
}

// A store that is away for a while costs time and nothing else.
func TestStoreIsAway(t *testing.T) {
	t.Parallel()
	withStore(t, func(t *testing.T, x *exporting) {
		e := x.export("")
		x.gateway.Wrap(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.WriteHeader(http.StatusServiceUnavailable)
		})
		for range 2 {
			if n, err := x.TendExports(t.Context()); n != 0 || !fault.Is(err, fault.Unavailable) {
				t.Errorf("TendExports: %d, %v", n, err)
			}
		}
		want(t, "state", x.now(e.ID).State, vm.Uploading)
		x.gateway.Wrap(nil)
		x.tend(1)
		want(t, "state", x.now(e.ID).State, vm.Exported)
		_, err := x.DeleteExport(t.Context(), x.anna, e.ID)
		x.must("DeleteExport", err)
		x.clock.advance(s3.LinkTime)
		x.gateway.Wrap(func(w http.ResponseWriter, r *http.Request, onward http.Handler) {
			if r.Method == http.MethodDelete && !strings.HasSuffix(r.URL.Path, archive.ManifestName) {
				w.WriteHeader(http.StatusForbidden)
				return
			}
			onward.ServeHTTP(w, r)
		})
		if _, err := x.TendExports(t.Context()); err == nil {
			t.Error("it is gone though nothing could be removed")
		}
		for name := range x.gateway.Files(t) {
			if filepath.Base(name) == archive.ManifestName {
				t.Error("what is half removed looks whole")
			}
		}
		want(t, "state", x.now(e.ID).State, vm.Deleting)
		x.gateway.Wrap(nil)
		x.tend(1)
		want(t, "left in the store", len(x.gateway.Files(t)), 0)
	})
}

// An account's exports take no more than they may.
func TestExportLimits(t *testing.T) {
	t.Parallel()
	withStore(t, func(t *testing.T, x *exporting) {
		for range 3 {
			x.done()
		}
		_, err := x.Export(t.Context(), x.anna, x.shot, "")
		wantFault(t, "a fourth one", err, fault.Exhausted)
		x.exports.Count, x.exports.Bytes = 10, int64(len(x.disk))
		x.restart()
		_, err = x.Export(t.Context(), x.anna, x.shot, "")
		wantFault(t, "too many bytes", err, fault.Exhausted)
		x.archive = nil
		x.restart()
		_, err = x.Export(t.Context(), x.anna, x.shot, "")
		wantFault(t, "no store", err, fault.Unavailable)
	})
}

// What an export is decrypted with is sealed for its account, and for itself.
func TestKeysOfExports(t *testing.T) {
	t.Parallel()
	withStore(t, func(t *testing.T, x *exporting) {
		one, two := x.done(), x.done()
		if bytes.Contains(one.Identity, []byte("AGE-SECRET-KEY")) || bytes.Equal(one.Identity, two.Identity) || one.Recipient == two.Recipient {
			t.Error("keys are not sealed, or not each export's own")
		}
		d := wish(1)
		d.Image, d.Export = "", one.ID
		made, err := x.Deploy(t.Context(), x.anna, d)
		x.must("Deploy", err)
		get := vm.Errand{VM: made[0].ID, Export: one.ID, Name: archive.ManifestName}
		p, err := x.RunErrand(t.Context(), x.a.id, get)
		x.must("RunErrand", err)
		if !strings.HasPrefix(p.Identity, "AGE-SECRET-KEY-1") || strings.Contains(fmt.Sprintf("%v %+v %#v", p, p, p), "AGE-SECRET") {
			t.Error("no key, or one that says itself")
		}
		x.must("swap keys", x.db.Write(t.Context(), func(tx *store.Tx) error {
			if err := tx.DeleteExport(t.Context(), one.ID); err != nil {
				return err
			}
			one.Identity = two.Identity
			return tx.InsertExport(t.Context(), one)
		}))
		_, err = x.RunErrand(t.Context(), x.a.id, get)
		wantFault(t, "with another export's key", err, fault.Internal)
	})
}

// A VM is restored from an export of its account: it gets another disk, and the export
// stays as long as that is made.
func TestRestoreFromExport(t *testing.T) {
	t.Parallel()
	withStore(t, func(t *testing.T, x *exporting) {
		e := x.done()
		bert := x.account("Bert", 40*price)
		berts := x.deploy(bert)
		x.a.reports(vm.Ready, berts)
		_, err := x.Operate(t.Context(), bert, berts, vm.Restore, "", x.Restore(e.ID))
		wantFault(t, "another account's", err, fault.NotFound)
		_, err = x.Operate(t.Context(), x.anna, x.vm, vm.Restore, "", x.Restore("exp_none"))
		wantFault(t, "an unknown one", err, fault.NotFound)

		o, err := x.Operate(t.Context(), x.anna, x.vm, vm.Restore, "", x.Restore(e.ID))
		x.must("Operate", err)
		v := x.stored(x.vm)
		want(t, "from", v.From, e.ID)
		want(t, "disk", v.Disk, v.Generation)
		want(t, "about", o.Result, map[string]string{vm.ExportResult: e.ID})
		_, err = x.DeleteExport(t.Context(), x.anna, e.ID)
		wantFault(t, "deleted while the VM is restored", err, fault.Conflict)
		x.restores(t, x.a, x.vm, e.ID)
		x.must("Observe", x.a.sees(vm.Sighting{ID: x.vm, Generation: v.Generation, Phase: vm.Ready, Disk: v.Disk, Disks: []vm.DiskSeen{{Number: 0}, {Number: v.Disk}}}))
		_, err = x.RunErrand(t.Context(), x.a.id, vm.Errand{VM: x.vm, Export: e.ID, Name: archive.ManifestName})
		wantFault(t, "once the disk is there", err, fault.NotFound)
		_, err = x.DeleteExport(t.Context(), x.anna, e.ID)
		x.must("DeleteExport", err)
		_, err = x.Operate(t.Context(), x.anna, x.vm, vm.Restore, "", x.Restore(e.ID))
		wantFault(t, "once it is deleted", err, fault.Conflict)
	})
}
