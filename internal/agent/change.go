package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// prepare makes the disk that o's machine is to be started on, while the machine goes
// on with the one that it has: nobody waits for a download, and one that comes
// to nothing costs nothing.
func (k *keeper) prepare(ctx context.Context, o vm.Order) error {
	if err := errors.Join(k.count(ctx, o.ID), k.sweep(o)); err != nil {
		return err
	}
	n := o.Boots()
	for _, d := range k.book.get(o.ID).disks {
		if n <= d.Number { // of an order before this one, or of a control plane that was restored
			return fault.Newf(fault.Invalid, "disk %d is not there any more", n)
		}
	}
	defer k.watchBeside(ctx, o)()
	base, err := k.base(ctx, o, n)
	if err != nil {
		return err
	}
	_, err = k.disk(ctx, o, n, base)
	return err
}

// watchBeside watches a machine that does not answer yet until the function is called
// that it returns: what is done beside may take long.
func (k *keeper) watchBeside(ctx context.Context, o vm.Order) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	if !k.book.get(o.ID).Ready {
		watching.Go(func() { _ = k.watch(ctx, o) }) // it fails only where it is ended
	}
	return func() {
		cancel()
		watching.Wait()
	}
}

// sweep removes what is left of disks that were to be made and are not.
func (k *keeper) sweep(o vm.Order) error {
	bases, err := k.folder.bases(o.ID)
	if err != nil {
		return err
	}
	for _, n := range bases {
		made, err := k.folder.form(o.ID, n)
		if err == nil && made == "" && n != o.Boots() {
			err = k.folder.discard(o.ID, n)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// change starts the machine of a VM on another disk, which is there already. Its
// guest is asked to power itself off first. Wherever this is cut, it is begun again,
// or the launch that follows completes it.
func (k *keeper) change(ctx context.Context, o vm.Order) error {
	if err := k.count(ctx, o.ID); err != nil {
		return err
	}
	if !slices.Contains(k.sight(o.ID).Disks, o.Boots()) {
		return nil // it is gone: the next round sees to that, with a machine that runs
	}
	off, err := k.powersOff(ctx, o.ID, changeKey(o))
	if err != nil {
		return err
	}
	if !off {
		k.book.tell(ctx, o.ID, changeKey(o), fmt.Sprintf("did not power itself off within %.0f s and is switched off", offTime.Seconds()))
	}
	return k.launch(ctx, o)
}

// changeTo notes that the machine of a VM, which is ended if there is one, is started on
// disk n from now on.
func (k *keeper) changeTo(ctx context.Context, id string, n int64) error {
	if k.book.get(id).Disk == n {
		return nil
	}
	if err := k.Hypervisor.Destroy(ctx, id); err != nil { // with its console, where another disk's guest has its say
		return fmt.Errorf("end machine: %w", err)
	}
	if err := k.folder.write(currentName(id), n, true); err != nil {
		return err
	}
	k.book.update(ctx, id, func(e *entry) {
		e.machine = ""
		e.turn(n, k.Now())
	})
	return nil
}

// changeKey is that of the line in a VM's story.
func changeKey(o vm.Order) string { return keyOf("change", o.Generation) }

// purge removes the disks of o that are to be purged.
func (k *keeper) purge(ctx context.Context, o vm.Order) error {
	for _, n := range k.sight(o.ID).purges(o) {
		if err := k.folder.purge(o.ID, n); err != nil {
			return err
		}
		k.book.update(ctx, o.ID, func(e *entry) {
			e.Aside = maps.Clone(e.Aside)
			delete(e.Aside, n)
			e.tell(keyOf("purged", n), k.Now(), fmt.Sprintf("disk %d is purged", n))
		})
	}
	return k.count(ctx, o.ID)
}
