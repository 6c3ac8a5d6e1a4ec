package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cpucloud/cpucloud/internal/archive"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/vm"
)

const (
	// exportFile is what is kept of an export beside the VM that it is of, until it is
	// no longer asked for.
	exportFile   = "export-"
	exportSuffix = ".json"
	// exportSpool is where an object lies until it is stored.
	exportSpool = "export.spool"
	// tellEvery is how often it is told how far an export is.
	tellEvery = 2 * time.Second
)

// exporter stores snapshots outside of this server, one at a time: it takes a core and
// what the line gives. It goes on beside all that is done to VMs.
type exporter struct {
	Config
	folder  *folder
	book    *book
	errands errands
	tries   map[string]try // of exports that did not work yet, by id
	swept   bool           // what earlier starts have left is removed
}

// try says when something is tried again.
type try struct {
	count int
	next  time.Time
}

// exported is what is kept of an export.
type exported struct {
	Chunks map[int]archive.Chunk `json:"chunks"`         // that are stored, by number
	Seen   vm.ExportSeen         `json:"seen"`           // what was last told
	Over   bool                  `json:"over,omitempty"` // there is nothing left to do
}

func newExporter(c Config, f *folder, b *book, e errands) *exporter {
	return &exporter{Config: c, folder: f, book: b, errands: e, tries: map[string]try{}}
}

// job is one export that is asked for.
type job struct {
	vmID string
	vm.ExportWish
}

func (j job) file() string { return filepath.Join(vmsDir, j.vmID, exportFile+j.ID+exportSuffix) }

// run exports until ctx is cancelled.
func (x *exporter) run(ctx context.Context) {
	select {
	case <-x.book.looked:
	case <-ctx.Done():
	}
	for ctx.Err() == nil {
		jobs, changed := x.book.exports()
		x.sweep(ctx, jobs)
		j, kept, pause := x.next(ctx, jobs)
		if j == nil {
			wait(ctx, pause, changed)
			continue
		}
		err := x.work(ctx, *j, kept)
		if ctx.Err() == nil {
			x.settle(ctx, *j, kept, err)
		}
	}
}

// exports returns the exports that are asked for, in the order of their VMs, and a
// channel that is closed when that may have changed.
func (b *book) exports() (jobs []job, changed <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, o := range b.list.Orders {
		if o.Goal == vm.Remove {
			continue
		}
		for _, w := range o.Exports {
			if snapshotPattern.MatchString(w.ID) && snapshotPattern.MatchString(w.Snapshot) {
				jobs = append(jobs, job{o.ID, w})
			}
		}
	}
	return jobs, b.changed
}

// next returns the first export that is due and not over, or for how long there is none.
func (x *exporter) next(ctx context.Context, jobs []job) (j *job, kept *exported, pause time.Duration) {
	pause = lastRetry
	for _, j := range jobs {
		kept := &exported{}
		if _, err := x.folder.read(j.file(), kept); err != nil { // it is exported anew
			x.Log.WarnContext(ctx, "what is kept of an export can't be read", "vm_id", j.vmID, "export_id", j.ID, "error", err)
			kept = &exported{}
		}
		if kept.Chunks == nil {
			kept.Chunks = map[int]archive.Chunk{}
		}
		if kept.Over {
			x.tell(ctx, j, kept.Seen)
			continue
		}
		if wait := x.tries[j.ID].next.Sub(x.Now()); wait > 0 && wait <= lastRetry {
			pause = min(pause, wait)
			continue
		}
		return &j, kept, 0
	}
	return nil, nil, pause
}

// work stores one snapshot, as long as that is asked for.
func (x *exporter) work(ctx context.Context, j job, kept *exported) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // ends with ctx
		for {
			jobs, changed := x.book.exports()
			if !slices.Contains(jobs, j) {
				cancel()
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}()
	source, err := x.folder.root.OpenFile(snapshotName(j.vmID, j.Snapshot), os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return fault.New(fault.Invalid, "the snapshot is not on its server any more")
	}
	if err != nil {
		return fmt.Errorf("open snapshot: %w", err)
	}
	defer source.Close() //nolint:errcheck // only read from
	spool, err := x.folder.spool(exportSpool)
	if err != nil {
		return err
	}
	defer spool.Close() //nolint:errcheck // of no use any more
	sum, err := x.store(ctx, j, kept, source, spool)
	if err == nil {
		kept.Seen, kept.Over = vm.ExportSeen{ID: j.ID, Through: j.Bytes, Manifest: sum}, true
	}
	return errors.Join(err, x.folder.write(j.file(), kept, true))
}

