package agent

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/cpucloud/cpucloud/internal/hypervisor"
	"github.com/cpucloud/cpucloud/internal/image"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// form is how a VM's disk was made, and stays. The name of its file says it, which
// comes to be with the disk: nothing that a guest writes can change it, and what is
// in the disk is never looked at.
type form string

const (
	overlaid form = "disk.qcow2" // the changes to an image, which has to stay
	cloned   form = "disk.raw"   // a whole disk that shares blocks with the image it was made of
)

var forms = []form{overlaid, cloned}

// numbered returns the name of a file of a VM's disk n: "disk.raw" for the first one,
// "disk-7.raw" for number 7.
func numbered(file string, n int64) string {
	if n == 0 {
		return file
	}
	ending := filepath.Ext(file)
	return fmt.Sprintf("%s-%d%s", strings.TrimSuffix(file, ending), n, ending)
}

// numberOf returns of which disk a file is that numbered gave its name.
func numberOf(file, name string) (n int64, ok bool) {
	ending := filepath.Ext(file)
	text, ok := strings.CutPrefix(strings.TrimSuffix(name, ending), strings.TrimSuffix(file, ending)+"-")
	if ok {
		n, _ = strconv.ParseInt(text, 10, 64)
	}
	return n, numbered(file, n) == name
}

// form returns how disk n of a VM was made, "" if there is none yet.
func (f *folder) form(id string, n int64) (form, error) {
	for _, made := range forms {
		if there, err := f.exists(made.name(id, n)); err != nil {
			return "", fmt.Errorf("look for disk: %w", err)
		} else if there {
			return made, nil
		}
	}
	return "", nil
}

// name returns the name of a VM's disk n of this form in the agent's folder.
func (m form) name(id string, n int64) string {
	return filepath.Join(vmsDir, id, numbered(string(m), n))
}

// disks returns the disks of a VM that are there, by number.
func (f *folder) disks(id string) ([]vm.DiskSeen, error) {
	files, err := fs.ReadDir(f.root.FS(), filepath.Join(vmsDir, id))
	if err != nil {
		return nil, fmt.Errorf("look for disks: %w", err)
	}
	var found []vm.DiskSeen
	for _, file := range files {
		for _, made := range forms {
			n, ok := numberOf(string(made), file.Name())
			if !ok {
				continue
			}
			info, err := file.Info()
			if err != nil {
				return nil, fmt.Errorf("look at disk: %w", err)
			}
			taken := info.Size()
			if s, ok := info.Sys().(*syscall.Stat_t); ok {
				taken = s.Blocks * 512
			}
			found = append(found, vm.DiskSeen{Number: n, Bytes: taken})
		}
	}
	slices.SortFunc(found, func(a, b vm.DiskSeen) int { return cmp.Compare(a.Number, b.Number) })
	return found, nil
}

// bases returns the numbers of a VM's disks whose base is written down: they are there,
// or are to be made.
func (f *folder) bases(id string) ([]int64, error) {
	files, err := fs.ReadDir(f.root.FS(), filepath.Join(vmsDir, id))
	if err != nil {
		return nil, fmt.Errorf("look for bases: %w", err)
	}
	var found []int64
	for _, file := range files {
		for _, name := range []string{baseFile, snapshotBase, importFile, importNote, importBase} {
			if n, ok := numberOf(name, file.Name()); ok && !slices.Contains(found, n) {
				found = append(found, n)
			}
		}
	}
	return found, nil
}

// current returns the number of the disk that the VM's machine was last started on.
func (f *folder) current(id string) (n int64, err error) {
	_, err = f.read(currentName(id), &n)
	return n, err
}

// purge removes disk n of a VM with all that is kept beside it; a disk that isn't
// there is no error. The disk goes first: what is left of the rest is no disk.
func (f *folder) purge(id string, n int64) error {
	for _, made := range forms {
		if err := f.remove(made.name(id, n)); err != nil {
			return fmt.Errorf("purge disk %d: %w", n, err)
		}
	}
	return f.discard(id, n)
}

