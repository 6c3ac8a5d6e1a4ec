package wire_test

import (
	"strings"
	"testing"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// full returns an inventory at its bounds.
func full() capacity.Inventory {
	name := strings.Repeat("x", 256)
	d := capacity.Details{Sockets: 8, Cores: 1024, Threads: 2048, MemoryGiB: 64 << 10, MemorySpeed: 8800}
	inv := capacity.Inventory{Measured: &capacity.Measured{
		Request: 3, CPUSingle: 1000, CPUAll: 1e6, Memory: 1e6, DiskRead: 1e5, DiskWrite: 1e5, DiskIOPS: 1e6, DiskFsync: 1e3, Network: 1e3, Note: name,
	}}
	for range 64 {
		d.Disks = append(d.Disks, capacity.Disk{Name: name, Type: "NVMe", SizeGiB: 1 << 20, Model: name})
		d.Addresses = append(d.Addresses, name)
		inv.Declared = append(inv.Declared, name)
	}
	inv.Details = d
	return inv
}

func TestInventoryIsBounded(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 257)
	for name, spoil := range map[string]func(*vm.Report){
		"":                   func(*vm.Report) {},
		"instance":           func(r *vm.Report) { r.Instance = strings.Repeat("x", 65) },
		"sockets":            func(r *vm.Report) { r.Inventory.Details.Sockets = -1 },
		"cores":              func(r *vm.Report) { r.Inventory.Details.Cores = 1 << 40 },
		"threads":            func(r *vm.Report) { r.Inventory.Details.Threads = 1 << 40 },
		"memory":             func(r *vm.Report) { r.Inventory.Details.MemoryGiB = 1 << 40 },
		"speed":              func(r *vm.Report) { r.Inventory.Details.MemorySpeed = -1 },
		"disks":              func(r *vm.Report) { r.Inventory.Details.Disks = make([]capacity.Disk, 65) },
		"disk size":          func(r *vm.Report) { r.Inventory.Details.Disks[0].SizeGiB = -1 },
		"disk model":         func(r *vm.Report) { r.Inventory.Details.Disks[63].Model = long },
		"addresses":          func(r *vm.Report) { r.Inventory.Details.Addresses = make([]string, 65) },
		"address":            func(r *vm.Report) { r.Inventory.Details.Addresses[0] = long },
		"declared":           func(r *vm.Report) { r.Inventory.Declared = make([]string, 65) },
		"declared member":    func(r *vm.Report) { r.Inventory.Declared[0] = long },
		"measured request":   func(r *vm.Report) { r.Inventory.Measured.Request = -1 },
		"measured processor": func(r *vm.Report) { r.Inventory.Measured.CPUSingle = -1 },
		"measured all":       func(r *vm.Report) { r.Inventory.Measured.CPUAll = 1e13 },
		"measured memory":    func(r *vm.Report) { r.Inventory.Measured.Memory = 1e300 },
		"measured disk":      func(r *vm.Report) { r.Inventory.Measured.DiskFsync = -0.1 },
		"measured note":      func(r *vm.Report) { r.Inventory.Measured.Note = long },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newControl(1)
			r := vm.Report{Sequence: 1, Instance: strings.Repeat("i", 64), Inventory: full()}
			spoil(&r)
			_, _, err := join(t, c, direct{}).Sync(t.Context(), r, vm.List{}, 0)
			if good := name == ""; good && err != nil || !good && !fault.Is(err, fault.Invalid) {
				t.Errorf("Sync: %v", err)
			}
		})
	}
}
