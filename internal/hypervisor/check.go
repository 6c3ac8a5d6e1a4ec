package hypervisor

import (
	"net"
	"path/filepath"

	"github.com/cpucloud/cpucloud/internal/fault"
)

// Limits of a machine. They are far above what a host has, and low enough
// that no request can make a driver open files without end.
const (
	maxID      = 64
	maxVCPU    = 255 // what a q35 board without extended interrupt mode carries
	maxRAMGiB  = 4096
	maxDisks   = 8
	maxBacking = 4
)

// CheckID returns an Invalid fault unless id can name a machine. Such an id is
// safe as a file name and as an argument.
func CheckID(id string) error {
	ok := id != "" && len(id) <= maxID
	for _, c := range []byte(id) {
		ok = ok && (c == '-' || '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z')
	}
	if !ok {
		return fault.Newf(fault.Invalid, "%.80q can't name a machine", id)
	}
	return nil
}

// Check returns an Invalid fault that names the first thing that keeps m from
// being started. It looks at m alone, not at the files it names.
func (m Machine) Check() error {
	if err := CheckID(m.ID); err != nil {
		return err
	}
	switch {
	case m.VCPU < 1 || m.VCPU > maxVCPU:
		return fault.Newf(fault.Invalid, "a machine can't have %d vCPUs", m.VCPU)
	case m.RAMGiB < 1 || m.RAMGiB > maxRAMGiB:
		return fault.Newf(fault.Invalid, "a machine can't have %d GiB of memory", m.RAMGiB)
	case len(m.Disks) < 1 || len(m.Disks) > maxDisks:
		return fault.Newf(fault.Invalid, "a machine can't have %d disks", len(m.Disks))
	}
	for _, d := range m.Disks {
		if err := d.check(0); err != nil {
			return err
		}
	}
	return m.NIC.check()
}

func (d Disk) check(depth int) error {
	switch {
	case !filepath.IsAbs(d.Path):
		return fault.Newf(fault.Invalid, "the path of a disk is absolute, %q is not", d.Path)
	case d.Format != QCOW2 && d.Format != Raw:
		return fault.Newf(fault.Invalid, "disk %q has no known format: %q", d.Path, d.Format)
	case d.Backing == nil:
		return nil
	case d.Format != QCOW2:
		return fault.Newf(fault.Invalid, "disk %q is %s and can't lie on another", d.Path, d.Format)
	case depth == maxBacking:
		return fault.Newf(fault.Invalid, "disk %q lies on more than %d others", d.Path, maxBacking)
	}
	return d.Backing.check(depth + 1)
}

func (n NIC) check() error {
	mac, err := net.ParseMAC(n.MAC)
	switch {
	case err != nil || len(mac) != 6 || mac[0]&1 == 1:
		return fault.Newf(fault.Invalid, "%q is no address of a network card", n.MAC)
	case n.Kind != Tap && n.Kind != Stream:
		return fault.Newf(fault.Invalid, "%q is no kind of plug", n.Kind)
	case n.File == nil:
		return fault.New(fault.Invalid, "the network card isn't plugged into anything")
	}
	return nil
}
