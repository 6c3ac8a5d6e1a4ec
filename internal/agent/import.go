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

// What is in a VM's folder while an export is fetched for one of its disks, and after
// that importBase: what the disk is made of, unless it is a copy of it.
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

// imported returns what disk n is made of that is to be as in an export. All of the
// export is here, and is what was exported, before anything is made of it. The key
// that it is decrypted with is asked for each time, and never written down.
func (k *keeper) imported(ctx context.Context, o vm.Order, n int64) (image.Base, error) {
	i := intake{k, o.ID, n, materialOf(o, n).from, k.progress(ctx, o.ID, keyOf("image", n))}
	k.book.tell(ctx, o.ID, keyOf("image", n), "fetching the export")
	target, err := i.fetch(ctx)
	if err != nil {
		if fault.Is(err, fault.Invalid) {
			err = errors.Join(err, i.drop())
		}
		return image.Base{}, fmt.Errorf("fetch export: %w", err)
	}
	defer target.Close() //nolint:errcheck // only read from
	base, err := image.Flatten(ctx, target, filepath.Join(k.folder.path, i.name(importBase)), materialOf(o, n).gib<<30, i.progress)
	if err != nil {
		return base, fmt.Errorf("unpack export: %w", err)
	}
	k.book.tell(ctx, o.ID, keyOf("image", n), "the export is fetched, checked and whole")
	return base, i.drop()
}

// intake fetches an export for one disk of a VM.
type intake struct {
	*keeper
	id       string // of the VM
	disk     int64
	export   string
	progress func(image.Progress)
}

// name returns the name of a file of the intake in the agent's folder.
func (i intake) name(file string) string { return filepath.Join(vmsDir, i.id, numbered(file, i.disk)) }

// drop removes what is of no use once an export is unpacked.
func (i intake) drop() error {
	return errors.Join(i.folder.remove(i.name(importNote)), i.folder.remove(i.name(importFile)))
}

// fetch fetches the export, over pauses of the network, and returns its file.
func (i intake) fetch(ctx context.Context) (target *os.File, err error) {
	for try := 0; ; try++ {
		before := i.fetched()
		target, err = i.fetchOnce(ctx)
		if err == nil || fault.Is(err, fault.Invalid) || ctx.Err() != nil {
			return target, err
		}
		if errors.Is(err, archive.ErrAnew) {
			if err := i.drop(); err != nil {
				return nil, err
			}
		}
		if len(i.fetched().Done) > len(before.Done) {
			try = 0
		}
		if try+1 >= importTries {
			return nil, err
		}
		i.Log.WarnContext(ctx, "export not fetched yet", "vm_id", i.id, "export_id", i.export, "error", err)
		wait(ctx, min(importPause<<try, importRest), nil)
	}
}

// fetched returns what is there of the export.
func (i intake) fetched() fetched {
	var f fetched
	if _, err := i.folder.read(i.name(importNote), &f); err != nil || f.Export != i.export {
		return fetched{Export: i.export}
	}
	return f
}

func (i intake) fetchOnce(ctx context.Context) (*os.File, error) {
	d := &depot{errands: i.errands, client: i.Store, errand: vm.Errand{VM: i.id, Export: i.export}}
	pass, err := d.pass(ctx, archive.ManifestName)
	if err != nil {
		return nil, err
	}
	kept := i.fetched()
	if kept.Manifest != pass.Manifest || kept.Done == nil {
		kept.Manifest, kept.Done = pass.Manifest, map[int]bool{}
	}
	target, err := i.folder.root.OpenFile(i.name(importFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make file: %w", err)
	}
	spool, err := i.folder.spool(i.name(importSpool))
	if err != nil {
		return nil, errors.Join(err, target.Close())
	}
	defer spool.Close() //nolint:errcheck // of no use any more
	err = archive.Import{
		ID: i.export, Manifest: pass.Manifest, Bytes: pass.Bytes, SHA256: pass.SHA256, Identity: pass.Identity, Depot: d, Spool: spool, Target: target, Done: kept.Done,
		Kept: func(n int) error {
			kept.Done[n] = true
			return i.folder.write(i.name(importNote), kept, false)
		},
		Progress: func(through int64) {
			i.progress(image.Progress{Step: image.Download, Done: through, Total: pass.Bytes})
		},
	}.Run(ctx)
	if err != nil {
		return nil, errors.Join(err, target.Close())
	}
	return target, nil
}
