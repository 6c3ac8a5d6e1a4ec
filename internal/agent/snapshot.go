package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/hypervisor"
	"github.com/cpucloud/cpucloud/internal/image"
	"github.com/cpucloud/cpucloud/internal/vm"
)

const (
	// copiesAtOnce is how many snapshots are made at once on a server: each takes what
	// its disks can carry.
	copiesAtOnce = 2
	// saveTries is how often one is begun before it counts as one that can't be made.
	saveTries = 6
)

// snapshot is one as the agent knows it: what it keeps of it, and what it last tried.
type snapshot struct {
	vm.SnapshotSeen
	attempt   int
	notBefore time.Time
}

// settled reports whether there is nothing to do for a snapshot that is wanted.
func (s snapshot) settled() bool {
	return s.State == vm.SnapshotThere || s.State == vm.SnapshotFailed
}

// snapshots returns what there is to do at now about the snapshots of o's VM: one
// thing at a time, and what frees room first.
func (s Sight) snapshots(now time.Time, o vm.Order) (v Verb, ask vm.SnapshotAsk) {
	if o.Goal == vm.Remove || !s.Files {
		return "", ask
	}
	known := map[string]snapshot{}
	for _, k := range s.Snapshots {
		known[k.ID] = k
	}
	for _, a := range o.Snapshots {
		k, there := known[a.ID]
		wait := k.notBefore.Sub(now) // longer than any comes of a clock that was set back
		due := wait <= 0 || wait > lastRetry
		switch {
		case a.Goal == vm.PurgeSnapshot && (!there || k.State != vm.SnapshotGone) && due:
			return Discard, a
		case a.Goal == vm.MakeSnapshot && v == "" && !k.settled() && due && s.Disked:
			v, ask = Save, a
		}
	}
	return v, ask
}

