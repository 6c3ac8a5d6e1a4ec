package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cpucloud/cpucloud/internal/vm"
)

// What is in the folder of a VM's snapshots, which goes with the VM: ID.qcow2 is the
// disk, ID.json its record. What a disk is made of that is as in a snapshot is
// snapshotBase, beside the disk.
const (
	snapshotsDir = "snapshots"
	snapshotDisk = ".qcow2"
	snapshotNote = ".json"
	snapshotBase = "snapshot.qcow2"
	// instanceFile, beside a disk that was restored, says who its guest is.
	instanceFile = "instance.json"
)

// snapshotRecord is what is kept of a snapshot.
type snapshotRecord struct {
	vm.SnapshotSeen
	Instance string `json:"instance"` // who the guest on the disk is, see keeper.instance
}

func instanceName(id string, n int64) string {
	return filepath.Join(vmsDir, id, numbered(instanceFile, n))
}

func snapshotName(vmID, id string) string {
	return filepath.Join(vmsDir, vmID, snapshotsDir, id+snapshotDisk)
}

func snapshotNoteName(vmID, id string) string {
	return filepath.Join(vmsDir, vmID, snapshotsDir, id+snapshotNote)
}

// snapshot returns what is kept of a snapshot; its id is "" when there is none.
func (f *folder) snapshot(vmID, id string) (kept snapshotRecord, err error) {
	if _, err := f.read(snapshotNoteName(vmID, id), &kept); err != nil {
		return snapshotRecord{}, err
	}
	return kept, nil
}

// snapshots returns the snapshots of a VM, ordered by id.
func (f *folder) snapshots(vmID string) ([]vm.SnapshotSeen, error) {
	files, err := fs.ReadDir(f.root.FS(), filepath.Join(vmsDir, vmID, snapshotsDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for snapshots: %w", err)
	}
	var found []vm.SnapshotSeen
	for _, file := range files {
		id, ok := strings.CutSuffix(file.Name(), snapshotNote)
		if !ok {
			continue
		}
		seen, readErr := f.snapshot(vmID, id)
		if readErr == nil && seen.ID == id {
			found = append(found, seen.SnapshotSeen)
		}
		err = errors.Join(err, readErr)
	}
	return found, err
}

// findSnapshot returns whose a snapshot is, and what is kept of it; its id is "" when
// no VM on this server has it.
func (f *folder) findSnapshot(id string) (vmID string, kept snapshotRecord, err error) {
	if !snapshotPattern.MatchString(id) {
		return "", kept, nil
	}
	ids, err := f.vmIDs()
	for _, vmID := range ids {
		if kept, err := f.snapshot(vmID, id); err != nil || kept.ID != "" {
			return vmID, kept, err
		}
	}
	return "", kept, err
}

// beginSnapshot returns an empty file for one, under another name than it will have.
func (f *folder) beginSnapshot(vmID, id string) (*os.File, error) {
	if err := f.step("begin", id); err != nil {
		return nil, fmt.Errorf("begin snapshot: %w", err)
	}
	dir := filepath.Join(vmsDir, vmID, snapshotsDir)
	if err := f.root.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make folder of snapshots: %w", err)
	}
	// Another file, as a process may still have the last one open.
	if err := f.remove(snapshotName(vmID, id) + unfinished); err != nil {
		return nil, err
	}
	file, err := f.root.OpenFile(snapshotName(vmID, id)+unfinished, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("begin snapshot: %w", err)
	}
	return file, nil
}

// keepSnapshot makes the file of one, which is finished, last, and then its record.
func (f *folder) keepSnapshot(vmID string, file *os.File, kept snapshotRecord) error {
	name := snapshotName(vmID, kept.ID)
	err := f.step("sync", name)
	if err == nil {
		err = file.Sync()
	}
	if err == nil {
		err = f.step("rename", name)
	}
	if err == nil {
		err = f.root.Rename(name+unfinished, name)
	}
	if err != nil {
		return fmt.Errorf("keep snapshot: %w", err)
	}
	if err := f.syncFolder(filepath.Dir(filepath.Dir(name))); err != nil {
		return err
	}
	return f.write(snapshotNoteName(vmID, kept.ID), kept, true)
}

// dropSnapshot removes all that there is of one, its record first; nothing is no error.
func (f *folder) dropSnapshot(vmID, id string) error {
	for _, name := range []string{snapshotNoteName(vmID, id), snapshotNoteName(vmID, id) + unfinished, snapshotName(vmID, id), snapshotName(vmID, id) + unfinished} {
		if err := f.remove(name); err != nil {
			return err
		}
	}
	return nil
}

// link gives the file called old another name, in the place of what had it.
func (f *folder) link(old, name string) error {
	if err := f.remove(name); err != nil {
		return err
	}
	if err := f.step("link", name); err != nil {
		return err
	}
	if err := f.root.Link(old, name); err != nil {
		return err
	}
	return f.syncFolder(filepath.Dir(name))
}

// checksumOf returns the checksum of a file, as "sha256:…", and its length.
func checksumOf(ctx context.Context, f *os.File) (sum string, length int64, err error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", 0, fmt.Errorf("read snapshot: %w", err)
	}
	hash, part := sha256.New(), make([]byte, 1<<20)
	for ctx.Err() == nil {
		n, err := f.Read(part)
		hash.Write(part[:n])
		length += int64(n)
		if errors.Is(err, io.EOF) {
			return "sha256:" + hex.EncodeToString(hash.Sum(nil)), length, nil
		}
		if err != nil {
			return "", 0, fmt.Errorf("read snapshot: %w", err)
		}
	}
	return "", 0, ctx.Err()
}
