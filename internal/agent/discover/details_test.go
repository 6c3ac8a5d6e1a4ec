package discover_test

import (
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/cpucloud/cpucloud/internal/agent/discover"
	"github.com/cpucloud/cpucloud/internal/capacity"
)

// processors writes the cpuinfo of a machine with its hardware threads counted
// as the kernel does: all cores of all sockets, then their second threads.
func processors(sockets, cores, threads int) string {
	var text strings.Builder
	n := 0
	for range threads {
		for socket := range sockets {
			for core := range cores {
				one := cpuinfo("AuthenticAMD", 25, 17, 1, "AMD EPYC 9354 32-Core Processor", "")
				one = strings.Replace(one, "processor\t: 0", fmt.Sprintf("processor\t: %d", n), 1)
				fmt.Fprintf(&text, "%sphysical id\t: %d\ncore id\t\t: %d\ncpu cores\t: %d\n\n", strings.TrimSuffix(one, "\n"), socket, core*2, cores)
				n++
			}
		}
	}
	return text.String()
}

func TestTopology(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		info           string
		sockets, cores int64
	}{
		"one socket":            {processors(1, 2, 1), 1, 2},
		"two of 32 × 2":         {processors(2, 32, 2), 2, 64},
		"a virtual one":         {processors(4, 1, 1), 4, 4},
		"one that does not say": {cpuinfo("AuthenticAMD", 25, 17, 1, "AMD EPYC 9354", ""), 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := find(t, discover.Config{Root: host(t, map[string]string{"proc/cpuinfo": tt.info})})
			if f.Details.Sockets != tt.sockets || f.Details.Cores != tt.cores || f.Details.Threads < 1 {
				t.Errorf("details %+v, want %d sockets and %d cores", f.Details, tt.sockets, tt.cores)
			}
		})
	}
}

// module returns an entry of an SMBIOS table with a size and a configured speed,
// large ones where they have to be.
func module(mib, speed uint32) string {
	b := make([]byte, 0x5c)
	b[0], b[1], b[0x12] = 17, byte(len(b)), 0x22
	binary.LittleEndian.PutUint16(b[0x0c:], uint16(min(mib, 0x7fff)))
	binary.LittleEndian.PutUint32(b[0x1c:], mib)
	binary.LittleEndian.PutUint16(b[0x15:], 9999) // what it could do
	binary.LittleEndian.PutUint16(b[0x20:], uint16(min(speed, 0xffff)))
	binary.LittleEndian.PutUint32(b[0x58:], speed)
	return string(b) + "DIMM 0\x00\x00"
}

func TestMemoryDetails(t *testing.T) {
	t.Parallel()
	const end = "\x7f\x04\x00\x00\x00\x00"
	for name, tt := range map[string]struct {
		table      string
		gib, speed int64
	}{
		"two modules, one slower": {module(16<<10, 5600) + module(0, 0) + module(16<<10, 4800) + end, 32, 4800},
		"a large one":             {module(64<<10, 4800) + end, 64, 4800},
		"speed not told":          {module(32<<10, 0) + end, 32, 0},
		"absurd speed":            {module(32<<10, 1<<30) + end, 32, 0},
		"absurd size":             {module(1<<30, 4800) + end, 32, 4800},
		"less than there is":      {module(1<<10, 4800) + end, 32, 4800},
		"old table":               {device(0x4000, 0x18) + device(0x4000, 0x18) + end, 32, 0},
		"none":                    {end, 32, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := find(t, discover.Config{Root: host(t, map[string]string{
				"proc/cpuinfo": processors(1, 1, 1), "sys/firmware/dmi/tables/DMI": tt.table,
			})}).Details
			if d.MemoryGiB != tt.gib || d.MemorySpeed != tt.speed {
				t.Errorf("%d GiB at %d MT/s, want %d at %d", d.MemoryGiB, d.MemorySpeed, tt.gib, tt.speed)
			}
		})
	}
}