// store stores a snapshot and returns the checksum of its manifest. What is stored is
// written down as it is told, so that little of it is lost by a crash.
func (x *exporter) store(ctx context.Context, j job, kept *exported, source, spool *os.File) (sum string, err error) {
	var told time.Time
	_, sum, err = archive.Export{
		ID: j.ID, Source: source, Bytes: j.Bytes, SHA256: j.SHA256, Recipient: j.Recipient, Spool: spool, Done: kept.Chunks,
		Depot: &depot{errands: x.errands, client: x.Store, errand: vm.Errand{VM: j.vmID, Export: j.ID}},
		Kept: func(c archive.Chunk) error {
			kept.Chunks[c.Number] = c
			return nil
		},
		Progress: func(through int64) {
			now := x.Now()
			if now.Sub(told) < tellEvery {
				return
			}
			told = now
			if err := x.folder.write(j.file(), kept, false); err != nil {
				x.Log.WarnContext(ctx, "what is stored of an export is not kept", "export_id", j.ID, "error", err)
			}
			x.tell(ctx, j, vm.ExportSeen{ID: j.ID, Through: through})
		},
	}.Run(ctx)
	return sum, err
}

// settle notes how a try ended. One that can't work is not repeated.
func (x *exporter) settle(ctx context.Context, j job, kept *exported, err error) {
	jobs, _ := x.book.exports()
	if !slices.Contains(jobs, j) { // it is no longer asked for
		x.forget(ctx, j)
		return
	}
	if err == nil {
		delete(x.tries, j.ID)
		x.tell(ctx, j, kept.Seen)
		return
	}
	x.Log.WarnContext(ctx, "export failed", "vm_id", j.vmID, "export_id", j.ID, "error", err)
	t := x.tries[j.ID]
	t.count++
	t.next = x.Now().Add(min(firstRetry<<min(t.count-1, 9), lastRetry))
	x.tries[j.ID] = t
	seen := vm.ExportSeen{ID: j.ID, Through: x.book.exportSeen(j.vmID, j.ID).Through, Reason: clip(excuse(err))}
	if fault.Is(err, fault.Invalid) {
		seen.Failed, seen.Reason = true, clip(sorry(err))
		kept.Seen, kept.Over = seen, true
		if err := x.folder.write(j.file(), kept, false); err != nil {
			x.Log.ErrorContext(ctx, "end of an export not kept", "export_id", j.ID, "error", err)
		}
	}
	x.tell(ctx, j, seen)
}

// tell has it be reported how far an export is.
func (x *exporter) tell(ctx context.Context, j job, seen vm.ExportSeen) {
	x.book.update(ctx, j.vmID, func(e *entry) {
		list := slices.Clone(e.exports)
		i := slices.IndexFunc(list, func(s vm.ExportSeen) bool { return s.ID == seen.ID })
		if i < 0 {
			list = append(list, seen)
		} else {
			list[i] = seen
		}
		e.exports = list
	})
}

// exportSeen returns what was last told of an export.
func (b *book) exportSeen(vmID, id string) vm.ExportSeen {
	for _, s := range b.get(vmID).exports {
		if s.ID == id {
			return s
		}
	}
	return vm.ExportSeen{}
}

// sweep forgets the exports that are no longer asked for. What earlier starts have left
// is looked for once.
func (x *exporter) sweep(ctx context.Context, jobs []job) {
	wanted := map[string]bool{}
	for _, j := range jobs {
		wanted[j.file()] = true
	}
	for vmID, list := range x.book.exported() {
		for _, seen := range list {
			j := job{vmID, vm.ExportWish{ID: seen.ID}}
			if wanted[j.file()] {
				continue
			}
			x.forget(ctx, j)
		}
	}
	if x.swept {
		return
	}
	x.swept = true
	if err := errors.Join(x.folder.remove(exportSpool), x.folder.sweepExports(wanted)); err != nil {
		x.Log.WarnContext(ctx, "what earlier exports have left is not removed", "error", err)
	}
}

// forget removes what is kept of an export.
func (x *exporter) forget(ctx context.Context, j job) {
	if err := x.folder.remove(j.file()); err != nil {
		x.Log.WarnContext(ctx, "what was kept of an export is not removed", "vm_id", j.vmID, "export_id", j.ID, "error", err)
	}
	delete(x.tries, j.ID)
	x.book.update(ctx, j.vmID, func(e *entry) {
		e.exports = slices.DeleteFunc(slices.Clone(e.exports), func(s vm.ExportSeen) bool { return s.ID == j.ID })
	})
}

// exported returns what is told of exports, by VM.
func (b *book) exported() map[string][]vm.ExportSeen {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := map[string][]vm.ExportSeen{}
	for id, e := range b.entries {
		if len(e.exports) > 0 {
			all[id] = e.exports
		}
	}
	return all
}

// sweepExports removes what is kept of exports that are not wanted.
func (f *folder) sweepExports(wanted map[string]bool) error {
	ids, err := f.vmIDs()
	for _, id := range ids {
		files, listErr := fs.ReadDir(f.root.FS(), filepath.Join(vmsDir, id))
		err = errors.Join(err, listErr)
		for _, file := range files {
			name := filepath.Join(vmsDir, id, file.Name())
			if strings.HasPrefix(file.Name(), exportFile) && !wanted[name] {
				err = errors.Join(err, f.remove(name))
			}
		}
	}
	return err
}

// spool returns an empty file that has no name any more: it goes when it is closed.
func (f *folder) spool(name string) (*os.File, error) {
	file, err := f.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make spool: %w", err)
	}
	if err := f.root.Remove(name); err != nil {
		return nil, errors.Join(fmt.Errorf("make spool: %w", err), file.Close())
	}
	return file, nil
}
