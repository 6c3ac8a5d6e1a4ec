package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/hypervisor"
	"github.com/cpucloud/cpucloud/internal/image"
	"github.com/cpucloud/cpucloud/internal/image/seed"
	"github.com/cpucloud/cpucloud/internal/network"
	"github.com/cpucloud/cpucloud/internal/userdata"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// Disks makes the disks of VMs; *image.Cache does.
type Disks interface {
	// Get returns the image that r asks for, and tells how far it is. Returns an
	// Invalid fault when no VM can be made of it.
	Get(ctx context.Context, r image.Request) (image.Base, error)
	// Overlay makes a disk of diskBytes on base at path, whole or not at all.
	// A disk that is there already stays as it is.
	Overlay(ctx context.Context, base image.Base, path string, diskBytes int64) error
	// Clone makes a disk of diskBytes at path that is a copy of base and doesn't
	// need it any more. It is as whole as those of Overlay.
	Clone(ctx context.Context, base image.Base, path string, diskBytes int64) error
	// Clones reports whether Clone works for disks in the folder dir.
	Clones(dir string) bool
	// Prune removes images that are not in use, were not asked for for long, or
	// are too many, and returns how many bytes that freed.
	Prune(inUse func(digest string) bool) (int64, error)
	// Whole returns the size of the disk in f, a qcow2 file of somebody who isn't trusted
	// that has to lie on nothing, or an Invalid fault.
	Whole(f io.ReaderAt) (int64, error)
	// Full reports whether images are too many, so that Prune may help.
	Full() bool
}

var _ Disks = (*image.Cache)(nil)