// discard removes what is kept beside disk n of a VM, which is not there.
func (f *folder) discard(id string, n int64) error {
	for _, file := range []string{snapshotBase, importFile, importNote, importBase, instanceFile, baseFile, userDataFile} {
		if err := f.remove(filepath.Join(vmsDir, id, numbered(file, n))); err != nil {
			return fmt.Errorf("purge disk %d: %w", n, err)
		}
	}
	return f.syncFolder(filepath.Join(vmsDir, id))
}

// disk returns disk n of a VM, which it makes of base unless there is one: it is
// never made twice, nor in another form.
func (k *keeper) disk(ctx context.Context, o vm.Order, n int64, base image.Base) (hypervisor.Disk, error) {
	made, err := k.folder.form(o.ID, n)
	if err != nil {
		return hypervisor.Disk{}, err
	}
	gib := materialOf(o, n).gib
	if made == "" {
		create := k.Disks.Overlay
		if made = overlaid; k.clones && base.Format == string(hypervisor.Raw) {
			made, create = cloned, k.Disks.Clone
		}
		if err := create(ctx, base, k.folder.vmPath(o.ID, numbered(string(made), n)), gib<<30); err != nil {
			return hypervisor.Disk{}, fmt.Errorf("make disk: %w", err)
		}
		if err := k.count(ctx, o.ID); err != nil {
			return hypervisor.Disk{}, err
		}
		k.book.tell(ctx, o.ID, keyOf("disk", n), fmt.Sprintf("disk of %d GiB made", gib))
	}
	if made == cloned { // a copy doesn't need what it was made of
		if err := k.folder.remove(filepath.Join(vmsDir, o.ID, numbered(importBase, n))); err != nil {
			return hypervisor.Disk{}, err
		}
	}
	return k.form(o, n, made, base), nil
}

// form returns disk n of a VM, which is there, as its machine gets it.
func (k *keeper) form(o vm.Order, n int64, made form, base image.Base) hypervisor.Disk {
	disk := hypervisor.Disk{Path: k.folder.vmPath(o.ID, numbered(string(made), n)), Format: hypervisor.Raw, Bytes: materialOf(o, n).gib << 30}
	if made == overlaid {
		disk.Format = hypervisor.QCOW2
		disk.Backing = &hypervisor.Disk{Path: base.Path, Format: hypervisor.Format(base.Format), ReadOnly: true}
	}
	return disk
}

// count looks which disks a VM has. What can't be seen stays as it was known.
func (k *keeper) count(ctx context.Context, id string) error {
	disks, err := k.folder.disks(id)
	if err == nil {
		k.book.update(ctx, id, func(e *entry) { e.disks = disks })
	}
	return err
}

// keyOf is that of the line about disk n in a VM's story.
func keyOf(what string, n int64) string {
	if n == 0 {
		return what
	}
	return fmt.Sprintf("%s-%d", what, n)
}

// material is what a disk is made of.
type material struct {
	url, checksum string
	from          string // the snapshot instead, "" for the image
	pinned        bool   // it is what was there before, see vm.Spec
	gib           int64  // its size
}

// materialOf returns what disk n is made of that o asks for.
func materialOf(o vm.Order, n int64) material {
	if r := o.Rescue; r != nil && n == r.Disk {
		return material{url: r.Image, checksum: r.Checksum, gib: vm.RescueGiB}
	}
	m := material{url: o.Image, checksum: cmp.Or(o.ImageChecksum, o.ImagePin), pinned: o.ImageChecksum == "", gib: o.StorageGiB}
	if n == o.Disk {
		m.from = o.From
	}
	return m
}

func baseName(id string, n int64) string {
	return filepath.Join(vmsDir, id, numbered(baseFile, n))
}

func userDataName(id string, n int64) string {
	return filepath.Join(vmsDir, id, numbered(userDataFile, n))
}

func currentName(id string) string { return filepath.Join(vmsDir, id, currentFile) }
