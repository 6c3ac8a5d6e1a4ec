package discover_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cpucloud/cpucloud/internal/agent/discover"
	"github.com/cpucloud/cpucloud/internal/capacity"
)

// host writes a file system that looks like a host's.
func host(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	if _, ok := files["proc/meminfo"]; !ok {
		files["proc/meminfo"] = "MemTotal: 33554432 kB\nMemFree: 1024 kB\nMemAvailable: 2048 kB\n"
	}
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func cpuinfo(vendor string, family, model, stepping int, name, flags string) string {
	return fmt.Sprintf("processor\t: 0\nvendor_id\t: %s\ncpu family\t: %d\nmodel\t\t: %d\nmodel name\t: %s\nstepping\t: %d\nflags\t\t: %s\n\n",
		vendor, family, model, name, stepping, flags)
}

func find(t *testing.T, c discover.Config) discover.Found {
	t.Helper()
	if c.Dir == "" {
		c.Dir = t.TempDir()
	}
	f, err := discover.Server(t.Context(), c)
	if err != nil {
		t.Fatalf("Server: %v", err)
	}
	return f
}

func TestProcessors(t *testing.T) {
	t.Parallel()
	const v2, v3 = "cx16 popcnt sse4_1 sse4_2 ssse3", "cx16 popcnt sse4_1 sse4_2 ssse3 avx2 bmi1 bmi2 f16c fma movbe"
	for _, tt := range []struct {
		info, want, memory string
	}{
		{cpuinfo("AuthenticAMD", 23, 1, 2, "AMD EPYC 7551 32-Core Processor", v3), "AMD, EPYC 7551, Zen, 1", "DDR4"},
		{cpuinfo("AuthenticAMD", 23, 49, 0, "AMD EPYC 7702P 64-Core Processor", v3), "AMD, EPYC 7702P, Zen, 2", "DDR4"},
		{cpuinfo("AuthenticAMD", 25, 1, 1, "AMD EPYC 7713 64-Core Processor", v3), "AMD, EPYC 7713, Zen, 3", "DDR4"},
		{cpuinfo("AuthenticAMD", 25, 17, 1, "AMD EPYC 9354P 32-Core Processor", v3), "AMD, EPYC 9354P, Zen, 4", "DDR5"},
		{cpuinfo("AuthenticAMD", 25, 97, 2, "AMD Ryzen 9 7950X 16-Core Processor", v3), "AMD, Ryzen 9 7950X, Zen, 4", "DDR5"},
		{cpuinfo("AuthenticAMD", 25, 160, 2, "AMD EPYC 9754 128-Core Processor", v3), "AMD, EPYC 9754, Zen, 4", "DDR5"},
		{cpuinfo("AuthenticAMD", 26, 2, 1, "AMD EPYC 9755 128-Core Processor", v3), "AMD, EPYC 9755, Zen, 5", "DDR5"},
		{cpuinfo("GenuineIntel", 6, 85, 4, "Intel(R) Xeon(R) Gold 6130 CPU @ 2.10GHz", v3), "Intel, Xeon Gold 6130, Skylake, 1", "DDR4"},
		{cpuinfo("GenuineIntel", 6, 85, 7, "Intel(R) Xeon(R) Gold 6230R CPU @ 2.10GHz", v3), "Intel, Xeon Gold 6230R, Cascade Lake, 2", "DDR4"},
		{cpuinfo("GenuineIntel", 6, 85, 11, "Intel(R) Xeon(R) Platinum 8380H CPU @ 2.90GHz", v3), "Intel, Xeon Platinum 8380H, Cooper Lake, 3", "DDR4"},
		{cpuinfo("GenuineIntel", 6, 143, 8, "Intel(R) Xeon(R) Platinum 8480+", v3), "Intel, Xeon Platinum 8480+, Sapphire Rapids, 4", "DDR5"},
		{cpuinfo("GenuineIntel", 6, 9999, 1, "Intel(R) Next", v3), "Intel, Next, X86_64, 3", "DDR4"},
		{cpuinfo("GenuineIntel", 15, 6, 1, "Common KVM processor", v2), "Intel, Common KVM processor, X86_64, 2", "DDR4"},
		{cpuinfo("Lovelace", 1, 1, 1, "", ""), "Lovelace, Unknown, X86_64, 1", "DDR4"},
		{"processor\t: 0\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU part\t: 0xd0c\n\n", "ARM, Neoverse-N1, Neoverse, N1", "DDR4"},
		{"processor\t: 0\n\n", "Unknown, Unknown, X86_64, 1", "DDR4"},
	} {
		t.Run(tt.want, func(t *testing.T) {
			t.Parallel()
			f := find(t, discover.Config{Root: host(t, map[string]string{"proc/cpuinfo": tt.info})})
			c, m := f.Hardware.CPU, f.Hardware.Memory
			if got := strings.Join([]string{c.Manufacturer, c.Brand, c.Architecture, c.Generation}, ", "); got != tt.want {
				t.Errorf("processor %s, want %s", got, tt.want)
			}
			if got := m.Type + m.Generation; got != tt.memory || len(f.Assumed) == 0 {
				t.Errorf("memory %s, assumed %q; want %s, and that it was assumed", got, f.Assumed, tt.memory)
			}
		})
	}
}

// device returns an entry of an SMBIOS table for a memory slot.
func device(size uint16, kind byte) string {
	b := make([]byte, 0x28)
	b[0], b[1], b[0x0c], b[0x0d], b[0x12] = 17, byte(len(b)), byte(size), byte(size>>8), kind
	return string(b) + "DIMM 0\x00Maker\x00\x00"
}

func TestMemory(t *testing.T) {
	t.Parallel()
	const bios, end = "\x00\x18\x00\x00aaaaaaaaaaaaaaaaaaaaVendor\x00\x00", "\x7f\x04\x00\x00\x00\x00"
	whole := bios + device(0, 0x02) + device(0x4000, 0x22) + end
	for name, tt := range map[string]struct {
		table, want string
		assumed     bool
	}{
		"an empty slot, and a module": {whole, "DDR5", false},
		"low power":                   {device(0x4000, 0x23) + end, "LPDDR5", false},
		"a virtual machine":           {device(0x4000, 0x07) + end, "DDR4", true},
		"cut off":                     {whole[:60], "DDR4", true},
		"no memory":                   {bios + end, "DDR4", true},
		"garbage":                     {strings.Repeat("\xff", 300), "DDR4", true},
		"size of nothing":             {"\x11\x00\x00\x00\x00\x00", "DDR4", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := find(t, discover.Config{Root: host(t, map[string]string{
				"proc/cpuinfo": cpuinfo("GenuineIntel", 6, 85, 4, "Xeon", ""), "sys/firmware/dmi/tables/DMI": tt.table,
			})})
			told := slices.ContainsFunc(f.Assumed, func(s string) bool { return strings.Contains(s, "memory") })
			if got := f.Hardware.Memory.Type + f.Hardware.Memory.Generation; got != tt.want || told != tt.assumed {
				t.Errorf("memory %s, assumed %t; want %s, %t", got, told, tt.want, tt.assumed)
			}
		})
	}
}

