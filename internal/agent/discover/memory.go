package discover

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"

	"github.com/cpucloud/cpucloud/internal/capacity"
)

// modules is the memory that is built in; what the firmware does not say is zero.
type modules struct {
	kind  capacity.Memory
	gib   int64
	speed int64 // configured, in mega-transfers per second; the slowest
}

// installed reads what memory the firmware says is there, which only root may.
func installed(root string) modules {
	table, err := os.ReadFile(filepath.Join(root, "sys/firmware/dmi/tables/DMI"))
	if err != nil {
		return modules{}
	}
	return memoryOf(table)
}

// plausible returns how much is built in, or what the kernel sees where the
// firmware contradicts that.
func (m modules) plausible(seen int64) int64 {
	if m.gib < seen || m.gib > 4*(seen+1) {
		return seen
	}
	return m.gib
}

// The parts of an SMBIOS table that are needed; DSP0134, section 7.18.
const (
	headerSize   = 4
	memoryDevice = 17
	sizeAt       = 0x0c // 0 for an empty slot
	typeAt       = 0x12
	largeSizeAt  = 0x1c // when the size says so
	speedAt      = 0x20 // the configured one, not the highest
	highSpeedAt  = 0x58 // when the speed says so
	endOfTable   = 127
	maxSpeed     = 1 << 16 // what is more is no speed
)

var memoryTypes = map[byte]capacity.Memory{
	0x12: {Type: "DDR", Generation: "1"}, 0x13: {Type: "DDR", Generation: "2"}, 0x18: {Type: "DDR", Generation: "3"},
	0x1a: {Type: "DDR", Generation: "4"}, 0x22: {Type: "DDR", Generation: "5"},
	0x1b: {Type: "LPDDR", Generation: "1"}, 0x1c: {Type: "LPDDR", Generation: "2"}, 0x1d: {Type: "LPDDR", Generation: "3"},
	0x1e: {Type: "LPDDR", Generation: "4"}, 0x23: {Type: "LPDDR", Generation: "5"},
	0x20: {Type: "HBM", Generation: "1"}, 0x21: {Type: "HBM", Generation: "2"}, 0x24: {Type: "HBM", Generation: "3"},
}

// memoryOf reads the modules in an SMBIOS table. Virtual machines say "RAM" and
// "other", which is no kind.
func memoryOf(table []byte) modules {
	var m modules
	megabytes := int64(0)
	for len(table) >= headerSize {
		kind, size := table[0], int(table[1])
		if kind == endOfTable || size < headerSize || size > len(table) {
			break
		}
		if kind == memoryDevice {
			megabytes += m.add(table[:size])
		}
		// Behind the fixed part are strings; two zeroes end them.
		end := bytes.Index(table[size:], []byte{0, 0})
		if end < 0 {
			break
		}
		table = table[size+end+2:]
	}
	m.gib = megabytes >> 10
	return m
}

// add takes in a slot and returns how many MiB are in it.
func (m *modules) add(slot []byte) (megabytes int64) {
	size := word(slot, sizeAt)
	if size == 0 || len(slot) <= typeAt {
		return 0
	}
	if m.kind.Type == "" {
		m.kind = memoryTypes[slot[typeAt]]
	}
	speed := word(slot, speedAt)
	if speed == 0xffff {
		speed = long(slot, highSpeedAt)
	}
	if speed > 0 && speed < maxSpeed && (m.speed == 0 || speed < m.speed) {
		m.speed = speed
	}
	switch {
	case size == 0xffff: // not known
		return 0
	case size == 0x7fff:
		return long(slot, largeSizeAt) & 0x7fffffff
	case size&0x8000 != 0:
		return size & 0x7fff >> 10
	}
	return size
}

// word returns the two bytes at a place, 0 where the table is older than them.
func word(b []byte, at int) int64 {
	if len(b) < at+2 {
		return 0
	}
	return int64(binary.LittleEndian.Uint16(b[at:]))
}

func long(b []byte, at int) int64 {
	if len(b) < at+4 {
		return 0
	}
	return int64(binary.LittleEndian.Uint32(b[at:]))
}
