package discover

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"

	"github.com/cpucloud/cpucloud/internal/capacity"
)

// installed reads what memory the firmware says is there, which only root may.
func installed(root string) (capacity.Memory, bool) {
	table, err := os.ReadFile(filepath.Join(root, "sys/firmware/dmi/tables/DMI"))
	if err != nil {
		return capacity.Memory{}, false
	}
	return memoryOf(table)
}

// The parts of an SMBIOS table that are needed; DSP0134, section 7.18.
const (
	headerSize   = 4
	memoryDevice = 17
	sizeAt       = 0x0c // 0 for an empty slot
	typeAt       = 0x12
	endOfTable   = 127
)

var memoryTypes = map[byte]capacity.Memory{
	0x12: {Type: "DDR", Generation: "1"}, 0x13: {Type: "DDR", Generation: "2"}, 0x18: {Type: "DDR", Generation: "3"},
	0x1a: {Type: "DDR", Generation: "4"}, 0x22: {Type: "DDR", Generation: "5"},
	0x1b: {Type: "LPDDR", Generation: "1"}, 0x1c: {Type: "LPDDR", Generation: "2"}, 0x1d: {Type: "LPDDR", Generation: "3"},
	0x1e: {Type: "LPDDR", Generation: "4"}, 0x23: {Type: "LPDDR", Generation: "5"},
	0x20: {Type: "HBM", Generation: "1"}, 0x21: {Type: "HBM", Generation: "2"}, 0x24: {Type: "HBM", Generation: "3"},
}

// memoryOf returns the kind of the first module in an SMBIOS table. Virtual
// machines say "RAM" and "other", which is no kind.
func memoryOf(table []byte) (capacity.Memory, bool) {
	for len(table) >= headerSize {
		kind, size := table[0], int(table[1])
		if kind == endOfTable || size < headerSize || size > len(table) {
			break
		}
		if kind == memoryDevice && size > typeAt && binary.LittleEndian.Uint16(table[sizeAt:]) != 0 {
			if m, ok := memoryTypes[table[typeAt]]; ok {
				return m, true
			}
		}
		// Behind the fixed part are strings; two zeroes end them.
		end := bytes.Index(table[size:], []byte{0, 0})
		if end < 0 {
			break
		}
		table = table[size+end+2:]
	}
	return capacity.Memory{}, false
}
