package qemu

import (
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// spokenWords are what the probe's guest writes to the serial port when it has
// done everything.
const spokenWords = "cpucloud guest speaks"

// steps are what it writes on its way there, a line each, in this order.
var steps = []string{"real mode", "64-bit mode", "interrupts", "second processor"}

// guestListing is the probe's guest, see there.
//
//go:embed guest.lst
var guestListing string

// guestCode returns the first two sectors of the probe's disk.
func guestCode() ([]byte, error) {
	const sector = 512
	disk := make([]byte, 2*sector)
	for line := range strings.Lines(guestListing) {
		address, rest, _ := strings.Cut(line, "  ")
		at, err := strconv.ParseUint(address, 16, 16)
		if err != nil || len(address) != 4 {
			continue // a comment or a label
		}
		listed, _, _ := strings.Cut(rest, "  ")
		code, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(listed), " ", ""))
		if err != nil {
			return nil, fmt.Errorf("the guest's listing at %s: %w", address, err)
		}
		offset := int(at) - 0x7c00 // the firmware's place for the first sector
		if at >= 0x8000 {
			offset = int(at) - 0x8000 + sector // the first sector's for the second
		}
		if offset < 0 || offset+len(code) > len(disk) {
			return nil, fmt.Errorf("the guest's listing at %s is out of bounds", address)
		}
		copy(disk[offset:], code)
	}
	return disk, nil
}

// guestDisk returns a disk in memory that boots the probe's guest.
func guestDisk() (*os.File, error) {
	code, err := guestCode()
	if err != nil {
		return nil, err
	}
	fd, err := unix.MemfdCreate("probe", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "probe")
	const size = 1 << 20 // the firmware doesn't read from a disk of few sectors
	_, err = f.Write(code)
	if err = errors.Join(err, f.Truncate(size)); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// probeLine returns QEMU's arguments for the probe's guest, whose disk is
// file 3 and whose serial port is standard output.
func probeLine(accel Accelerator) []string {
	a := board(accel, 2, "128M")
	a.add("-no-reboot", "-chardev", "stdio,id=serial,signal=off", "-serial", "chardev:serial", "-add-fd", "fd=3,set=3")
	a.json("-blockdev", fileNode{"file", "file3", "/dev/fdset/3", false, "ignore"})
	a.json("-blockdev", formatNode{Driver: "raw", Name: "disk3", File: "file3", Discard: "ignore"})
	a.json("-device", blockDevice{"virtio-blk-pci", "blk0", "disk3", 0})
	return a
}
