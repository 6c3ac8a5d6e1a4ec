package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cpucloud/cpucloud/internal/archive"
	"github.com/cpucloud/cpucloud/internal/archive/s3"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// observeExports takes in how far an agent is with the exports of v, of which those
// are no longer wanted that can't be made. The caller stores v.
func (s *Service) observeExports(ctx context.Context, tx *store.Tx, v *vm.VM, seen []vm.ExportSeen) (changed bool, err error) {
	for _, w := range slices.Clone(v.Exports) {
		i := slices.IndexFunc(seen, func(x vm.ExportSeen) bool { return x.ID == w.ID })
		if i < 0 {
			continue
		}
		e, err := tx.Export(ctx, w.ID)
		if err != nil {
			return changed, err
		}
		if !s.advance(&e, seen[i]) {
			continue
		}
		changed = true
		if err := tx.UpdateExport(ctx, e); err != nil {
			return changed, err
		}
		if e.State != vm.Uploading {
			if err := s.dropWish(ctx, tx, v, e); err != nil {
				return changed, err
			}
		}
	}
	return changed, nil
}

// advance moves an export on by what its agent sees, and reports whether that is
// anything new. What an agent says is done is looked for in the store before it is.
func (s *Service) advance(e *vm.Export, seen vm.ExportSeen) bool {
	before := *e
	now := s.Now().UTC()
	if e.State != vm.Uploading {
		return false
	}
	if through := min(seen.Through, e.Bytes); through > e.Through {
		e.Through, e.Deadline = through, now.Add(exportTime)
	}
	e.Reason = printable(seen.Reason)
	if seen.Failed {
		e.State, e.Ended = vm.Unusable, now
	}
	if _, err := vm.ParseChecksum("sha256:" + seen.Manifest); err == nil && seen.Manifest != "" {
		e.Manifest = seen.Manifest
	}
	return e.State != before.State || e.Through != before.Through || e.Reason != before.Reason || e.Manifest != before.Manifest
}

// TendExports does what is to be done about exports that are not done, and returns how
// many moved on.
func (s *Service) TendExports(ctx context.Context) (moved int, err error) {
	if s.Archive == nil {
		return 0, nil
	}
	var errs []error
	for after := ""; ; {
		var list []vm.Export
		if err := s.Store.Read(ctx, func(tx *store.Tx) (err error) {
			list, err = tx.UnfinishedExports(ctx, after, sweepBatch)
			return err
		}); err != nil {
			return moved, err
		}
		for _, e := range list {
			after = e.ID
			did, err := s.tend(ctx, e)
			if did {
				moved++
			}
			if err != nil { // one does not hold up the others
				errs = append(errs, fmt.Errorf("export %s: %w", e.ID, err))
			}
		}
		if len(list) < sweepBatch || ctx.Err() != nil {
			return moved, errors.Join(errs...)
		}
	}
}

// tend does the next thing for one export.
func (s *Service) tend(ctx context.Context, e vm.Export) (bool, error) {
	switch e.State {
	case vm.Uploading:
		return s.tendUpload(ctx, e)
	case vm.Unusable, vm.Deleting:
		if s.Now().Before(e.LinkUntil) {
			return false, nil // an agent may still store something
		}
		return true, s.clear(ctx, e)
	case vm.Exported:
	}
	return false, nil
}

// tendUpload completes or gives up an export that is on its way.
func (s *Service) tendUpload(ctx context.Context, e vm.Export) (bool, error) {
	why, err := s.hopeless(ctx, e)
	switch {
	case err != nil:
		return false, err
	case why != "":
		return true, s.concludeExport(ctx, e.ID, func(e *vm.Export) { e.State, e.Reason = vm.Unusable, why })
	case e.Manifest == "":
		return false, nil
	}
	sealed, err := s.confirm(ctx, e)
	switch {
	case err == nil:
		return true, s.concludeExport(ctx, e.ID, func(e *vm.Export) {
			e.State, e.Reason, e.Sealed, e.Through = vm.Exported, "", sealed, e.Bytes
		})
	case fault.Is(err, fault.Invalid) || fault.Is(err, fault.NotFound):
		return true, s.concludeExport(ctx, e.ID, func(e *vm.Export) { e.State, e.Reason = vm.Unusable, fault.Message(err) })
	}
	return false, err
}

