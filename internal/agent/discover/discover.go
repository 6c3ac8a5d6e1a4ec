// Package discover finds out what a server is made of and how much of it may
// be sold.
package discover

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/jaypipes/ghw/pkg/block"
	"github.com/shirou/gopsutil/v4/common"
	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/disk"
	"github.com/shirou/gopsutil/v4/mem"

	"github.com/cpucloud/cpucloud/internal/capacity"
)

// Config says where to look, and what the provider knows better.
type Config struct {
	Dir           string                     // where the VMs' disks are
	VCPUPerThread int64                      // how often a hardware thread is sold; 1 if 0
	Hardware      capacity.Hardware          // texts that are not "" stand for what is found
	Total         capacity.Vector            // amounts that are not 0 stand for what is found
	Root          string                     // of the host's file system; "" is /
	Addresses     func() ([]net.Addr, error) // of the host; nil asks the kernel
}

// Found is a server. No text of its hardware is empty.
type Found struct {
	Hardware  capacity.Hardware
	Total     capacity.Vector // what may be sold; addresses are the network's to count
	Details   capacity.Details
	Declared  []string // members of the inventory that the provider stated and nobody read
	Assumed   []string // what could not be read and was taken as usual, for the operator
	Installed int64    // GiB of memory that are built in, rounded up
}

const gib = 1 << 30

// Server looks at this host.
func Server(ctx context.Context, c Config) (Found, error) {
	root := cmp.Or(c.Root, "/")
	ctx = context.WithValue(ctx, common.EnvKey, common.EnvMap{
		common.HostProcEnvKey: filepath.Join(root, "proc"), common.HostSysEnvKey: filepath.Join(root, "sys"),
	})
	infos, err := cpu.InfoWithContext(ctx)
	if err != nil {
		return Found{}, fmt.Errorf("read processors: %w", err)
	}
	memory, err := mem.VirtualMemoryWithContext(ctx)
	if err != nil {
		return Found{}, fmt.Errorf("read memory: %w", err)
	}
	storage, err := storageBytes(ctx, c.Dir)
	if err != nil {
		return Found{}, err
	}
	var f Found
	built, modules := blockDevices(root), installed(root)
	read := capacity.Hardware{
		CPU: f.processor(infos, c.Hardware.CPU), Memory: f.memory(modules, infos, c.Hardware.Memory), Storage: f.storage(root, built, c),
	}
	threads := int64(max(1, min(len(infos), runtime.NumCPU()))) // a process may be kept to fewer than there are
	total := share(threads, max(1, c.VCPUPerThread), int64(memory.Total), storage)
	f.Total = capacity.Vector{
		VCPU:       cmp.Or(c.Total.VCPU, total.VCPU),
		RAMGiB:     cmp.Or(c.Total.RAMGiB, total.RAMGiB),
		StorageGiB: cmp.Or(c.Total.StorageGiB, total.StorageGiB),
		Addresses:  c.Total.Addresses,
	}
	f.Declared = declared(c, read, total)
	// The kernel keeps some memory for itself and tells of the rest, so that is rounded up.
	f.Installed = modules.plausible(int64(memory.Total+gib-1) / gib)
	f.Details = capacity.Details{
		Threads: threads, MemoryGiB: f.Installed, MemorySpeed: modules.speed,
		Disks: disks(built), Addresses: addresses(c.Addresses),
	}
	if f.Total.RAMGiB > f.Installed { // sold on the provider's word alone, so nothing is said against it
		f.Details.MemoryGiB = 0
	}
	f.Details.Sockets, f.Details.Cores = topology(infos)
	return f, nil
}

// share returns what may be sold: the host keeps a tenth of the memory, at
// least 1 GiB, and a tenth of the storage.
func share(threads, vcpuPerThread, memory, storage int64) capacity.Vector {
	return capacity.Vector{
		VCPU:       threads * vcpuPerThread,
		RAMGiB:     max(0, memory-max(memory/10, gib)) / gib,
		StorageGiB: (storage - storage/10) / gib,
	}
}

// storageBytes returns what the file system of dir has for VMs: what is free,
// and what they take already, so that the amount is the same after a restart.
func storageBytes(ctx context.Context, dir string) (int64, error) {
	usage, err := disk.UsageWithContext(ctx, dir)
	if err != nil {
		return 0, fmt.Errorf("read storage of %s: %w", dir, err)
	}
	taken := int64(0)
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil //nolint:nilerr // what vanishes or is closed to us takes no room of ours
		}
		if info, err := d.Info(); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				taken += st.Blocks * 512
			}
		}
		return ctx.Err()
	})
	if err != nil {
		return 0, fmt.Errorf("read storage of %s: %w", dir, err)
	}
	return int64(usage.Free) + taken, nil
}

// processor names the processor and returns what was read of it.
func (f *Found) processor(infos []cpu.InfoStat, known capacity.CPU) capacity.CPU {
	var first cpu.InfoStat
	if len(infos) > 0 {
		first = infos[0]
	}
	p := processor(first)
	if p.CPU.Manufacturer == unknown && known.Manufacturer == "" {
		f.Assumed = append(f.Assumed, "the manufacturer of the CPU is not known")
	}
	f.Hardware.CPU = capacity.CPU{
		Manufacturer: cmp.Or(known.Manufacturer, p.CPU.Manufacturer),
		Brand:        cmp.Or(known.Brand, p.CPU.Brand),
		Architecture: cmp.Or(known.Architecture, p.CPU.Architecture),
		Generation:   cmp.Or(known.Generation, p.CPU.Generation),
	}
	return p.CPU
}

// memory names the memory and returns what was read of it.
func (f *Found) memory(built modules, infos []cpu.InfoStat, known capacity.Memory) capacity.Memory {
	m := built.kind
	if m.Type == "" {
		m = capacity.Memory{Type: "DDR", Generation: "4"}
		if len(infos) > 0 {
			m.Generation = cmp.Or(processor(infos[0]).DDR, m.Generation)
		}
		if known.Type == "" || known.Generation == "" {
			f.Assumed = append(f.Assumed, "the type of the memory can't be read without root: taken as "+m.Type+m.Generation)
		}
	}
	f.Hardware.Memory = capacity.Memory{Type: cmp.Or(known.Type, m.Type), Generation: cmp.Or(known.Generation, m.Generation)}
	return built.kind
}

// storage names the kind of disk and returns what was read of it.
func (f *Found) storage(root string, all []*block.Disk, c Config) capacity.Storage {
	kind := storageType(all, root, c.Dir)
	if kind == "" && c.Hardware.Storage.Type == "" {
		f.Assumed = append(f.Assumed, "the type of the disk is not known: taken as SSD")
	}
	f.Hardware.Storage.Type = cmp.Or(c.Hardware.Storage.Type, kind, "SSD")
	return capacity.Storage{Type: kind}
}