// launch makes what a VM lacks, in order, and starts its machine. Every step
// looks first whether it was done before, so a launch may be cut anywhere and
// begun again.
func (k *keeper) launch(ctx context.Context, o vm.Order) error {
	if err := k.folder.makeVM(o.ID); err != nil {
		return err
	}
	k.book.update(ctx, o.ID, func(e *entry) { e.files = true })
	if err := k.count(ctx, o.ID); err != nil {
		return err
	}
	there := k.sight(o.ID)
	n := there.boots(o)
	if len(there.Disks) > 0 && !slices.Contains(there.Disks, n) { // it had one
		return fmt.Errorf("disk %d is not there", n)
	}
	base, err := k.base(ctx, o, n)
	if err != nil {
		return err
	}
	select { // taken only now: a slow download must not hold up others
	case k.slots <- struct{}{}:
		defer func() { <-k.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	disk, err := k.disk(ctx, o, n, base)
	if err != nil {
		return err
	}
	if err := k.changeTo(ctx, o.ID, n); err != nil {
		return err
	}
	link := linkOf(o)
	if err := k.seed(o, n, link); err != nil {
		return err
	}
	if err := k.Network.Ensure(ctx, link); err != nil {
		return fmt.Errorf("make link: %w", err)
	}
	k.book.update(ctx, o.ID, func(e *entry) { e.link = &link })
	k.book.tell(ctx, o.ID, "network", fmt.Sprintf("%s ready, open ports: %s", k.addresses(link), portList(o.Ports)))
	disks, err := k.attached(ctx, o, n, disk)
	if err != nil {
		return err
	}
	return k.machine(ctx, o, disks, link)
}

// attached returns the disks of a machine that is started on disk n: with the VM's own
// one, when it isn't that, and its seed.
func (k *keeper) attached(ctx context.Context, o vm.Order, n int64, disk hypervisor.Disk) ([]hypervisor.Disk, error) {
	disks := []hypervisor.Disk{disk}
	if r := o.Rescue; r != nil && n == r.Disk {
		if !slices.Contains(k.sight(o.ID).Disks, o.Disk) { // which is never made here
			return nil, fmt.Errorf("disk %d is not there", o.Disk)
		}
		base, err := k.base(ctx, o, o.Disk)
		if err != nil {
			return nil, err
		}
		own, err := k.disk(ctx, o, o.Disk, base)
		if err != nil {
			return nil, err
		}
		disks = append(disks, own)
	}
	return append(disks, hypervisor.Disk{Path: k.folder.vmPath(o.ID, seedFile), Format: hypervisor.Raw, ReadOnly: true}), nil
}

// base returns what disk n of a VM is made of. It is written down before a disk is
// made, and never asked of the web again: what is at the URL may have changed. A
// disk that doesn't need it has none.
func (k *keeper) base(ctx context.Context, o vm.Order, n int64) (image.Base, error) {
	made, err := k.folder.form(o.ID, n)
	if err != nil || made == cloned {
		return image.Base{}, err
	}
	var base image.Base
	if kept, err := k.folder.read(baseName(o.ID, n), &base); kept || err != nil {
		return base, err
	}
	if made == overlaid {
		return base, errors.New("there is a disk, but the record of its base is lost")
	}
	if from := materialOf(o, n).from; from != "" {
		if vm.IsExport(from) {
			base, err = k.imported(ctx, o, n)
		} else {
			base, err = k.restored(ctx, o.ID, n, from)
		}
		if err != nil {
			return base, err
		}
		return base, k.folder.write(baseName(o.ID, n), base, true)
	}
	k.book.tell(ctx, o.ID, keyOf("image", n), "fetching the image")
	base, err = k.Disks.Get(ctx, k.request(ctx, o, n))
	if err != nil {
		return base, fmt.Errorf("fetch image: %w", err)
	}
	k.book.update(ctx, o.ID, func(e *entry) {
		e.fetched(n, base.Checksum)
		e.tell(keyOf("image", n), k.Now(), "image fetched and checked")
	})
	return base, k.folder.write(baseName(o.ID, n), base, true)
}

// request returns what image an order asks for disk n. One that names no tenant shares
// nothing that isn't public.
func (k *keeper) request(ctx context.Context, o vm.Order, n int64) image.Request {
	m := materialOf(o, n)
	return image.Request{
		URL: m.url, Checksum: m.checksum, Pinned: m.pinned,
		Tenant: cmp.Or(o.Tenant, "vm:"+o.ID), DiskBytes: m.gib << 30, Progress: k.progress(ctx, o.ID, keyOf("image", n)),
	}
}

// progress returns a function that tells the story of a download, once a
// second at most.
func (k *keeper) progress(ctx context.Context, id, key string) func(image.Progress) {
	var told time.Time
	return func(p image.Progress) {
		now := k.Now()
		if now.Sub(told) < time.Second || ctx.Err() != nil {
			return
		}
		told = now
		verb := "fetched"
		if p.Step == image.Unpack {
			verb = "unpacked"
		}
		text := fmt.Sprintf("%s %d MiB", verb, p.Done>>20)
		if p.Total > 0 {
			text = fmt.Sprintf("%s %d of %d MiB (%d %%)", verb, p.Done>>20, p.Total>>20, p.Done*100/p.Total)
		}
		k.book.tell(ctx, id, key, text)
	}
}

// seed writes the disk that the VM reads at boot. It is written anew before
// each start, because the network may have changed under a VM that was down.
func (k *keeper) seed(o vm.Order, n int64, link network.Link) error {
	g := k.Network.Guest(link)
	s, err := k.instance(o, n)
	if err != nil {
		return err
	}
	s.At, s.Network = k.Now(), seed.Network{
		DHCP: g.DHCP, MAC: link.MAC, Address: g.Address, Gateway: g.Gateway, Address6: g.Address6, Gateway6: g.Gateway6, DNS: g.DNS,
	}
	if err := k.folder.step("write", seedFile); err != nil {
		return fmt.Errorf("write seed: %w", err)
	}
	if err := seed.WriteFile(k.folder.vmPath(o.ID, seedFile), s); err != nil {
		return fmt.Errorf("write seed: %w", err)
	}
	return nil
}

// instance returns who the guest on disk n is: another one on each that was made of an image,
// so that cloud-init sets it up.
func (k *keeper) instance(o vm.Order, n int64) (seed.Seed, error) {
	instance, err := k.instanceID(o.ID, n)
	if err != nil {
		return seed.Seed{}, err
	}
	s := seed.Seed{InstanceID: instance, Hostname: o.Hostname, SSHKeys: o.SSHKeys}
	if r := o.Rescue; r != nil && n == r.Disk {
		s.SSHKeys = []string{r.Key}
		return s, nil
	}
	s.UserData, err = k.userData(o, n)
	return s, err
}

// userData returns what the guest on disk n of a VM is given to do. It is ordered until
// the VM was Active on it, or is that of another disk, and read by the guest at each
// boot: what it was is kept beside the disk, before a seed tells it, and goes
// with it.
func (k *keeper) userData(o vm.Order, n int64) (kept userdata.Text, err error) {
	there, err := k.folder.read(userDataName(o.ID, n), &kept)
	if err != nil || n != o.Disk {
		return kept, err
	}
	given := o.UserData
	if given == "" && o.Heir != nil && *o.Heir != n && !there {
		if _, err := k.folder.read(userDataName(o.ID, *o.Heir), &given); err != nil {
			return "", err
		}
	}
	if given == "" || given == kept {
		return kept, nil
	}
	return given, k.folder.write(userDataName(o.ID, n), given, true)
}

// machine starts the VM's machine.
func (k *keeper) machine(ctx context.Context, o vm.Order, disks []hypervisor.Disk, link network.Link) error {
	plug, err := k.Network.Plug(ctx, o.ID)
	if err != nil {
		return fmt.Errorf("plug in: %w", err)
	}
	// Before the start: a machine must never be taken as ready for what the
	// one before it had answered.
	again := false
	k.book.update(ctx, o.ID, func(e *entry) { again, e.Ready, e.Asked = !e.Started.IsZero(), false, time.Time{} })
	err = k.Hypervisor.Ensure(ctx, hypervisor.Machine{
		ID: o.ID, VCPU: int(o.VCPU), RAMGiB: int(o.RAMGiB),
		Disks: disks,
		NIC:   hypervisor.NIC{MAC: link.MAC, Kind: hypervisor.PlugKind(plug.Kind), File: plug.File},
	})
	if err != nil {
		return fmt.Errorf("start machine: %w", err)
	}
	k.book.update(ctx, o.ID, func(e *entry) {
		now := k.Now()
		e.Begun = e.begun()
		if e.Begun.IsZero() {
			e.Begun = now
		}
		e.machine, e.Started = hypervisor.Running, now
		if e.Disk == o.Boots() { // else it is still to be changed
			e.Generation = o.Generation
		}
		switch {
		case !again:
			e.tell("machine", now, fmt.Sprintf("machine started with %d vCPU and %d GiB of memory", o.VCPU, o.RAMGiB))
		case e.Turned:
			e.tell(changeKey(o), now, e.restarted(o)+", with the address that it had")
		case o.Restart > e.Restarted:
			e.tell(restartKey(o), now, "restarted, with the disk and the address that it had")
		case e.Halted:
			e.Halted = false
			e.Resumes++
			e.tell(fmt.Sprintf("resume-%d", o.Generation), now, "powered on again, with the disk and the address that it had")
		default:
			e.Restarts++
			e.tell("restart", now, fmt.Sprintf("the machine had stopped and was started again (%d times by now)", e.Restarts))
		}
		e.Turned = false
		e.Restarted = o.Restart // what is started now need not be started anew
	})
	return nil
}

// connect makes the network agree with o; the machine is left alone.
func (k *keeper) connect(ctx context.Context, o vm.Order) error {
	link := linkOf(o)
	if err := k.Network.Ensure(ctx, link); err != nil {
		return fmt.Errorf("change link: %w", err)
	}
	text := "ports now open: " + portList(o.Ports)
	if o.Cut > k.book.get(o.ID).Generation {
		cut, err := k.cut(ctx, o)
		if err != nil {
			return err
		}
		text += cut
	}
	k.book.update(ctx, o.ID, func(e *entry) {
		told := agrees(e.link, o) && o.Cut <= e.Generation && e.Asked.IsZero() // what changed is something else
		e.link, e.Asked = &link, time.Time{}
		if e.Disk == o.Boots() {
			e.Generation = o.Generation
		}
		if told {
			return
		}
		e.tell(fmt.Sprintf("ports-%d", o.Generation), k.Now(), text)
	})
	return nil
}

// cut ends the connections through closed ports, and returns what to tell of it.
// A network that can't do so is no reason to try for ever.
func (k *keeper) cut(ctx context.Context, o vm.Order) (string, error) {
	err := k.Network.Cut(ctx, o.ID)
	if fault.Is(err, fault.Unavailable) {
		k.Log.WarnContext(ctx, "connections can't be cut", "vm_id", o.ID, "error", err)
		return "; connections through others could not be cut", nil
	}
	if err != nil {
		return "", fmt.Errorf("cut connections: %w", err)
	}
	return "; connections through others are cut", nil
}

// addresses says which public addresses a VM has: "address 198.51.100.7 is".
func (k *keeper) addresses(l network.Link) string {
	if a := k.Network.Guest(l).Address6; a.IsValid() {
		return fmt.Sprintf("addresses %s and %s are", l.Address, a.Addr())
	}
	return fmt.Sprintf("address %s is", l.Address)
}

// remove ends a VM: its machine, its link, its disk, in this order, because a
// disk may not go while something writes to it.
func (k *keeper) remove(ctx context.Context, o vm.Order) error {
	if err := k.Hypervisor.Destroy(ctx, o.ID); err != nil {
		return fmt.Errorf("end machine: %w", err)
	}
	if err := k.Network.Destroy(ctx, o.ID); err != nil {
		return fmt.Errorf("remove link: %w", err)
	}
	if err := k.folder.removeVM(o.ID); err != nil {
		return err
	}
	k.book.update(ctx, o.ID, func(e *entry) {
		steps := e.Steps
		*e = entry{record: record{Generation: o.Generation, Steps: steps}}
		e.tell("removed", k.Now(), "the machine is ended and its disk is purged")
	})
	return nil
}