// save makes a snapshot, unless it is there. Wherever this is cut, it is begun again.
func (k *keeper) save(ctx context.Context, o vm.Order, ask vm.SnapshotAsk) error {
	select {
	case k.copies <- struct{}{}:
		defer func() { <-k.copies }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if kept, err := k.folder.snapshot(o.ID, ask.ID); err != nil || kept.ID != "" {
		k.book.snapshot(ctx, o.ID, ask.ID, func(s *snapshot) { s.SnapshotSeen = kept.SnapshotSeen })
		return err
	}
	index, disk, err := k.source(o, ask.Disk)
	if err != nil {
		return err
	}
	k.book.snapshot(ctx, o.ID, ask.ID, func(s *snapshot) { s.State, s.Percent = vm.SnapshotMade, 0 })
	seen, err := k.copy(ctx, o, ask, hypervisor.Backup{Index: index, Disk: disk})
	if err != nil {
		return err
	}
	k.book.snapshot(ctx, o.ID, ask.ID, func(s *snapshot) { *s = snapshot{SnapshotSeen: seen} })
	k.book.tell(ctx, o.ID, "snapshot-"+ask.ID, fmt.Sprintf("snapshot of the disk made: %d MiB, %s", max(1, seen.Bytes>>20), told[hypervisor.Consistency(seen.Consistency)]))
	return nil
}

// told says to a customer in which order a snapshot is.
var told = map[hypervisor.Consistency]string{
	hypervisor.Crash:      "as after a power cut",
	hypervisor.FileSystem: "its file systems were brought into order",
}

// source returns disk n of a VM as the hypervisor knows it, and its place in the machine.
func (k *keeper) source(o vm.Order, n int64) (index int, disk hypervisor.Disk, err error) {
	made, err := k.folder.form(o.ID, n)
	if err != nil {
		return 0, disk, err
	}
	if made == "" {
		return 0, disk, fault.New(fault.Invalid, "the disk that it was to be of is not there")
	}
	var base image.Base
	if made == overlaid {
		if _, err := k.folder.read(baseName(o.ID, n), &base); err != nil {
			return 0, disk, err
		}
	}
	if e := k.book.get(o.ID); e.machine == hypervisor.Running && e.Disk != n {
		if o.Rescue == nil || e.Disk != o.Rescue.Disk || n != o.Disk {
			return 0, disk, fault.New(fault.Unavailable, "the VM runs on another disk")
		}
		index = 1 // behind the one that rescues it
	}
	return index, k.form(o, n, made, base), nil
}

// copy makes the file of a snapshot and its record, in this order: without a record
// there is none.
func (k *keeper) copy(ctx context.Context, o vm.Order, ask vm.SnapshotAsk, b hypervisor.Backup) (seen vm.SnapshotSeen, err error) {
	f, err := k.folder.beginSnapshot(o.ID, ask.ID)
	if err != nil {
		return seen, err
	}
	defer f.Close() //nolint:errcheck // it was synced
	at := k.Now()
	b.Target, b.Freeze, b.Progress = f, true, k.copied(ctx, o.ID, ask.ID)
	order, err := k.Hypervisor.Backup(ctx, o.ID, b)
	if err != nil {
		return seen, errors.Join(err, k.folder.dropSnapshot(o.ID, ask.ID))
	}
	seen = vm.SnapshotSeen{ID: ask.ID, State: vm.SnapshotThere, At: at.UTC(), Consistency: string(order)}
	// The process that wrote it runs what its customer likes: what it says is looked at.
	if seen.VirtualBytes, err = k.Disks.Whole(f); err != nil {
		return seen, errors.Join(err, k.folder.dropSnapshot(o.ID, ask.ID))
	}
	if seen.Checksum, seen.Bytes, err = checksumOf(ctx, f); err != nil {
		return seen, err
	}
	instance, err := k.instanceID(o.ID, ask.Disk)
	if err != nil {
		return seen, err
	}
	return seen, k.folder.keepSnapshot(o.ID, f, snapshotRecord{seen, instance})
}

// copied returns a function that tells how far a copy is, once a second at most.
func (k *keeper) copied(ctx context.Context, id, snapshotID string) func(done, total int64) {
	var told time.Time
	return func(done, total int64) {
		now := k.Now()
		if now.Sub(told) < time.Second || ctx.Err() != nil || total <= 0 {
			return
		}
		told = now
		k.book.snapshot(ctx, id, snapshotID, func(s *snapshot) { s.Percent = min(99, done*100/total) })
	}
}

// discard removes what there is of a snapshot.
func (k *keeper) discard(ctx context.Context, o vm.Order, ask vm.SnapshotAsk) error {
	if err := k.folder.dropSnapshot(o.ID, ask.ID); err != nil {
		return err
	}
	k.book.snapshot(ctx, o.ID, ask.ID, func(s *snapshot) {
		*s = snapshot{SnapshotSeen: vm.SnapshotSeen{ID: ask.ID, State: vm.SnapshotGone}}
	})
	return nil
}

// settleSnapshot notes how a try ended. One that can't work, or did not for saveTries,
// is given up: nothing of it is left.
func (k *keeper) settleSnapshot(ctx context.Context, t Task, err error) {
	if err == nil {
		return
	}
	k.Log.WarnContext(ctx, "vm task failed", "vm_id", t.ID, "verb", t.Verb, "snapshot_id", t.Snapshot.ID, "error", err)
	k.book.snapshot(ctx, t.ID, t.Snapshot.ID, func(s *snapshot) {
		s.attempt++
		s.State, s.Percent, s.Reason = vm.SnapshotWaits, 0, clip(excuse(err))
		s.notBefore = k.Now().Add(min(firstRetry<<min(s.attempt, 9), lastRetry))
		if t.Verb == Save && (fault.Is(err, fault.Invalid) || s.attempt >= saveTries) {
			s.State, s.Reason = vm.SnapshotFailed, clip(sorry(err))
		}
	})
}

// restored returns what a disk is made of that is to be as in a snapshot: a file of
// its own, so that whatever becomes of the snapshot is nothing to the disk.
func (k *keeper) restored(ctx context.Context, id string, n int64, from string) (image.Base, error) {
	owner, kept, err := k.folder.findSnapshot(from)
	if err != nil {
		return image.Base{}, err
	}
	if kept.ID == "" {
		return image.Base{}, fault.Newf(fault.Invalid, "the snapshot %s, of which the disk was to be made, is not on this server any more", from)
	}
	name := filepath.Join(vmsDir, id, numbered(snapshotBase, n))
	if err := k.folder.link(snapshotName(owner, from), name); err != nil {
		return image.Base{}, fmt.Errorf("take over snapshot: %w", err)
	}
	k.book.tell(ctx, id, keyOf("image", n), "the snapshot is checked")
	err = k.verify(ctx, name, kept.SnapshotSeen)
	if err != nil {
		return image.Base{}, errors.Join(err, k.folder.remove(name))
	}
	k.book.tell(ctx, id, keyOf("image", n), "the snapshot is checked and whole")
	if owner == id { // else it is another machine
		if err := k.folder.write(instanceName(id, n), kept.Instance, true); err != nil {
			return image.Base{}, err
		}
	}
	return image.Base{Path: filepath.Join(k.folder.path, name), Format: string(hypervisor.QCOW2), VirtualBytes: kept.VirtualBytes, Checksum: kept.Checksum}, nil
}

// instanceID returns who the guest on disk n of a VM is: each disk is another instance,
// but for one that was restored, which goes on as the one that it was.
func (k *keeper) instanceID(id string, n int64) (string, error) {
	instance := keyOf(id, n)
	_, err := k.folder.read(instanceName(id, n), &instance)
	return instance, err
}

// verify returns an Invalid fault when the file called name is not what a snapshot was.
func (k *keeper) verify(ctx context.Context, name string, seen vm.SnapshotSeen) error {
	f, err := k.folder.root.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return fmt.Errorf("open snapshot: %w", err)
	}
	defer f.Close() //nolint:errcheck // it was only read
	sum, _, err := checksumOf(ctx, f)
	if err == nil && sum != seen.Checksum {
		err = fault.Newf(fault.Invalid, "the snapshot %s is damaged: its checksum is not what it was; take another one", seen.ID)
	}
	if err == nil {
		_, err = k.Disks.Whole(f)
	}
	return err
}

// waits returns when the next tries are due.
func (s Sight) waits() []time.Time {
	var list []time.Time
	for _, k := range s.Snapshots {
		list = append(list, k.notBefore)
	}
	return list
}

// snapshotsSeen returns what is reported of those that are wanted or purged, and of
// those that are there though nobody asked for them.
func (e *entry) snapshotsSeen(asked []vm.SnapshotAsk) []vm.SnapshotSeen {
	var list []vm.SnapshotSeen
	known := map[string]bool{}
	for _, k := range e.snapshots {
		wanted := slices.ContainsFunc(asked, func(a vm.SnapshotAsk) bool { return a.ID == k.ID })
		if known[k.ID] = true; wanted || k.State == vm.SnapshotThere {
			list = append(list, k.SnapshotSeen)
		}
	}
	phase := map[vm.SnapshotGoal]vm.SnapshotPhase{
		vm.MakeSnapshot: vm.SnapshotWaits, vm.KeepSnapshot: vm.SnapshotLost, vm.PurgeSnapshot: vm.SnapshotWaits,
	}
	for _, a := range asked {
		if !known[a.ID] {
			list = append(list, vm.SnapshotSeen{ID: a.ID, State: phase[a.Goal]})
		}
	}
	return list
}