func TestDisks(t *testing.T) {
	t.Parallel()
	files := map[string]string{"proc/cpuinfo": processors(1, 1, 1)}
	disk := func(name string, gib int, rotational, removable string) {
		files["sys/block/"+name+"/size"] = fmt.Sprint(gib << 21)
		files["sys/block/"+name+"/queue/rotational"] = rotational
		files["sys/block/"+name+"/removable"] = removable
	}
	disk("sda", 4000, "1", "0")
	disk("sdb", 480, "0", "0")
	disk("nvme0n1", 1788, "0", "0")
	disk("nvme1n1", 1788, "0", "0")
	disk("vda", 250, "1", "0")
	disk("sdc", 30, "1", "1")    // a stick
	disk("dm-0", 1788, "0", "0") // made of others
	disk("loop0", 1, "1", "0")
	disk("sr0", 1, "1", "0")
	disk("sdd", 0, "1", "0") // an empty reader
	files["sys/block/sda/dev"] = "8:0\n"
	files["run/udev/data/b8:0"] = "E:ID_MODEL=Toshiba_\x1b[31mMG08\n"
	got := find(t, discover.Config{Root: host(t, files)}).Details.Disks
	want := []capacity.Disk{
		{Name: "sda", Type: "HDD", SizeGiB: 4000, Model: "Toshiba [31mMG08"},
		{Name: "nvme0n1", Type: "NVMe", SizeGiB: 1788},
		{Name: "nvme1n1", Type: "NVMe", SizeGiB: 1788},
		{Name: "sdb", Type: "SSD", SizeGiB: 480},
		{Name: "vda", SizeGiB: 250}, // what is behind it can't be seen
	}
	if !slices.Equal(got, want) {
		t.Errorf("disks %+v\nwant  %+v", got, want)
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	ask := func() ([]net.Addr, error) {
		var all []net.Addr
		for _, text := range []string{
			"127.0.0.1/8", "::1/128", "fe80::1/64", "10.0.0.7/24", "203.0.113.9/24", "2001:db8::9/64", "fd00::1/64", "203.0.113.9/24", "224.0.0.1/4",
		} {
			ip, network, err := net.ParseCIDR(text)
			if err != nil {
				return nil, err
			}
			all = append(all, &net.IPNet{IP: ip, Mask: network.Mask})
		}
		return all, nil
	}
	f := find(t, discover.Config{Addresses: ask, Root: host(t, map[string]string{"proc/cpuinfo": processors(1, 1, 1)})})
	want := []string{"203.0.113.9", "2001:db8::9", "10.0.0.7", "fd00::1"}
	if !slices.Equal(f.Details.Addresses, want) {
		t.Errorf("addresses %v, want %v", f.Details.Addresses, want)
	}
}

func TestDeclared(t *testing.T) {
	t.Parallel()
	root := host(t, map[string]string{"proc/cpuinfo": processors(1, 1, 1), "sys/firmware/dmi/tables/DMI": module(32<<10, 4800)})
	for name, tt := range map[string]struct {
		config discover.Config
		want   []string
	}{
		"nothing":           {discover.Config{}, nil},
		"what was read":     {discover.Config{Hardware: capacity.Hardware{CPU: capacity.CPU{Manufacturer: "AMD", Brand: "EPYC 9354"}, Memory: capacity.Memory{Type: "DDR", Generation: "5"}}}, nil},
		"another processor": {discover.Config{Hardware: capacity.Hardware{CPU: capacity.CPU{Brand: "EPYC 9754"}}}, []string{"hardware.cpu.brand"}},
		"everything": {discover.Config{
			Hardware: capacity.Hardware{
				CPU:    capacity.CPU{Manufacturer: "Ampere", Brand: "Altra", Architecture: "Neoverse", Generation: "N1"},
				Memory: capacity.Memory{Type: "HBM", Generation: "2"}, Storage: capacity.Storage{Type: "NVMe"},
			},
			Total: capacity.Vector{VCPU: 5, RAMGiB: 6, StorageGiB: 1 << 40},
		}, []string{
			"hardware.cpu.manufacturer", "hardware.cpu.brand", "hardware.cpu.architecture", "hardware.cpu.generation",
			"hardware.memory.type", "hardware.memory.generation", "hardware.storage.type", "total.vcpu", "total.ram_gib", "total.storage_gib",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tt.config.Root = root
			if got := find(t, tt.config).Declared; !slices.Equal(got, tt.want) {
				t.Errorf("declared %v, want %v", got, tt.want)
			}
		})
	}
}

// Memory that is sold beyond what there is leaves the latter out, which the
// marketplace would hold against it; a part of a GiB counts as one.
func TestMoreMemoryThanThereIs(t *testing.T) {
	t.Parallel()
	for sold, want := range map[int64]int64{0: 32, 30: 32, 32: 32, 33: 0} {
		f := find(t, discover.Config{Total: capacity.Vector{RAMGiB: sold}, Root: host(t, map[string]string{
			"proc/cpuinfo": processors(1, 1, 1), "proc/meminfo": "MemTotal: 32600000 kB\n",
		})})
		if f.Details.MemoryGiB != want || f.Installed != 32 {
			t.Errorf("sold %d: %d GiB in the details, %d installed; want %d and 32", sold, f.Details.MemoryGiB, f.Installed, want)
		}
	}
}

// A memory type that is only assumed is the provider's word, even if it is the
// same.
func TestAssumedIsNotRead(t *testing.T) {
	t.Parallel()
	f := find(t, discover.Config{
		Hardware: capacity.Hardware{Memory: capacity.Memory{Type: "DDR", Generation: "5"}},
		Root:     host(t, map[string]string{"proc/cpuinfo": processors(1, 1, 1)}),
	})
	if want := []string{"hardware.memory.type", "hardware.memory.generation"}; !slices.Equal(f.Declared, want) {
		t.Errorf("declared %v, want %v", f.Declared, want)
	}
}
