package agent

import "context"

// keep writes the record of a VM; mu is held.
func (b *book) keep(ctx context.Context, id string, e *entry) {
	delete(b.unsaved, id)
	if err := b.folder.write(recordName(id), e.record, false); err != nil {
		b.unsaved[id] = true
		b.log.ErrorContext(ctx, "record of a vm not kept yet", "vm_id", id, "error", err)
	}
}

// save tries once more to write what the disk did not take.
func (b *book) save(ctx context.Context) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id := range b.unsaved {
		if e := b.entries[id]; e != nil && e.files {
			b.keep(ctx, id, e)
		} else {
			delete(b.unsaved, id)
		}
	}
	if b.unlisted {
		err := b.folder.write(listFile, b.list, true)
		if b.unlisted = err != nil; err != nil {
			b.log.ErrorContext(ctx, "list of orders not kept yet", "error", err)
		}
	}
}
