package agent_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/agent"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/hypervisor"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// wantDisk compares the first disk of a VM's machine.
func (r *rig) wantDisk(id, file string, format hypervisor.Format, backed bool) {
	r.Helper()
	m, n := r.host.Machine(id)
	if n == 0 {
		r.Fatalf("%s doesn't run", id)
	}
	d := m.Disks[0]
	if filepath.Base(d.Path) != file || d.Format != format || (d.Backing != nil) != backed || d.Bytes != order(id, 1).StorageGiB<<30 || d.ReadOnly {
		r.Errorf("the disk of %s is %+v, want %s as %s, on an image: %t", id, d, file, format, backed)
	}
}

// Where images can be cloned, a new VM's disk is a clone: raw, on nothing.
// Whatever becomes of the file system later, or of what the guest writes to where a
// format has its name, a VM keeps the form that its disk was made in.
func TestDiskKeepsItsForm(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		second := order("0xB", 1, ssh)
		second.Address = netip.MustParseAddr("127.77.0.2")
		for _, clones := range []bool{false, true} {
			r.disks.clones = clones
			r.start()
			o := order("0xA", 1, ssh)
			if clones {
				o = second
			}
			r.order(o)
			r.reaches(o.ID, 1, vm.Ready)
			r.halt()
		}
		for _, clones := range []bool{true, false} {
			r.wantDisk("0xA", "disk.qcow2", hypervisor.QCOW2, true)
			r.wantDisk("0xB", "disk.raw", hypervisor.Raw, false)
			disks := map[string]string{}
			for _, id := range []string{"0xA", "0xB"} {
				disks[id] = "QFI\xfb, says the guest of " + id
				name := map[string]string{"0xA": "/disk.qcow2", "0xB": "/disk.raw"}[id]
				if err := os.WriteFile(r.dir+"/agent/vms/"+id+name, []byte(disks[id]), 0o600); err != nil {
					r.Fatal(err)
				}
			}
			r.newHost()
			r.disks.clones = clones
			r.start()
			r.until(time.Minute, "both run again", func() bool { return r.starts("0xA") > 0 && r.starts("0xB") > 0 })
			r.halt()
			for id, want := range disks {
				if got := r.disk(id); got != want {
					r.Errorf("the disk of %s is %q, want %q", id, got, want)
				}
			}
		}
		if r.disks.made != 2 {
			r.Errorf("%d disks were made, want two", r.disks.made)
		}
	})
}

// A clone needs its image no more: that may be removed, and what is written of it
// may be lost. An overlay's may not.
func TestCloneNeedsNoImage(t *testing.T) {
	t.Parallel()
	for _, clones := range []bool{true, false} {
		bubble(t, func(r *rig) {
			r.disks.clones = clones
			r.start()
			r.order(order("0xA", 1, ssh))
			r.reaches("0xA", 1, vm.Ready)
			time.Sleep(2 * time.Hour)
			if _, kept := r.disks.pruned(); kept == clones {
				r.Errorf("clone %t: the image counts as in use: %t", clones, kept)
			}
			r.halt()
			used, err := agent.UsedImages(r.dir)
			if err != nil || used["abc"] == clones {
				r.Errorf("clone %t: images in use are %v, %v", clones, used, err)
			}
			if err := os.Remove(r.dir + "/agent/vms/0xA/base.json"); err != nil {
				r.Fatal(err)
			}
			disk := r.disk("0xA")
			r.newHost()
			r.start()
			time.Sleep(time.Minute)
			if ran := r.starts("0xA") > 0; ran != clones || r.disk("0xA") != disk || r.disks.fetches != 1 {
				r.Errorf("clone %t, without its base: runs %t, on %q, was %q; %d fetches", clones, ran, r.disk("0xA"), disk, r.disks.fetches)
			}
		})
	}
}

// Until its disk is made, a VM needs its image in whatever form.
func TestImageIsKeptUntilItIsCloned(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.disks.clones = true
		r.disks.cloning = fault.New(fault.Unavailable, "the disk is full")
		r.start()
		r.order(order("0xA", 1, ssh))
		time.Sleep(2 * time.Hour)
		if _, kept := r.disks.pruned(); !kept || r.disk("0xA") != "" {
			r.Errorf("the image counts as in use: %t, disk %q; want an image and no disk", kept, r.disk("0xA"))
		}
		if s := r.sighting("0xA"); !strings.Contains(s.Reason, "the disk is full") {
			r.Errorf("it is said to be %q", s.Reason)
		}
	})
}
