package wire

import (
	"math"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/fault"
)

// Bounds of what is told of a machine: above any that is built, and low enough
// that sums of them mean something.
const (
	maxInstance  = 64  // characters that name a start of an agent
	maxItems     = 64  // disks, addresses, declared members
	maxName      = 256 // bytes of a name or a note
	maxThreads   = 1 << 16
	maxMemoryGiB = 1 << 20
	maxSpeed     = 1 << 20 // MT/s
	maxDiskGiB   = 1 << 30
	maxFigure    = 1e12
)

func checkInventory(inv capacity.Inventory) error {
	if !inv.Total.Valid() || inv.VCPUPerThread < 0 {
		return fault.New(fault.Invalid, "an inventory can't be negative")
	}
	h := inv.Hardware
	err := checkNames(
		h.CPU.Manufacturer, h.CPU.Brand, h.CPU.Architecture, h.CPU.Generation,
		h.Memory.Type, h.Memory.Generation, h.Storage.Type, inv.Hypervisor, inv.Accelerator,
	)
	if err != nil {
		return err
	}
	if len(inv.Declared) > maxItems {
		return fault.Newf(fault.Invalid, "an inventory declares at most %d members", maxItems)
	}
	if err := checkNames(inv.Declared...); err != nil {
		return err
	}
	if err := checkDetails(inv.Details); err != nil {
		return err
	}
	return checkMeasured(inv.Measured)
}

func checkDetails(d capacity.Details) error {
	for _, n := range []struct{ value, most int64 }{
		{d.Sockets, maxThreads},
		{d.Cores, maxThreads},
		{d.Threads, maxThreads},
		{d.MemoryGiB, maxMemoryGiB},
		{d.MemorySpeed, maxSpeed},
	} {
		if n.value < 0 || n.value > n.most {
			return fault.New(fault.Invalid, "a detail of the inventory is negative or larger than any machine")
		}
	}
	if len(d.Disks) > maxItems || len(d.Addresses) > maxItems {
		return fault.Newf(fault.Invalid, "an inventory tells of at most %d disks and %d addresses", maxItems, maxItems)
	}
	for _, disk := range d.Disks {
		if disk.SizeGiB < 0 || disk.SizeGiB > maxDiskGiB {
			return fault.New(fault.Invalid, "the size of a disk is negative or larger than any disk")
		}
		if err := checkNames(disk.Name, disk.Type, disk.Model); err != nil {
			return err
		}
	}
	return checkNames(d.Addresses...)
}

func checkMeasured(m *capacity.Measured) error {
	if m == nil {
		return nil
	}
	if m.Request < 0 {
		return fault.New(fault.Invalid, "a benchmark answers no negative request")
	}
	for _, figure := range []float64{
		m.CPUSingle, m.CPUAll, m.Memory, m.DiskRead, m.DiskWrite, m.DiskIOPS, m.DiskFsync, m.Network,
	} {
		if math.IsNaN(figure) || figure < 0 || figure > maxFigure {
			return fault.New(fault.Invalid, "a figure of the benchmark is negative or larger than any machine's")
		}
	}
	return checkNames(m.Note)
}

func checkNames(names ...string) error {
	for _, text := range names {
		if len(text) > maxName {
			return fault.New(fault.Invalid, "a name in the inventory is too long")
		}
	}
	return nil
}