// hopeless returns why an export on its way will never be done, "" if it may.
func (s *Service) hopeless(ctx context.Context, e vm.Export) (why string, err error) {
	err = s.Store.Read(ctx, func(tx *store.Tx) error {
		v, err := tx.VM(ctx, e.VMID)
		if err != nil && !fault.Is(err, fault.NotFound) {
			return err
		}
		switch {
		case err != nil || v.Goal == vm.Remove || v.Gone:
			why = "its VM was deleted before all of it was stored"
		case !s.Now().Before(e.Deadline) && e.Reason != "":
			why = fmt.Sprintf("it did not get on for %s: %s", exportTime, e.Reason)
		case !s.Now().Before(e.Deadline):
			why = fmt.Sprintf("its server did not get on with it for %s; export the snapshot again once the server is reachable", exportTime)
		}
		return nil
	})
	return why, err
}

// concludeExport ends an export that is on its way.
func (s *Service) concludeExport(ctx context.Context, exportID string, change func(*vm.Export)) error {
	var rung []string
	err := s.Store.Write(ctx, func(tx *store.Tx) error {
		rung = nil
		e, err := tx.Export(ctx, exportID)
		if err != nil || e.State != vm.Uploading {
			return err // it ended in the meantime
		}
		change(&e)
		e.Ended = s.Now().UTC()
		rung = []string{"vm:" + e.VMID}
		return firstErrorOf(
			func() error { return tx.UpdateExport(ctx, e) },
			func() error { return s.unwish(ctx, tx, e) },
		)
	})
	if err == nil {
		s.ring(ctx, rung...)
	}
	return err
}

// confirm looks whether all of an export is in the store, removes what is too much, and
// returns how many bytes it takes. Returns an Invalid or NotFound fault when it isn't.
func (s *Service) confirm(ctx context.Context, e vm.Export) (sealed int64, err error) {
	text, err := s.Archive.Get(ctx, exportFolder(e.ID)+archive.ManifestName)
	if err != nil {
		return 0, err
	}
	m, err := archive.ReadManifest(bytes.NewReader(text), e.ID, e.Manifest)
	if err != nil {
		return 0, err
	}
	if m.Bytes != e.Bytes {
		return 0, archive.ErrDamaged
	}
	found, err := s.Archive.List(ctx, exportFolder(e.ID))
	if err != nil {
		return 0, err
	}
	there := map[string]int64{}
	for _, o := range found {
		there[o.Name] = o.Bytes
	}
	delete(there, exportFolder(e.ID)+archive.ManifestName)
	for _, c := range m.Chunks {
		name := exportFolder(e.ID) + c.Name()
		if there[name] != c.Bytes {
			return 0, fault.Newf(fault.Invalid, "chunk %d of the export is not in the store, or is not whole; export the snapshot again", c.Number)
		}
		delete(there, name)
	}
	for name := range there { // of a try that was cut off
		if err := s.Archive.Delete(ctx, name); err != nil {
			return 0, err
		}
	}
	return m.Sealed() + int64(len(text)), nil
}

// clear removes everything in the store of an export that is of no use, and forgets it
// if its customer wants that.
func (s *Service) clear(ctx context.Context, e vm.Export) error {
	found, err := s.Archive.List(ctx, exportFolder(e.ID))
	if err != nil {
		return err
	}
	slices.SortFunc(found, func(a, _ s3.Object) int { // first: what is half removed must not look whole
		if a.Name == exportFolder(e.ID)+archive.ManifestName {
			return -1
		}
		return 0
	})
	for _, o := range found {
		if err := s.Archive.Delete(ctx, o.Name); err != nil {
			return err
		}
	}
	return s.Store.Write(ctx, func(tx *store.Tx) error {
		now, err := tx.Export(ctx, e.ID)
		switch {
		case fault.Is(err, fault.NotFound):
			return nil // another replica was faster
		case err != nil:
			return err
		case now.State == vm.Deleting:
			return tx.DeleteExport(ctx, e.ID)
		}
		now.LinkUntil = time.Time{} // nothing is left to be removed
		return tx.UpdateExport(ctx, now)
	})
}
