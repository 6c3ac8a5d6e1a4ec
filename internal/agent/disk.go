package agent

import (
	"context"
	"fmt"
	"path/filepath"

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

// form returns how the disk of a VM was made, "" if there is none yet.
func (f *folder) form(id string) (form, error) {
	for _, made := range []form{overlaid, cloned} {
		if there, err := f.exists(made.name(id)); err != nil {
			return "", fmt.Errorf("look for disk: %w", err)
		} else if there {
			return made, nil
		}
	}
	return "", nil
}

// name returns the name of a VM's disk of this form in the agent's folder.
func (m form) name(id string) string { return filepath.Join(vmsDir, id, string(m)) }

// disk returns the VM's disk, which it makes of base unless there is one: it is
// never made twice, nor in another form.
func (k *keeper) disk(ctx context.Context, o vm.Order, base image.Base) (hypervisor.Disk, error) {
	made, err := k.folder.form(o.ID)
	if err != nil {
		return hypervisor.Disk{}, err
	}
	if made == "" {
		create := k.Disks.Overlay
		if made = overlaid; k.clones && base.Format == string(hypervisor.Raw) {
			made, create = cloned, k.Disks.Clone
		}
		if err := create(ctx, base, k.folder.vmPath(o.ID, string(made)), o.StorageGiB<<30); err != nil {
			return hypervisor.Disk{}, fmt.Errorf("make disk: %w", err)
		}
		k.book.tell(ctx, o.ID, "disk", fmt.Sprintf("disk of %d GiB made", o.StorageGiB))
	}
	return k.attached(o, made, base), nil
}

// attached returns the VM's disk, which is there, as its machine gets it.
func (k *keeper) attached(o vm.Order, made form, base image.Base) hypervisor.Disk {
	disk := hypervisor.Disk{Path: k.folder.vmPath(o.ID, string(made)), Format: hypervisor.Raw, Bytes: o.StorageGiB << 30}
	if made == overlaid {
		disk.Format = hypervisor.QCOW2
		disk.Backing = &hypervisor.Disk{Path: base.Path, Format: hypervisor.Format(base.Format), ReadOnly: true}
	}
	return disk
}