func TestStorageType(t *testing.T) {
	t.Parallel()
	disk := func(name, rotational, removable string) map[string]string {
		return map[string]string{
			"sys/block/" + name + "/queue/rotational": rotational, "sys/block/" + name + "/size": "2097152000",
			"sys/block/" + name + "/removable": removable,
		}
	}
	for name, tt := range map[string]struct {
		files map[string]string
		want  string
	}{
		"spinning":     {disk("sda", "1", "0"), "HDD"},
		"flash":        {disk("sda", "0", "0"), "SSD"},
		"nvme":         {disk("nvme0n1", "0", "0"), "NVMe"},
		"virtio":       {disk("vda", "1", "0"), "SSD"},
		"a stick only": {disk("sda", "1", "1"), "SSD"},
		"none":         {map[string]string{}, "SSD"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tt.files["proc/cpuinfo"] = cpuinfo("GenuineIntel", 6, 85, 4, "Xeon", "")
			if got := find(t, discover.Config{Root: host(t, tt.files)}).Hardware.Storage.Type; got != tt.want {
				t.Errorf("storage %s, want %s", got, tt.want)
			}
		})
	}
}

// The disk that counts is the one below the folder, through partitions and
// mapped devices, not the largest.
func TestStorageBelowTheFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	root := host(t, map[string]string{
		"proc/cpuinfo":                   cpuinfo("GenuineIntel", 6, 85, 4, "Xeon", ""),
		"sys/block/sda/size":             "99999999999",
		"sys/block/nvme0n1/size":         "2097152",
		"sys/block/nvme0n1/p1/partition": "1",
		"sys/block/dm-0/size":            "2097152",
		"sys/block/sda/queue/rotational": "1",
	})
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		t.Fatal(err)
	}
	link := func(from, to string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, from)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join(root, to), filepath.Join(root, from)); err != nil {
			t.Fatal(err)
		}
	}
	link(fmt.Sprintf("sys/dev/block/%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)), "sys/block/dm-0")
	link("sys/block/dm-0/slaves/p1", "sys/block/nvme0n1/p1")
	if got := find(t, discover.Config{Root: root, Dir: dir}).Hardware.Storage.Type; got != "NVMe" {
		t.Errorf("storage %s, want NVMe", got)
	}
}

func TestShares(t *testing.T) {
	t.Parallel()
	info := cpuinfo("GenuineIntel", 6, 85, 4, "Xeon", "")
	for memory, want := range map[string]int64{"33554432": 28, "4194304": 3, "1048576": 0, "524288": 0} { // kB: 32, 4, 1, ½ GiB
		f := find(t, discover.Config{VCPUPerThread: 3, Root: host(t, map[string]string{
			"proc/cpuinfo": info, "proc/meminfo": "MemTotal: " + memory + " kB\n",
		})})
		if f.Total.RAMGiB != want || f.Total.VCPU != 3 {
			t.Errorf("of %s kB: %v, want %d GiB and 3 vCPU", memory, f.Total, want)
		}
	}
}

func TestProviderKnowsBetter(t *testing.T) {
	t.Parallel()
	want := capacity.Hardware{
		CPU:    capacity.CPU{Manufacturer: "Ampere", Brand: "Altra", Architecture: "Neoverse", Generation: "N1"},
		Memory: capacity.Memory{Type: "HBM", Generation: "2"}, Storage: capacity.Storage{Type: "NVMe"},
	}
	total := capacity.Vector{VCPU: 5, RAMGiB: 6, StorageGiB: 7, Addresses: 8}
	f := find(t, discover.Config{Hardware: want, Total: total, Root: host(t, map[string]string{"proc/cpuinfo": "processor: 0\n\n"})})
	if f.Hardware != want || f.Total != total || len(f.Assumed) != 0 {
		t.Errorf("found %+v, want what the provider said", f)
	}
}

// This very host: nothing is empty, and nothing is written to the terminal.
func TestThisHost(t *testing.T) {
	t.Parallel()
	f := find(t, discover.Config{})
	h := f.Hardware
	for _, text := range []string{
		h.CPU.Manufacturer, h.CPU.Brand, h.CPU.Architecture, h.CPU.Generation, h.Memory.Type, h.Memory.Generation, h.Storage.Type,
	} {
		if text == "" {
			t.Errorf("something is empty in %+v", h)
		}
	}
	if f.Total.VCPU < 1 || f.Total.StorageGiB < 0 {
		t.Errorf("total %v", f.Total)
	}
}
