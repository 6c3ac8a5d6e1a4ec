package discover

import (
	"cmp"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/shirou/gopsutil/v4/cpu"

	"github.com/cpucloud/cpucloud/internal/capacity"
)

const unknown = "Unknown"

// made is a processor, and the memory that it needs where there is but one.
type made struct {
	CPU capacity.CPU
	DDR string
}

// processor names the processor that /proc/cpuinfo describes.
func processor(i cpu.InfoStat) made {
	m := made{CPU: capacity.CPU{Manufacturer: manufacturer(i.VendorID), Brand: brand(i.ModelName)}}
	m.CPU.Brand = cmp.Or(m.CPU.Brand, unknown)
	family, _ := strconv.Atoi(i.Family)
	model, _ := strconv.Atoi(i.Model)
	arch, ok := architecture{}, false
	switch m.CPU.Manufacturer {
	case "AMD":
		arch, ok = zen(family, model)
	case "Intel":
		arch, ok = intel(family, model, int(i.Stepping))
	case "ARM":
		arch, ok = neoverse(i.ModelName)
	}
	if !ok {
		arch = architecture{name: "X86_64", generation: level(i.Flags)}
		if runtime.GOARCH == "arm64" {
			arch = architecture{name: "ARM64", generation: "8"}
		}
	}
	m.CPU.Architecture, m.CPU.Generation, m.DDR = arch.name, arch.generation, arch.ddr
	return m
}

func manufacturer(vendor string) string {
	switch vendor {
	case "AuthenticAMD":
		return "AMD"
	case "GenuineIntel":
		return "Intel"
	case "HygonGenuine":
		return "Hygon"
	case "":
		return unknown
	}
	return vendor
}

var (
	brandNoise  = regexp.MustCompile(`\((R|TM|r|tm)\)|@.*|\b\d+-Core\b|\b(CPU|Processor|with Radeon.*)\b`)
	brandMakers = regexp.MustCompile(`^(AMD|Intel|ARM)\s+`)
)

// brand returns what is told apart by customers: "EPYC 9354P" of "AMD EPYC
// 9354P 32-Core Processor".
func brand(modelName string) string {
	words := strings.Fields(brandNoise.ReplaceAllString(modelName, " "))
	return brandMakers.ReplaceAllString(strings.Join(words, " "), "")
}

type architecture struct{ name, generation, ddr string }

// zen knows AMD's families since 2017 by the ranges of their models.
func zen(family, model int) (architecture, bool) {
	switch {
	case family == 0x17 && model < 0x30:
		return architecture{"Zen", "1", "4"}, true
	case family == 0x17:
		return architecture{"Zen", "2", "4"}, true
	case family == 0x19 && (model >= 0x10 && model < 0x20 || model >= 0x60 && model < 0x80 || model >= 0xa0):
		return architecture{"Zen", "4", "5"}, true
	case family == 0x19:
		return architecture{"Zen", "3", ""}, true
	case family == 0x1a:
		return architecture{"Zen", "5", "5"}, true
	}
	return architecture{}, false
}

// intelModels are those of family 6 that are found in servers. The generation
// is that of Xeon Scalable, and of Core where there was none yet.
var intelModels = map[int]architecture{
	0x2d: {"Sandy Bridge", "2", "3"}, 0x3e: {"Ivy Bridge", "3", "3"}, 0x3f: {"Haswell", "4", "4"},
	0x3c: {"Haswell", "4", "3"}, 0x4f: {"Broadwell", "5", "4"}, 0x56: {"Broadwell", "5", "4"},
	0x5e: {"Skylake", "6", "4"}, 0x9e: {"Coffee Lake", "8", "4"}, 0xa5: {"Comet Lake", "10", "4"},
	0xa7: {"Rocket Lake", "11", "4"}, 0x97: {"Alder Lake", "12", ""}, 0xb7: {"Raptor Lake", "13", ""},
	0x6a: {"Ice Lake", "3", "4"}, 0x6c: {"Ice Lake", "3", "4"}, 0x8f: {"Sapphire Rapids", "4", "5"},
	0xcf: {"Emerald Rapids", "5", "5"}, 0xad: {"Granite Rapids", "6", "5"}, 0xaf: {"Sierra Forest", "6", "5"},
}

func intel(family, model, stepping int) (architecture, bool) {
	if family != 6 {
		return architecture{}, false
	}
	if model == 0x55 { // three generations share it
		switch {
		case stepping >= 10:
			return architecture{"Cooper Lake", "3", "4"}, true
		case stepping >= 5:
			return architecture{"Cascade Lake", "2", "4"}, true
		}
		return architecture{"Skylake", "1", "4"}, true
	}
	a, ok := intelModels[model]
	return a, ok
}

func neoverse(modelName string) (architecture, bool) {
	name, generation, ok := strings.Cut(modelName, "-")
	return architecture{name: name, generation: generation}, ok && name != "" && generation != ""
}

// level returns which of the levels of x86-64 a processor has by its flags.
func level(flags []string) string {
	for _, l := range []struct {
		level string
		needs []string
	}{
		{"4", []string{"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}},
		{"3", []string{"avx2", "bmi1", "bmi2", "f16c", "fma", "movbe"}},
		{"2", []string{"cx16", "popcnt", "sse4_1", "sse4_2", "ssse3"}},
	} {
		if !slices.ContainsFunc(l.needs, func(f string) bool { return !slices.Contains(flags, f) }) {
			return l.level
		}
	}
	return "1"
}
