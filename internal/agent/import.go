package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/cpucloud/cpucloud/internal/archive"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/image"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// What is in a VM's folder while an export is fetched, and after that importBase:
// what its disk is made of.
const (
	importFile  = "import.qcow2" // what is fetched of it
	importNote  = "import.json"  // which parts of it
	importSpool = "import.spool"
	importBase  = "import.raw"
)

const (
	importTries = 6                // that bring nothing, in a row
	importPause = time.Second      // after the first of them; each pause is twice the one before
	importRest  = 30 * time.Second // is the longest
)

// fetched is what is kept of an export that is being fetched.
type fetched struct {
	Export   string       `json:"export"`
	Manifest string       `json:"manifest"` // its checksum
	Done     map[int]bool `json:"done"`
}

// imported returns what a disk is made of that is to be as in an export. All of the
// export is here, and is what was exported, before anything is made of it. The key
// that it is decrypted with is asked for each time, and never written down.
func (k *keeper) imported(ctx context.Context, o vm.Order) (image.Base, error) {
	k.book.tell(ctx, o.ID, "image", "fetching the export")
	target, err := k.fetch(ctx, o)
	if err != nil {
		if fault.Is(err, fault.Invalid) {
			err = errors.Join(err, k.dropImport(o.ID))
		}
		return image.Base{}, fmt.Errorf("fetch export: %w", err)
	}
	defer target.Close() //nolint:errcheck // only read from
	base, err := image.Flatten(ctx, target, k.folder.vmPath(o.ID, importBase), o.StorageGiB<<30, k.progress(ctx, o.ID))
	if err != nil {
		return base, fmt.Errorf("unpack export: %w", err)
	}
	k.book.tell(ctx, o.ID, "image", "the export is fetched, checked and whole")
	return base, k.dropImport(o.ID)
}

// dropImport removes what is of no use once an export is unpacked.
func (k *keeper) dropImport(id string) error {
	return errors.Join(k.folder.remove(filepath.Join(vmsDir, id, importNote)), k.folder.remove(filepath.Join(vmsDir, id, importFile)))
}

// fetch fetches an export, over pauses of the network, and returns its file.
func (k *keeper) fetch(ctx context.Context, o vm.Order) (target *os.File, err error) {
	for try := 0; ; try++ {
		before := k.fetched(o)
		target, err = k.fetchOnce(ctx, o)
		if err == nil || fault.Is(err, fault.Invalid) || ctx.Err() != nil {
			return target, err
		}
		if errors.Is(err, archive.ErrAnew) {
			if err := k.dropImport(o.ID); err != nil {
				return nil, err
			}
		}
		if len(k.fetched(o).Done) > len(before.Done) {
			try = 0
		}
		if try+1 >= importTries {
			return nil, err
		}
		k.Log.WarnContext(ctx, "export not fetched yet", "vm_id", o.ID, "export_id", o.From, "error", err)
		wait(ctx, min(importPause<<try, importRest), nil)
	}
}

// fetched returns what is there of the export that o's disk is made of.
func (k *keeper) fetched(o vm.Order) fetched {
	var f fetched
	if _, err := k.folder.read(filepath.Join(vmsDir, o.ID, importNote), &f); err != nil || f.Export != o.From {
		return fetched{Export: o.From}
	}
	return f
}

func (k *keeper) fetchOnce(ctx context.Context, o vm.Order) (_ *os.File, err error) {
	d := &depot{errands: k.errands, client: k.Store, errand: vm.Errand{VM: o.ID, Export: o.From}}
	pass, err := d.pass(ctx, archive.ManifestName)
	if err != nil {
		return nil, err
	}
	kept := k.fetched(o)
	if kept.Manifest != pass.Manifest || kept.Done == nil {
		kept.Manifest, kept.Done = pass.Manifest, map[int]bool{}
	}
	name := filepath.Join(vmsDir, o.ID, importFile)
	target, err := k.folder.root.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make file: %w", err)
	}
	spool, err := k.folder.spool(filepath.Join(vmsDir, o.ID, importSpool))
	if err != nil {
		return nil, errors.Join(err, target.Close())
	}
	defer spool.Close() //nolint:errcheck // of no use any more
	report := k.progress(ctx, o.ID)
	err = archive.Import{
		ID: o.From, Manifest: pass.Manifest, Bytes: pass.Bytes, SHA256: pass.SHA256, Identity: pass.Identity, Depot: d, Spool: spool, Target: target, Done: kept.Done,
		Kept: func(n int) error {
			kept.Done[n] = true
			return k.folder.write(filepath.Join(vmsDir, o.ID, importNote), kept, false)
		},
		Progress: func(through int64) { report(image.Progress{Step: image.Download, Done: through, Total: pass.Bytes}) },
	}.Run(ctx)
	if err != nil {
		return nil, errors.Join(err, target.Close())
	}
	return target, nil
}
